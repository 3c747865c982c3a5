//! Inputs on which an earlier version was wrong in silence. What is small lies in `fixtures/cases`; the rest is in
//! `../shared/cases`, and a test that needs it says so where that folder is missing.

mod common;

use std::path::{Path, PathBuf};

use blemish::{BitDepth, Photo};
use common::{blemish, fixture};
use image::{DynamicImage, GrayImage, Luma, LumaA, Rgba};
use predicates::str::contains;
use serde_json::Value;
use tempfile::tempdir;

fn shared() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases");
    if !folder.is_dir() {
        eprintln!("{} is not here: nothing is tested on it", folder.display());
    }
    folder.is_dir().then_some(folder)
}

fn products(home: &Path, arguments: &[&str], more: &[&Path]) -> (Value, String) {
    let assert = blemish(home)
        .args(["eval"])
        .args(arguments)
        .args(more)
        .args(["--format", "json"])
        .assert()
        .success();
    let output = assert.get_output();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    (value["products"][0].clone(), String::from_utf8(output.stderr.clone()).unwrap())
}

/// Each file has the pixels of Pillow's decoding of it, kept as a PNG (`../shared/cases/README.md`).
#[test]
fn photos_of_scientific_cameras_and_odd_encoders_are_read_right() {
    let home = tempdir().unwrap();
    let photo = |name: &str| {
        let file = fixture("cases").join(name);
        Photo::open(&file, BitDepth::default()).unwrap().rgb().to_vec()
    };
    let largest = |name: &str, other: &str| {
        let (a, b) = (photo(name), photo(other));
        assert_eq!(a.len(), b.len());
        a.iter().zip(&b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    };
    for (name, reference, tolerance) in [
        ("bigtiff.tif", "rgb_ref.png", 0),
        ("float_rgb_0_255.tif", "rgb_ref.png", 0),
        ("grey_alpha.tif", "grey_ref.png", 0),
        ("float_grey_0_1.tif", "grey_ref.png", 0),
        // Pillow's JPEG decoder rounds in another way.
        ("grey_adobe0_after_sof.jpg", "grey_jpeg_ref.png", 1),
        ("grey_adobe1_after_sof.jpg", "grey_jpeg_ref.png", 1),
        ("grey_adobe2_after_sof.jpg", "grey_jpeg_ref.png", 1),
    ] {
        let found = largest(name, reference);
        assert!(found <= tolerance, "{name}: {found}");
    }
    assert!(largest("grey_ref.png", "grey_jpeg_ref.png") > 1);
    let mut command = blemish(home.path());
    command.args(["score", "--product", "plate"]).arg(fixture("cases/palette.tif"));
    command.assert().code(1).stdout("").stderr(contains("save it as PNG"));
}

/// A copy of the layout with other masks; `write` writes a mask of 0 and 255 to a path without ending.
fn with_masks(to: &Path, write: impl Fn(&GrayImage, &Path)) {
    common::copy_tree("layouts/mvtec", to);
    for entry in walkdir::WalkDir::new(to.join("tray/ground_truth")) {
        let path = entry.unwrap().into_path();
        if path.is_file() {
            let mask = image::open(&path).unwrap().into_luma8();
            std::fs::remove_file(&path).unwrap();
            write(&mask, &path.with_extension(""));
        }
    }
}

/// Ink where the mask is marked, and nothing elsewhere.
fn see_through(mask: &GrayImage, ink: u8) -> DynamicImage {
    let pixel = |x: u32, y: u32| LumaA([ink, mask.get_pixel(x, y).0[0]]);
    DynamicImage::ImageLumaA8(image::ImageBuffer::from_fn(mask.width(), mask.height(), pixel))
}

#[test]
fn masks_mean_the_same_however_they_are_painted() {
    let home = tempdir().unwrap();
    let eval = |set: &Path| {
        products(home.path(), &["mvtec", "--method", "winclip", "--category", "tray"], &[set])
    };
    let (right, said) = eval(&fixture("layouts/mvtec"));
    assert!(!said.contains("mask"), "{said}");
    type Write = dyn Fn(&GrayImage, &Path);
    let variants: [(&str, Option<&str>, &Write); 5] = [
        ("jpeg", Some("more than two values"), &|mask, path| {
            let mut file = std::fs::File::create(path.with_extension("jpg")).unwrap();
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 90);
            mask.write_with_encoder(encoder).unwrap();
        }),
        ("white on nothing", None, &|mask, path| {
            see_through(mask, 255).save(path.with_extension("png")).unwrap();
        }),
        ("black on nothing", None, &|mask, path| {
            see_through(mask, 0).save(path.with_extension("png")).unwrap();
        }),
        ("small labels", None, &|mask, path| {
            let mut mask = mask.clone();
            mask.pixels_mut().for_each(|p| p.0[0] = if p.0[0] > 0 { 3 } else { 0 });
            mask.save(path.with_extension("png")).unwrap();
        }),
        ("turned by EXIF", None, &|mask, path| {
            // The file holds the picture turned by 180 degrees, and says so.
            let turned = DynamicImage::ImageLuma8(mask.clone()).rotate180();
            let file = path.with_extension("tif");
            turned.save(&file).unwrap();
            let bytes = std::fs::read(&file).unwrap();
            std::fs::write(&file, with_orientation(&bytes, 3)).unwrap();
        }),
    ];
    for (name, warning, write) in variants {
        let set = home.path().join(name);
        with_masks(&set, write);
        let (found, said) = eval(&set);
        if name != "jpeg" {
            assert_eq!(found["pixel_auroc"], right["pixel_auroc"], "{name}");
        }
        let (a, b) = (&found["pixel_ap"], &right["pixel_ap"]);
        assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 0.02, "{name}: {a} {b}");
        assert_eq!(said.contains("mask"), warning.is_some(), "{name}: {said}");
        assert!(said.contains(warning.unwrap_or_default()), "{name}: {said}");
    }
    let inverted = home.path().join("inverted");
    with_masks(&inverted, |mask, path| {
        let mut mask = mask.clone();
        image::imageops::invert(&mut mask);
        mask.save(path.with_extension("png")).unwrap();
    });
    assert!(eval(&inverted).1.contains("marks most of its photo"));
    let cut = home.path().join("cut");
    with_masks(&cut, |mask, path| {
        let file = path.with_extension("jpg");
        mask.save(&file).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - 40]).unwrap();
    });
    let mut command = blemish(home.path());
    command
        .args(["eval", "mvtec", "--method", "winclip", "-q"])
        .arg(&cut)
        .assert()
        .code(1)
        .stderr(contains("cut short"));
}

