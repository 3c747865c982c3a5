//! `--tiles`: small defects on large photos.

mod common;

use std::path::Path;

use assert_cmd::assert::Assert;
use common::{blemish, copy_tree, fixture};
use predicates::str::contains;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const SIDE: u32 = 600;

/// A fine grain of its own, with a dark dot of eight pixels if there is one.
fn plate(file: &Path, grain: u32, dot: Option<(u32, u32)>) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let shade = |x: u32, y: u32| {
        let h = (x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77) ^ grain)
            .wrapping_mul(0x2C1B_3C6D);
        let value = 120 + (h >> 28) as u8;
        let is_dot = dot.is_some_and(|(dx, dy)| x.abs_diff(dx) < 4 && y.abs_diff(dy) < 4);
        image::Rgb([if is_dot { 20 } else { value }; 3])
    };
    image::RgbImage::from_fn(SIDE, SIDE, shade).save(file).unwrap();
}

fn home() -> TempDir {
    let home = tempdir().unwrap();
    (0..8).for_each(|i| plate(&home.path().join(format!("good/{i}.png")), i * 77 + 3, None));
    plate(&home.path().join("bad/1.png"), 999, Some((330, 410)));
    home
}

fn run(home: &Path, words: &[&str]) -> Assert {
    blemish(home).current_dir(home).args(words).arg("--quiet").assert()
}

