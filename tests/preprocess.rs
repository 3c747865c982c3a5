//! Preprocessing against Pillow's antialiased bicubic filter, bit for bit.

mod common;

use blemish::image::{Fit, Normalisation};
use blemish::{BitDepth, Photo};
use common::{fixture, tensors, values};

#[test]
fn equals_pillow_bit_for_bit() {
    let golden = tensors("preprocess/expected.safetensors.gz");
    assert_eq!(golden.len(), 12);
    for (name, expected) in &golden {
        let (file, fit) = name.rsplit_once('.').unwrap();
        let fit = if fit == "clip" { Fit::Crop } else { Fit::Squash };
        let photo = Photo::open(fixture("preprocess").join(file), BitDepth::default()).unwrap();
        let pixels = photo.prepare(112, fit, &Normalisation::default()).pixels;
        let expected = values(expected);
        assert_eq!(pixels.len(), expected.len());
        let differing = pixels.iter().zip(&expected).filter(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!(differing.count(), 0, "{name}");
    }
}