/// Adds an orientation to a little-endian TIFF: a new directory at its end.
fn with_orientation(tiff: &[u8], orientation: u16) -> Vec<u8> {
    let at = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
    let count = u16::from_le_bytes(tiff[at..at + 2].try_into().unwrap());
    let entries = &tiff[at + 2..at + 2 + 12 * usize::from(count)];
    let mut all: Vec<[u8; 12]> = entries.as_chunks::<12>().0.to_vec();
    let mut own = [0; 12];
    own[..2].copy_from_slice(&274u16.to_le_bytes());
    own[2..4].copy_from_slice(&3u16.to_le_bytes());
    own[4..8].copy_from_slice(&1u32.to_le_bytes());
    own[8..10].copy_from_slice(&orientation.to_le_bytes());
    all.push(own);
    all.sort_by_key(|entry| u16::from_le_bytes([entry[0], entry[1]]));
    let mut bytes = tiff.to_vec();
    let directory = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&directory.to_le_bytes());
    bytes.extend((all.len() as u16).to_le_bytes());
    all.iter().for_each(|entry| bytes.extend(entry));
    bytes.extend(0u32.to_le_bytes());
    bytes
}

#[test]
fn a_region_of_interest_is_decoded_as_masks_are() {
    let home = tempdir().unwrap();
    let photo = fixture("tiny/samples/leather/test/glue/000.png");
    let (width, height) = image::image_dimensions(&photo).unwrap();
    let left = |x: u32| x < width / 2;
    let score = |name: &str, mask: &DynamicImage, turned: bool| {
        let file = home.path().join(name);
        mask.save(&file).unwrap();
        if turned {
            let bytes = std::fs::read(&file).unwrap();
            std::fs::write(&file, with_orientation(&bytes, 3)).unwrap();
        }
        let mut command = blemish(home.path());
        command.args(["score", "--product", "leather", "--format", "jsonl", "--roi"]);
        let output = command.args([&file, &photo]).assert().success();
        let row: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
        row["score"].clone()
    };
    let plain = GrayImage::from_fn(width, height, |x, _| Luma([if left(x) { 255 } else { 0 }]));
    let plain = DynamicImage::ImageLuma8(plain);
    let alpha = image::RgbaImage::from_fn(width, height, |x, _| {
        Rgba([255, 255, 255, if left(x) { 255 } else { 0 }])
    });
    let expected = score("plain.png", &plain, false);
    assert_eq!(score("alpha.png", &alpha.into(), false), expected);
    assert_eq!(score("turned.tif", &plain.rotate180(), true), expected);
}

