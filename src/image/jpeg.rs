//! What JPEG's segments say before the pixels are decoded.

use std::borrow::Cow;
use std::ops::Range;

const END: u8 = 0xd9;
const JFIF: u8 = 0xe0;
/// Adobe's segment: how colours are transformed.
const ADOBE: u8 = 0xee;

/// Whether a JPEG's end-of-image marker is there. The decoder fills in what is missing, and a grey half must
/// not pass for a photo. What follows the marker (a phone's video, a maker's data) does not matter.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    segments(bytes).any(|(marker, _)| marker == END)
}

/// The same without Adobe's segments where these do not hold, as libjpeg has it: a grey picture has no colours to be
/// transformed, and one with JFIF's segment has JFIF's colours. The decoder would follow them all the same.
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

/// Markers with the places of their segments, up to the end-of-image marker or to where the file is cut.
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
                // A segment with its length, which may hold a preview with an end of its own.
                (0xff, _) => {
                    let &[high, low] = bytes.get(start + 2..start + 4)? else { return None };
                    position = start + 2 + usize::from(high) * 256 + usize::from(low);
                    return Some((marker, start..position.min(bytes.len())));
                }
            }
        }
    })
}