fn rows(assert: &Assert) -> Vec<Value> {
    let text = std::str::from_utf8(&assert.get_output().stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How far the peak is from the dot, in pixels.
fn off(row: &Value) -> f64 {
    let at = |name: &str, dot: f64| row[name].as_f64().unwrap() - dot;
    at("peak_x", 330.0).hypot(at("peak_y", 410.0))
}

#[test]
fn a_small_dot_is_found_with_tiles_and_good_parts() {
    let home = home();
    let home = home.path();
    let enroll =
        ["enroll", "--product", "plate", "--reference", "good", "--limit", "2", "-o", "p.blemish"];
    let score = ["score", "bad", "good/3.png", "--profile", "p.blemish"];
    let mut margins = Vec::new();
    for tiles in [&[][..], &["--tiles", "3"]] {
        run(home, &[&enroll[..], tiles].concat()).success();
        let found = rows(&run(home, &score).success());
        let [bad, good] = &found[..] else { panic!("{found:?}") };
        margins.push(bad["score"].as_f64().unwrap() - good["score"].as_f64().unwrap());
        let expected = if tiles.is_empty() { Value::Null } else { 3.into() };
        assert_eq!((&bad["tiles"], &bad["size"]), (&expected, &240.into()));
        if !tiles.is_empty() {
            assert!(off(bad) < 20.0, "{bad}");
        }
    }
    assert!(margins[1] > margins[0] + 0.1, "{margins:?}");
    // The profile brings the tiles.
    run(home, &[&score[..], &["--tiles", "2"]].concat())
        .code(2)
        .stderr(contains("--tiles <auto|N|off>"));
    let shown = blemish(home).current_dir(home).args(["profile", "show", "p.blemish"]).assert();
    let about: Value = serde_json::from_slice(&shown.get_output().stdout).unwrap();
    assert_eq!(about["tiles"], serde_json::json!({ "count": 3, "overlap": 2 }));
    run(home, &["profile", "check", "p.blemish"]).success();
}

/// A small random model has windows, blocks and no trunk. The embedded one has a trunk.
#[test]
fn every_method_takes_tiles() {
    let home = home();
    let home = home.path();
    let random = fixture("clip/gelu/hf");
    let random = ["--model", random.to_str().unwrap()];
    for (method, model, photos) in [
        ("winclip", &random[..], &["bad"][..]),
        ("clip-ad", &random, &["bad"]),
        ("mutual", &random, &["bad", "good"]),
        ("auto", &random, &["bad", "good"]),
        ("april-gan", &[], &["bad"]),
        ("fused", &[], &["bad"]),
    ] {
        let score = [&["score", "--product", "plate", "--method", method], model, photos].concat();
        let found = rows(&run(home, &[&score[..], &["--tiles", "2"]].concat()).success());
        assert_eq!(
            (found.len(), &found[0]["tiles"]),
            (if photos.len() == 2 { 9 } else { 1 }, &2.into())
        );
        let plain = rows(&run(home, &score).success());
        assert_ne!(found[0]["score"], plain[0]["score"], "{method}");
        // The same bits with one thread.
        let one = [&score[..], &["--tiles", "2", "--threads", "1"]].concat();
        assert_eq!(rows(&run(home, &one).success())[0]["score"], found[0]["score"], "{method}");
    }
}

#[test]
fn auto_looks_at_the_photos() {
    let home = home();
    let home = home.path();
    // Photos that are hardly larger than the input need no tiles.
    let small = image::open(home.join("bad/1.png")).unwrap().thumbnail(300, 300);
    small.save(home.join("small.png")).unwrap();
    let score = |photo: &str, tiles: &str| {
        let score =
            ["score", photo, "--product", "plate", "--method", "april-gan", "--tiles", tiles];
        rows(&run(home, &score).success()).remove(0)
    };
    let [off, auto] = ["off", "auto"].map(|tiles| score("small.png", tiles));
    assert_eq!((&auto["tiles"], &auto["score"]), (&Value::Null, &off["score"]));
    assert_eq!(score("bad", "auto")["tiles"], 4);
}

#[test]
fn a_reference_model_has_tiles_of_its_own() {
    let home = home();
    let home = home.path();
    copy_tree("dino/registers", &home.join("dino"));
    let by = ["--reference-model", "dino", "--reference-size", "98", "--tiles", "2"];
    let enroll =
        ["enroll", "--product", "plate", "--reference", "good", "--limit", "2", "-o", "p.blemish"];
    run(home, &[&enroll[..], &by].concat()).success();
    let found = rows(&run(home, &["score", "bad", "--profile", "p.blemish"]).success());
    assert_eq!((&found[0]["reference_model"], &found[0]["tiles"]), (&"dino".into(), &2.into()));
    let shown = blemish(home).current_dir(home).args(["profile", "show", "p.blemish"]).assert();
    let about: Value = serde_json::from_slice(&shown.get_output().stdout).unwrap();
    let tiles = serde_json::json!({ "count": 2, "overlap": 2 });
    assert_eq!(about["reference_model"]["tiles"], tiles);
}

#[test]
fn tiles_that_do_not_fit_are_refused() {
    let home = home();
    let home = home.path();
    let score = ["score", "bad", "--product", "plate", "--method", "april-gan", "--tiles"];
    for (more, why) in [
        (&["0"][..], "--tiles 0: give a number from 1 to 16"),
        (&["17"], "--tiles 17: give a number from 1 to 16"),
        (&["some"], "give auto, off or a number"),
        (&["2", "--tile-overlap", "8"], "--tile-overlap 8: give a number of patches from 1 to 7"),
        (&["2", "--tile-overlap", "0"], "--tile-overlap 0"),
    ] {
        run(home, &[&score[..], more].concat()).code(2).stderr(contains(why));
    }
    // A window must lie within a tile wherever it begins.
    let windows = ["score", "bad", "--product", "plate", "--method", "winclip", "--tiles", "2"];
    run(home, &[&windows[..], &["--tile-overlap", "1"]].concat())
        .code(2)
        .stderr(contains("--tile-overlap: is too small for windows of 3x3 patches"));
    let alone = ["score", "bad", "--product", "plate", "--tile-overlap", "2"];
    run(home, &alone).code(2).stderr(contains("--tile-overlap: needs --tiles"));
    // The longer side is not seen.
    let strip = image::open(home.join("bad/1.png")).unwrap().crop_imm(0, 0, 600, 100);
    strip.save(home.join("strip.png")).unwrap();
    let crop =
        ["score", "strip.png", "--product", "plate", "--method", "april-gan", "--fit", "crop"];
    let found = rows(&run(home, &[&crop[..], &["--tiles", "auto"]].concat()).success());
    assert_eq!(found[0]["tiles"], Value::Null);
}

#[test]
fn results_of_other_tiles_are_not_mixed() {
    let home = home();
    let home = home.path();
    let score = |photos: &str, overlap: &str| {
        let score = ["score", photos, "--product", "plate", "--method", "april-gan"];
        let tiles = ["--tiles", "2", "--tile-overlap", overlap, "--resume", "r.jsonl"];
        run(home, &[&score[..], &tiles].concat())
    };
    score("bad", "2").success();
    std::fs::copy(home.join("good/1.png"), home.join("bad/2.png")).unwrap();
    score("bad", "3").code(2).stderr(contains("holds results of another kind of tiles"));
    score("bad", "2").success();
}
