//! Parts that have a photo under each of several lights.

mod common;

use std::path::Path;

use assert_cmd::assert::Assert;
use common::blemish;
use image::{GrayImage, Luma, Rgb, RgbImage};
use predicates::str::contains;
use serde_json::Value;
use tempfile::tempdir;

/// A ribbed plate under light from the left, from above, or along the camera. A dent shows under `left` only.
fn lit(seed: u32, light: &str, has_dent: bool, shift: i32) -> RgbImage {
    RgbImage::from_fn(120, 96, |x, y| {
        let (x, y) = (x as i32 - shift, y as i32);
        let grain =
            (x.wrapping_mul(7919) ^ y.wrapping_mul(104_729) ^ (seed as i32 * 31)).rem_euclid(17);
        let is_part = (16..104).contains(&x) && (12..84).contains(&y);
        let dent = has_dent && (x - 70).pow(2) + (y - 40).pow(2) < 90;
        let slope = if x < 70 { -90 } else { 90 };
        let value = match (light, is_part) {
            (_, false) => 15,
            ("left", _) => 90 + 60 * i32::from(x % 20 < 3) + if dent { slope } else { 0 },
            ("top", _) => 110 + 60 * i32::from(y % 20 < 3),
            _ => 140,
        };
        Rgb([(value + grain).clamp(0, 255) as u8; 3])
    })
}

const LIGHTS: [&str; 3] = ["front", "left", "top"];

fn part(folder: &Path, name: &str, seed: u32, has_dent: bool) {
    std::fs::create_dir_all(folder).unwrap();
    for light in LIGHTS {
        lit(seed, light, has_dent, 0).save(folder.join(format!("{name}_{light}.png"))).unwrap();
    }
}

fn run(home: &Path, arguments: &[&str]) -> Assert {
    blemish(home).current_dir(home).args(arguments).assert()
}

