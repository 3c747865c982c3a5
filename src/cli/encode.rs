//! Encodes the photos once, for commands that score them many times.

use std::path::PathBuf;

use blemish::detect::EncodedPhoto;
use blemish::image::BitDepth;
use blemish::{Detector, Photo};

use super::inputs::Inputs;
use super::progress::{Notes, progress_bar};
use super::terminal::message;

/// Encodes the photos that can be read, and reports the others. The `bool` is true if all could be read.
pub fn encode_all(
    detector: &Detector,
    depth: BitDepth,
    inputs: &Inputs,
    quiet: bool,
) -> (Vec<(PathBuf, EncodedPhoto)>, bool) {
    let mut complete = inputs.errors.is_empty();
    inputs.report(quiet);
    let bar = progress_bar(inputs.photos.len(), quiet);
    let (mut encoded, mut notes) = (Vec::new(), Notes::new(quiet));
    for path in &inputs.photos {
        let found = Photo::open(path, depth).and_then(|photo| {
            notes.say(&bar, path, &photo);
            detector.encode(&detector.prepare(&photo))
        });
        match found {
            Ok(one) => encoded.push((path.clone(), one)),
            Err(error) => {
                complete = false;
                bar.suspend(|| say!("{}", message(&error)));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    (encoded, complete)
}
