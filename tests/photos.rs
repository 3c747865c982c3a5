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
fn what_phones_write_is_told_by_name() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("photo.jpg");
    for (brand, said) in [("heic", "HEIC"), ("mif1", "HEIC"), ("avif", "AVIF"), ("isom", "video")] {
        std::fs::write(&path, [b"\0\0\0\x18ftyp", brand.as_bytes(), &[0; 12]].concat()).unwrap();
        let error = Photo::open(&path, BitDepth::default()).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("save"), "{error}");
    }
}

#[test]
fn a_tiff_of_several_pages_is_noticed() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("pages.tif");
    let mut file = tiff::encoder::TiffEncoder::new(std::fs::File::create(&path).unwrap()).unwrap();
    for value in [10, 200] {
        file.write_image::<tiff::encoder::colortype::Gray8>(40, 30, &[value; 1200]).unwrap();
    }
    drop(file);
    let photo = open(&path);
    assert_eq!(photo.rgb()[0], 10);
    assert!(photo.note().unwrap().contains("several pictures: only the first"));
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

#[test]
fn numbers_that_mean_no_grey_are_refused_with_the_reason() {
    use tiff::encoder::{TiffEncoder, colortype};
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.tif");
    let refused = |why: &str| {
        let error = Photo::open(&path, BitDepth::default()).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("save it as PNG"), "{error}");
    };
    let floats = |first: f32, others: f32| {
        let mut values = [others; 400];
        values[0] = first;
        let file = std::fs::File::create(&path).unwrap();
        let mut encoder = TiffEncoder::new(file).unwrap();
        encoder.write_image::<colortype::Gray32Float>(20, 20, &values).unwrap();
    };
    for (first, why) in [
        (f32::NAN, "NaN or infinity"),
        (f32::INFINITY, "NaN or infinity"),
        (-0.5, "values from -0.5"),
        (1000.0, "to 1000"),
        (3.0, "to 3"),
    ] {
        floats(first, 0.5);
        refused(why);
    }
    floats(1.0, 0.5);
    assert_eq!(open(&path).rgb()[..6], [255, 255, 255, 128, 128, 128]);
    // A filter's overshoot.
    floats(1.002, 0.5);
    assert_eq!(open(&path).rgb()[..6], [255, 255, 255, 128, 128, 128]);
    floats(-0.0005, 0.5);
    assert_eq!(open(&path).rgb()[..6], [0, 0, 0, 128, 128, 128]);
    floats(200.0, 100.0);
    let photo = open(&path);
    assert_eq!(photo.rgb()[..6], [200, 200, 200, 100, 100, 100]);
    assert!(photo.note().unwrap().contains("read as 0..255"));
    let file = std::fs::File::create(&path).unwrap();
    let mut encoder = TiffEncoder::new(file).unwrap();
    encoder.write_image::<colortype::GrayI16>(20, 20, &[-7; 400]).unwrap();
    refused("signed");
}

/// What libjpeg does with Adobe's segment: nothing in grey, and nothing beside JFIF's.
#[test]
fn adobes_segment_changes_only_what_it_is_about() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.jpg");
    let adobe = |transform: u8| [b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0", &[transform][..]].concat();
    let ramp = image::RgbImage::from_fn(64, 32, |x, y| image::Rgb([x as u8 * 4, y as u8 * 8, 90]));
    for (name, picture) in [
        ("colour", DynamicImage::ImageRgb8(ramp.clone())),
        ("grey", DynamicImage::ImageRgb8(ramp).to_luma8().into()),
    ] {
        picture.save(&path).unwrap();
        let plain = std::fs::read(&path).unwrap();
        assert_eq!(&plain[6..10], b"JFIF");
        let right = open(&path);
        for transform in 0..3 {
            std::fs::write(&path, [&plain[..2], &adobe(transform), &plain[2..]].concat()).unwrap();
            assert_eq!(open(&path).rgb(), right.rgb(), "{name} {transform}");
        }
        // Without JFIF's segment it is what says that these are RGB.
        let bare = [&plain[..2], &adobe(0), &plain[20..]].concat();
        std::fs::write(&path, bare).unwrap();
        assert_eq!(open(&path).rgb() == right.rgb(), name == "grey", "{name}");
    }
}

/// Tags that a decoder follows where libtiff does not, or the other way round.
#[test]
fn tiff_tags_are_followed_as_libtiff_does_or_refused() {
    use tiff::encoder::{TiffEncoder, colortype};
    use tiff::tags::Tag;
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.tif");
    let write = |tag: Tag, value: u16| {
        let file = std::fs::File::create(&path).unwrap();
        let mut encoder = TiffEncoder::new(file).unwrap();
        let mut image = encoder.new_image::<colortype::RGBA8>(20, 20).unwrap();
        image.encoder().write_tag(tag, value).unwrap();
        image.write_data(&[100, 50, 0, 128].repeat(400)).unwrap();
        Photo::open(&path, BitDepth::default())
    };
    // Colours multiplied by their alpha: half of 200 and of 100.
    let photo = write(Tag::ExtraSamples, 1).unwrap();
    assert_eq!(photo.rgb()[..3], [199, 99, 0]);
    assert_eq!(write(Tag::ExtraSamples, 2).unwrap().rgb()[..3], [100, 50, 0]);
    for (tag, why) in [(Tag::Predictor, "predictor"), (Tag::FillOrder, "bits the other way")] {
        let error = write(tag, 2).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("save it as PNG"), "{error}");
    }
}