fn rows(assert: &Assert) -> Vec<Value> {
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const VIEWS: [&str; 2] = ["--views", "{part}_{light}.png"];

#[test]
fn parts_are_scored_by_prompts_and_a_bad_part_stops_no_other() {
    let home = tempdir().unwrap();
    let home = home.path();
    let parts = home.join("parts");
    (0..5).for_each(|i| part(&parts, &format!("p_{i}"), i, false));
    std::fs::remove_file(parts.join("p_1_top.png")).unwrap();
    lit(2, "top", false, 0).save(parts.join("p_2_back.png")).unwrap();
    image::imageops::resize(&lit(3, "top", false, 0), 60, 48, image::imageops::FilterType::Nearest)
        .save(parts.join("p_3_top.png"))
        .unwrap();
    lit(4, "top", false, 2).save(parts.join("p_4_top.png")).unwrap();
    part(&parts, "p_5", 5, false);
    lit(5, "left", false, 12).save(parts.join("p_5_left.png")).unwrap();
    lit(0, "top", false, 0).save(parts.join("overview.png")).unwrap();
    let score = ["score", "parts", "--product", "plate", "--out", "out"];
    let run_of = run(home, &[&score[..], &VIEWS].concat())
        .code(1)
        .stderr(contains("p_1: has no photo under light top; each part needs front, left, top"))
        .stderr(contains("p_2: has a photo under light back, which the others do not have"))
        .stderr(contains(
            "p_3: its photos have different sizes: 120x96 under front, 60x48 under top",
        ))
        .stderr(contains(
            "p_5: its photo under left is shifted by 12, 0 pixels against front, more than 2",
        ))
        .stderr(contains("note: not read: 1 photos that do not fit {part}_{light}.png"));
    let found = rows(&run_of);
    let names: Vec<&str> = found.iter().map(|row| row["part"].as_str().unwrap()).collect();
    assert_eq!(names, ["parts/p_0", "parts/p_4"]);
    for row in &found {
        let lights = row["lights"].as_array().unwrap();
        let scores: Vec<f64> = lights.iter().map(|l| l["score"].as_f64().unwrap()).collect();
        let highest = scores.iter().copied().fold(0.0, f64::max);
        assert_eq!(row["score"].as_f64().unwrap(), highest);
        let of = lights.iter().find(|light| light["name"] == row["light"]).unwrap();
        assert_eq!(of["score"].as_f64().unwrap(), highest);
    }
    let shift = |row: usize| found[row]["lights"][2]["shift_x"].as_i64();
    assert_eq!((shift(0), shift(1)), (Some(0), Some(2)));
    assert!(home.join("out/p_0_front.png").exists() && home.join("out/index.html").exists());
    // One photo of one part gives the same score alone.
    let alone = run(home, &["score", "parts/p_0_left.png", "--product", "plate"]).success();
    let of_light = found[0]["lights"][1]["score"].as_f64();
    assert_eq!(rows(&alone)[0]["score"].as_f64(), of_light);
}

#[test]
fn a_profile_knows_what_is_usual_under_each_light() {
    let home = tempdir().unwrap();
    let home = home.path();
    (0..20).for_each(|i| part(&home.join("good"), &format!("{i:02}"), i, false));
    let enroll =
        ["enroll", "--product", "plate", "--reference", "good", "-o", "plate.blemish", "-q"];
    let summary = rows(&run(home, &[&enroll[..], &VIEWS].concat()).success());
    assert_eq!(
        (&summary[0]["references"], &summary[0]["calibration_parts"]),
        (&20.into(), &20.into())
    );
    assert_eq!(summary[0]["lights"].as_array().unwrap().len(), 3);
    let threshold = summary[0]["threshold"].as_f64().unwrap();

    part(&home.join("new"), "bad", 77, true);
    part(&home.join("new"), "good", 78, false);
    // The pattern is the profile's.
    let score_new = ["score", "new", "--profile", "plate.blemish"];
    let scored =
        run(home, &["score", "new", "--profile", "plate.blemish", "--fail-on", "ng"]).code(3);
    let found = rows(&scored);
    let (bad, good) = (&found[0], &found[1]);
    assert_eq!((&bad["verdict"], &bad["light"]), (&"ng".into(), &"left".into()), "{bad}");
    assert!(bad["score"].as_f64().unwrap() > threshold && bad["p_value"].as_f64().unwrap() <= 0.05);
    assert!(good["score"].as_f64().unwrap() < threshold, "{good}");
    assert_eq!(bad["calibration_photos"], 20);
    let (x, y) = (bad["peak_x"].as_i64().unwrap(), bad["peak_y"].as_i64().unwrap());
    assert!((x - 70).abs() < 16 && (y - 40).abs() < 16, "{x}, {y}");
    let of = |light: usize| bad["lights"][light]["score"].as_f64().unwrap();
    assert!(of(1) > of(0) && of(1) > of(2), "{bad}");

    // A run that was stopped continues with the other parts.
    let resume = ["score", "new", "--profile", "plate.blemish", "--resume", "r.jsonl"];
    run(home, &resume).success();
    let lines = std::fs::read_to_string(home.join("r.jsonl")).unwrap();
    let first = lines.split_inclusive('\n').next().unwrap();
    std::fs::write(home.join("r.jsonl"), first).unwrap();
    run(home, &resume).success();
    run(home, &resume).success().stderr(contains("2 were scored before"));
    let again = std::fs::read_to_string(home.join("r.jsonl")).unwrap();
    assert_eq!(again.lines().count(), 2);
    run(home, &[&score_new[..], &["--copy-to", "copies"]].concat())
        .code(2)
        .stderr(contains("--copy-to: copies single photos"));

    run(home, &["score", "new/bad_left.png", "--profile", "plate.blemish"])
        .code(1)
        .stderr(contains("new/bad: has no photo under light front"));
    run(home, &["profile", "check", "plate.blemish"])
        .stderr(contains("is a profile of several lights"));
    run(home, &["score", "new", "--profile", "plate.blemish", "--fuse", "mean"])
        .code(2)
        .stderr(contains("--fuse: a profile brings its own"));
    let mut bytes = std::fs::read(home.join("plate.blemish")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(home.join("broken.blemish"), bytes).unwrap();
    run(home, &["score", "new", "--profile", "broken.blemish"])
        .code(1)
        .stderr(contains("broken.blemish"));
}

/// A lamp that fails gives equal photos, and a copied part is no further part.
#[test]
fn parts_that_share_a_photo_count_once() {
    let home = tempdir().unwrap();
    let home = home.path();
    (0..4).for_each(|i| part(&home.join("good"), &format!("{i:02}"), i, false));
    std::fs::copy(home.join("good/00_top.png"), home.join("good/03_top.png")).unwrap();
    part(&home.join("more"), "copy", 1, false);
    let enroll = ["enroll", "--product", "plate", "--reference", "good", "--calibrate", "more"];
    let enrolled = run(home, &[&enroll[..], &["-o", "p.blemish", "-q"], &VIEWS].concat())
        .code(1)
        .stderr(contains(
            "good/03: its photo under light top has the same content as good/00_top.png",
        ))
        .stderr(contains("more/copy: its photo under light front has the same content as good/01"));
    assert_eq!(rows(&enrolled)[0]["calibration_parts"], 3);
}

#[test]
fn wrong_flags_are_refused() {
    let home = tempdir().unwrap();
    let home = home.path();
    part(&home.join("parts"), "a", 1, false);
    for (arguments, why) in [
        (["--views", "{part}.png"], "needs {part} and {light}"),
        (["--fuse", "max"], "--fuse: needs --views"),
    ] {
        let score = ["score", "parts", "--product", "plate"];
        run(home, &[&score[..], &arguments].concat()).code(2).stderr(contains(why));
    }
    let score = ["score", "parts", "--product", "plate", "--method", "mutual"];
    run(home, &[&score[..], &VIEWS].concat()).code(2).stderr(contains("--views"));
    let enroll = ["enroll", "--product", "plate", "--reference", "parts", "-o", "p.blemish"];
    run(home, &[&enroll[..], &["--views", "*{light}/{part}_*.png"]].concat())
        .stderr(contains("finds one light only"));
}

/// A set in the layout of Eyecandies, and the same photos in folders of your own.
#[test]
fn labelled_parts_are_measured() {
    let home = tempdir().unwrap();
    let home = home.path();
    let mask = GrayImage::from_fn(120, 96, |x, y| {
        let is_dent = (x as i32 - 70).pow(2) + (y as i32 - 40).pow(2) < 90;
        Luma([if is_dent { 255 } else { 0 }])
    });
    for (split, count) in [("train", 4), ("test_public", 6)] {
        let data = home.join("candy/plate").join(split).join("data");
        std::fs::create_dir_all(&data).unwrap();
        for i in 0..count {
            let has_dent = split == "test_public" && i % 2 == 1;
            for (k, light) in LIGHTS.into_iter().enumerate() {
                let photo = lit(i + 10 * count, light, has_dent, 0);
                photo.save(data.join(format!("{i:02}_image_{k}.png"))).unwrap();
                let folder = home.join("own").join(match (split, has_dent) {
                    ("train", _) => "train/good",
                    (_, true) => "dent",
                    _ => "good",
                });
                std::fs::create_dir_all(&folder).unwrap();
                photo.save(folder.join(format!("{i:02}_{light}.png"))).unwrap();
            }
            mask.save(data.join(format!("{i:02}_depth.png"))).unwrap();
            let metadata = format!("anomalous: {0}\ndents: {0}\nbumps: 0\n", u8::from(has_dent));
            std::fs::write(data.join(format!("{i:02}_metadata.yaml")), metadata).unwrap();
            if has_dent {
                mask.save(data.join(format!("{i:02}_mask.png"))).unwrap();
            }
        }
    }
    let eval = |what: &[&str], more: &[&str]| {
        let arguments =
            [&["eval"], what, &["--profile-from", "train:4", "--format", "json", "-q"], more];
        rows(&run(home, &arguments.concat()).success()).remove(0)
    };
    let candy = eval(&["eyecandies", "candy"], &["--out", "run"]);
    let product = &candy["products"][0];
    assert_eq!((&product["good"], &product["anomalous"]), (&3.into(), &3.into()));
    assert_eq!(product["image_auroc"], 1.0, "{product}");
    assert!(product["pixel_auroc"].as_f64().unwrap() > 0.9, "{product}");
    assert!(product["kinds"]["dents"].is_object());
    let own = eval(&["folder", "own"], &VIEWS);
    assert_eq!(own["products"][0]["image_auroc"], 1.0);
    // A run that continues computes nothing again, and a changed photo of a part counts.
    let again = eval(&["eyecandies", "candy"], &["--out", "run", "--resume"]);
    assert_eq!(again["products"], candy["products"]);
    let changed = home.join("candy/plate/test_public/data/00_image_2.png");
    lit(60, "top", false, 1).save(changed).unwrap();
    let resume =
        ["eval", "eyecandies", "candy", "--profile-from", "train:4", "--out", "run", "--resume"];
    run(home, &resume).success().stderr(contains("1 results no longer hold"));
}
