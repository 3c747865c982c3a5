//! Every kind of photo that a camera or a line may write.

mod common;

use blemish::{BitDepth, Photo};
use common::fixture;
use image::{DynamicImage, ImageBuffer, Luma};
use tempfile::tempdir;

fn open(path: &std::path::Path) -> Photo {
    Photo::open(path, BitDepth::default()).unwrap()
}

#[test]
fn every_format_and_colour_type_becomes_rgb() {
    let folder = tempdir().unwrap();
    let grey = DynamicImage::ImageLuma8(ImageBuffer::from_fn(40, 30, |x, _| Luma([x as u8 * 5])));
    let kinds: [(&str, DynamicImage); 7] = [
        ("grey.png", grey.clone()),
        ("rgba.png", grey.to_rgba8().into()),
        ("grey16.png", grey.to_luma16().into()),
        ("rgb16.tif", grey.to_rgb16().into()),
        ("rgb.bmp", grey.to_rgb8().into()),
        ("grey.tiff", grey.clone()),
        ("rgb.webp", grey.to_rgb8().into()),
    ];
    for (name, picture) in kinds {
        let path = folder.path().join(name);
        picture.save(&path).unwrap();
        let photo = open(&path);
        assert_eq!((photo.width(), photo.height()), (40, 30), "{name}");
        assert_eq!(photo.rgb()[..9], [0, 0, 0, 5, 5, 5, 10, 10, 10], "{name}");
    }
    let palette = open(&fixture("preprocess/palette.png"));
    assert_eq!((palette.width(), palette.height()), (140, 200));
    // The name's ending does not matter.
    std::fs::copy(folder.path().join("rgb.bmp"), folder.path().join("photo.dat")).unwrap();
    assert_eq!(open(&folder.path().join("photo.dat")).width(), 40);
}

#[test]
fn a_12_bit_camera_is_noticed_and_stretched() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("camera.png");
    let ramp = ImageBuffer::from_fn(64, 20, |x, _| Luma([x as u16 * 65]));
    DynamicImage::ImageLuma16(ramp).save(&path).unwrap();
    let dark = open(&path);
    assert!(dark.note().unwrap().contains("--bit-depth 12"));
    assert!(dark.rgb().iter().all(|v| *v <= 16));
    let right = Photo::open(&path, BitDepth::new(12).unwrap()).unwrap();
    assert_eq!(right.note(), None);
    assert_eq!((right.rgb()[0], right.rgb()[63 * 3]), (0, 255));
}

#[test]
fn a_photo_that_the_camera_marked_as_turned_is_turned() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("turned.jpg");
    common::photo(&path, 60, 40);
    let plain = std::fs::read(&path).unwrap();
    // An Exif block with the one tag Orientation = 6: turn by 90 degrees clockwise.
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let length = (2 + 6 + tiff.len()) as u16;
    let mut turned = plain[..2].to_vec();
    turned.extend([0xff, 0xe1]);
    turned.extend(length.to_be_bytes());
    turned.extend(b"Exif\0\0");
    turned.extend(tiff);
    turned.extend(&plain[2..]);
    let upright = open(&path);
    std::fs::write(&path, turned).unwrap();
    let photo = open(&path);
    assert_eq!((photo.width(), photo.height()), (40, 60));
    // The left column, from the bottom, has become the upper row.
    let column: Vec<u8> = (0..40).rev().map(|y| upright.rgb()[y * 60 * 3]).collect();
    let row: Vec<u8> = (0..40).map(|x| photo.rgb()[x * 3]).collect();
    assert_eq!(row, column);
}

#[test]
fn what_follows_a_jpeg_does_not_matter_and_its_own_end_does() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("photo.jpg");
    common::photo(&path, 60, 40);
    let whole = std::fs::read(&path).unwrap();
    let write = |parts: &[&[u8]]| std::fs::write(&path, parts.concat()).unwrap();
    // A phone's second picture, or anything else.
    write(&[&whole, b"\xff\xda\0\x08", &whole[..whole.len() / 2]]);
    assert_eq!(open(&path).width(), 60);
    // A preview with an end of its own before a picture that is cut short.
    let preview =
        [b"\xff\xe1\0\x06\xff\xd8\xff\xd9".as_slice(), &whole[2..whole.len() / 2]].concat();
    write(&[&whole[..2], &preview]);
    let error = Photo::open(&path, BitDepth::default()).unwrap_err().to_string();
    assert!(error.contains("cut short"), "{error}");
}
