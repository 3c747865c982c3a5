//! Reads the segments of a JPEG file before its pixels are decoded.

use std::borrow::Cow;
use std::ops::Range;

const END: u8 = 0xd9;
const JFIF: u8 = 0xe0;
/// Adobe's segment. It says how colours are transformed.
const ADOBE: u8 = 0xee;

/// Whether a JPEG has its end-of-image marker. The decoder fills the missing part of a cut file with grey, so a cut
/// file has to be detected here. Data after the marker, such as a phone's video, does not matter.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    segments(bytes).any(|(marker, _)| marker == END)
}

/// The file without Adobe's segments, if they do not apply. libjpeg ignores them in two cases: a grey picture has no
/// colours to transform, and a picture with a JFIF segment has JFIF's colours. The decoder would use them.
pub(super) fn readable(bytes: &[u8]) -> Cow<'_, [u8]> {
    let is_frame = |marker| matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
    let frame = segments(bytes).find(|(marker, _)| is_frame(*marker));
    // Marker, length, precision, height and width come before the number of components.
    let components = frame.and_then(|(_, range)| bytes.get(range.start + 9)).copied();
    let is_jfif = |(marker, range): (u8, Range<usize>)| {
        marker == JFIF && bytes[range].get(4..9) == Some(b"JFIF\0")
    };
    let is_void = components == Some(1) || components == Some(3) && segments(bytes).any(is_jfif);
    let mut whole = Cow::Borrowed(bytes);
    if is_void {
        let adobe: Vec<Range<usize>> = segments(bytes)
            .filter(|(marker, _)| *marker == ADOBE)
            .map(|(_, range)| range)
            .collect();
        for range in adobe.into_iter().rev() {
            whole.to_mut().drain(range);
        }
    }
    whole
}

/// The markers and the byte ranges of their segments, up to the end-of-image marker or the end of a cut file.
fn segments(bytes: &[u8]) -> impl Iterator<Item = (u8, Range<usize>)> {
    let mut position = 2;
    std::iter::from_fn(move || {
        loop {
            let &[first, marker] = bytes.get(position..position + 2)? else { return None };
            let start = position;
            position += 1;
            match (first, marker) {
                (0xff, END) => {
                    position = bytes.len();
                    return Some((END, start..start + 2));
                }
                // Compressed data, stuffed bytes, restarts: no segment begins here.
                (0xff, 0x00 | 0x01 | 0xd0..=0xd8 | 0xff) | (..0xff, _) => {}
                // Skip a segment by its length. It may hold a preview with an end-of-image marker of its own.
                (0xff, _) => {
                    let &[high, low] = bytes.get(start + 2..start + 4)? else { return None };
                    position = start + 2 + usize::from(high) * 256 + usize::from(low);
                    return Some((marker, start..position.min(bytes.len())));
                }
            }
        }
    })
}