#[test]
fn the_shared_masks_and_maps_give_scikit_learns_numbers() {
    let Some(cases) = shared() else { return };
    let home = tempdir().unwrap();
    for set in ["ref", "jpeg75", "white_on_transparent", "black_on_transparent"] {
        let (maps, set) = (cases.join("maps/right"), cases.join("masks").join(set));
        let (found, _) = products(home.path(), &["maps", "mvtec", "--maps"], &[&maps, &set]);
        let near = |value: &Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < 1e-4;
        assert!(near(&found["pixel_auroc"], 0.9202), "{found}");
        assert!(near(&found["pixel_ap"], 0.3480), "{found}");
        assert!(near(&found["au_pro"]["0.05"], 0.4633), "{found}");
    }
    for maps in ["good_smaller", "all_smaller"] {
        let mut command = blemish(home.path());
        command.args(["eval", "maps", "mvtec", "--maps"]).arg(cases.join("maps").join(maps));
        command
            .arg(cases.join("maps/set"))
            .assert()
            .code(1)
            .stdout("")
            .stderr(contains("test/good/000.tiff: the map has 15x12 pixels and its photo 120x96"));
    }
}

#[test]
fn maps_of_another_size_than_their_photo_are_refused_where_no_mask_tells() {
    let home = tempdir().unwrap();
    let home = home.path();
    let set = home.join("set");
    common::copy_tree("layouts/mvtec", &set);
    let run = |more: &[&str]| {
        let mut command = blemish(home);
        command.current_dir(home).args(["eval"]).args(more).assert()
    };
    run(&["mvtec", "set", "--method", "winclip", "-q", "--out", "out"]).success();
    run(&["maps", "mvtec", "set", "--maps", "out/maps", "-q"]).success();
    let good = home.join("out/maps/tray/test/good/000.tiff");
    let small = blemish::AnomalyMap { width: 20, height: 20, values: vec![0.5; 400] };
    std::fs::write(&good, blemish::render::tiff(&small)).unwrap();
    run(&["maps", "mvtec", "set", "--maps", "out/maps", "-q"])
        .code(1)
        .stderr(contains("good/000.tiff: the map has 20x20 pixels"));
}

/// A 12-bit camera's values fill a sixteenth of 16 bits: every command that reads photos says so.
#[test]
fn the_note_on_bit_depth_is_said_by_every_command() {
    let home = tempdir().unwrap();
    let home = home.path();
    for (bits, name) in [(10, "ten"), (12, "twelve"), (14, "fourteen")] {
        for (kind, spot) in [("good", false), ("spot", true)] {
            for i in 0..3u32 {
                let path = home.join(format!("{name}/{kind}/{i}.png"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                let value = |x: u32, y: u32| {
                    let full = (1u32 << bits) - 1;
                    let dark = spot && x.abs_diff(30) < 6 && y.abs_diff(30) < 6;
                    let part = if dark { 5 } else { 60 + (x * 7 + y * 13 + i * 3) % 30 };
                    (full * part / 100) as u16
                };
                let photo = image::ImageBuffer::from_fn(64, 64, |x, y| Luma([value(x, y)]));
                DynamicImage::ImageLuma16(photo).save(&path).unwrap();
            }
        }
        let good = format!("{name}/good");
        let note = format!("--bit-depth {bits}");
        let profile = format!("{name}.blemish");
        let commands = [
            &["score", &good, "--product", "plate"][..],
            &["eval", "folder", name, "--product", "plate"],
            &["eval", "folder", name, "--product", "plate", "--method", "mutual"],
            &["enroll", "--product", "plate", "--reference", &good, "-o", &profile],
            &["enroll", "--product", "plate", "--mine", &good, "-o", &profile],
            &["prompts", "explain", "winclip", "--product", "plate", &good],
        ];
        // One rule: every command for one camera, one command for the others.
        let count = if bits == 12 { commands.len() } else { 1 };
        for arguments in &commands[..count] {
            let run = |more: &[&str]| {
                let mut command = blemish(home);
                command.current_dir(home).args(*arguments).args(more).assert()
            };
            let said = run(&[]).success();
            let said = String::from_utf8(said.get_output().stderr.clone()).unwrap();
            assert_eq!(said.matches(&note).count(), 1, "{arguments:?}: {said}");
            let right = run(&["--bit-depth", &bits.to_string()]).success();
            let right = String::from_utf8(right.get_output().stderr.clone()).unwrap();
            assert!(!right.contains("--bit-depth"), "{arguments:?}: {right}");
        }
    }
}

#[test]
fn curly_quotes_are_noticed() {
    let home = tempdir().unwrap();
    let check = |file: &str| {
        let mut command = blemish(home.path());
        command.args(["prompts", "check"]).arg(fixture("cases").join(file));
        command.args(["--product", "plate"]).assert().success()
    };
    check("straight.toml").stdout(contains("nothing doubtful"));
    check("curly.toml").stdout(contains("curly.toml:1:26: warning:"));
}
