//! `--reference-model`: photos are compared by another model, and prompts stay with the first one. The model here is
//! small and random.

mod common;

use std::path::Path;

use assert_cmd::assert::Assert;
use common::{blemish, copy_tree, photo};
use predicates::str::contains;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// A home with the model in `dino` and ten photos in `good`.
fn home() -> TempDir {
    let home = tempdir().unwrap();
    copy_tree("dino/plain", &home.path().join("dino"));
    std::fs::create_dir_all(home.path().join("good")).unwrap();
    (0..10).for_each(|i| photo(&home.path().join(format!("good/{i}.png")), 120 + i, 100));
    home
}

fn run(home: &Path, words: &[&str]) -> Assert {
    blemish(home).current_dir(home).args(words).arg("--quiet").assert()
}

fn rows(assert: &Assert) -> Vec<Value> {
    let text = std::str::from_utf8(&assert.get_output().stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The profile's description.
fn shown(home: &Path) -> Value {
    let shown = blemish(home).current_dir(home).args(["profile", "show", "p.blemish"]).assert();
    serde_json::from_slice(&shown.success().get_output().stdout).unwrap()
}

const ENROLL: [&str; 8] =
    ["enroll", "--product", "plate", "--reference", "good", "-o", "p.blemish", "--seed=1"];
const BY: [&str; 4] = ["--reference-model", "dino", "--reference-size", "98"];

#[test]
fn a_profile_compares_by_its_reference_model() {
    let home = home();
    let home = home.path();
    let mut scores = Vec::new();
    for method in ["anomaly-dino", "anomaly-dino-masked", "april-gan", "subspace", "patchcore"] {
        let more = ["--reference-method", method];
        let enrolled = run(home, &[&ENROLL[..], &BY, &more].concat()).success();
        assert_eq!(rows(&enrolled)[0]["calibration_photos"], 10, "{method}");
        // The profile knows its model.
        let scored = run(home, &["score", "good", "--profile", "p.blemish"]).success();
        let first = rows(&scored).remove(0);
        assert_eq!((&first["reference_model"], &first["model"]), (&"dino".into(), &"tiny".into()));
        assert_eq!(first["reference_model_sha256"].as_str().unwrap().len(), 64);
        scores.push(first["score"].as_f64().unwrap());
        run(home, &["profile", "check", "p.blemish"]).success();
    }
    scores.dedup();
    assert_eq!(scores.len(), 5);
    let about = shown(home);
    assert_eq!(
        (&about["reference_model"]["name"], &about["reference_model"]["size"]),
        (&"dino".into(), &98.into())
    );
    // The default method of such a model.
    let enrolled = run(home, &[&ENROLL[..], &BY].concat()).success();
    assert_eq!(rows(&enrolled)[0]["reference_method"], "anomaly-dino");

    // The model moved: the flag says where it is. Another model is refused.
    std::fs::rename(home.join("dino"), home.join("moved")).unwrap();
    let score = ["score", "good", "--profile", "p.blemish"];
    run(home, &score).code(2);
    run(home, &[&score[..], &["--reference-model", "moved"]].concat()).success();
    copy_tree("dino/registers", &home.join("other"));
    run(home, &[&score[..], &["--reference-model", "other"]].concat())
        .code(1)
        .stderr(contains("was made with reference model dino"));
    // A profile without one.
    run(home, &ENROLL).success();
    run(home, &[&score[..], &["--reference-model", "moved"]].concat())
        .code(2)
        .stderr(contains("--reference-model: the profile was enrolled without one"));
}

#[test]
fn a_single_reference_and_a_region_are_compared_too() {
    let home = home();
    let home = home.path();
    let one = ["enroll", "--product", "plate", "--reference", "good/1.png", "-o", "p.blemish"];
    run(home, &[&one[..], &BY].concat()).success();
    run(home, &[&ENROLL[..], &BY, &["--roi", "20%,20%,60%,60%"]].concat()).success();
    run(home, &["score", "good", "--profile", "p.blemish", "--out", "out"]).success();
    assert!(home.join("out/1.png").is_file());
}

/// A light from the left makes each photo brighter there.
#[test]
fn copies_of_the_references_are_known_too() {
    let home = home();
    let home = home.path();
    for i in 0..10u32 {
        let shade = |x: u32, y: u32| image::Rgb([(x + i + (x * y * 7 + i * 13) % 9) as u8; 3]);
        image::RgbImage::from_fn(200, 200, shade).save(home.join(format!("good/{i}.png"))).unwrap();
    }
    let photo = image::open(home.join("good/3.png")).unwrap();
    photo.rotate180().save(home.join("turned.png")).unwrap();
    let mut dark = photo.to_rgb8();
    dark.pixels_mut().flat_map(|pixel| &mut pixel.0).for_each(|value| *value = *value / 4 * 3);
    dark.save(home.join("dark.png")).unwrap();
    let far = |photo: &str, augment: &[&str]| {
        run(home, &[&ENROLL[..], &BY, augment].concat()).success();
        let scored = run(home, &["score", photo, "--profile", "p.blemish"]).success();
        rows(&scored)[0]["score"].as_f64().unwrap()
    };
    assert!(far("turned.png", &[]) > far("turned.png", &["--augment", "rotate"]) + 0.05);
    let (plain, light) = (far("dark.png", &[]), far("dark.png", &["--augment", "light"]));
    assert!(plain > light + 0.05, "{plain} {light}");
    assert_eq!(shown(home)["augment"], serde_json::json!(["light"]));
    run(home, &[&ENROLL[..], &["--augment", "rotate,light", "--roi", "10%,10%,80%,80%"]].concat())
        .code(2)
        .stderr(contains("--augment rotate: rotated parts leave the region"));
}

#[test]
fn a_folder_is_compared_by_the_reference_model() {
    let home = home();
    let home = home.path();
    let score = ["score", "good", "--product", "plate"];
    let plain = rows(&run(home, &score).success());
    let by = rows(&run(home, &[&score[..], &BY].concat()).success());
    assert_eq!(plain[0]["reference_model"], Value::Null);
    assert_eq!(
        (&by[0]["reference_model"], &by[0]["method"]),
        (&"dino".into(), &"april-gan+mutual".into())
    );
    assert_ne!(plain[0]["score"], by[0]["score"]);
    assert_eq!(by[0]["folder"]["blocks"], serde_json::json!([1, 2, 3, 4]));
    let mined =
        ["enroll", "--product", "plate", "--mine", "good", "--limit", "4", "-o", "m.blemish"];
    run(home, &[&mined[..], &BY].concat()).success();

    std::fs::create_dir_all(home.join("set")).unwrap();
    std::fs::rename(home.join("good"), home.join("set/good")).unwrap();
    std::fs::create_dir_all(home.join("set/bad")).unwrap();
    photo(&home.join("set/bad/1.png"), 90, 90);
    let eval = ["eval", "folder", "set", "--method", "mutual", "--format", "json"];
    let measured = rows(&run(home, &[&eval[..], &BY].concat()).success());
    assert_eq!(measured[0]["reference_model"]["name"], "dino");
}

#[test]
fn what_does_not_fit_is_refused() {
    let home = home();
    let home = home.path();
    let alone = ["score", "good", "--product", "plate", "--method", "april-gan"];
    run(home, &[&alone[..], &BY].concat()).code(2).stderr(contains("--reference-model: is for"));
    run(home, &["score", "good", "--product", "plate", "--reference-model", "/no/such"])
        .code(2)
        .stderr(contains("--reference-model /no/such: neither a known name"));
    let positions = ["--reference-method", "padim", "--augment", "rotate"];
    run(home, &[&ENROLL[..], &positions].concat())
        .code(2)
        .stderr(contains("--augment rotate: padim compares positions"));
    // Too few photos to compare: the flag is named.
    let few = ["score", "good/1.png", "--product", "plate"];
    let few = blemish(home).current_dir(home).args([&few[..], &BY].concat()).assert().success();
    few.stderr(contains("note: --reference-model has no effect on fewer than 8 photos"));
    let windows = ["--reference-method", "winclip"];
    run(home, &[&ENROLL[..], &BY, &windows].concat())
        .code(2)
        .stderr(contains("--reference-method winclip: compares windows"));
    let size = ["--reference-model", "dino", "--reference-size", "100"];
    run(home, &[&ENROLL[..], &size].concat())
        .code(2)
        .stderr(contains("--reference-size 100: must be a multiple of the patch size 14"));
    let layers = ["--reference-method", "april-gan", "--reference-blocks"];
    run(home, &[&ENROLL[..], &BY, &layers, &["5"]].concat())
        .code(2)
        .stderr(contains("--reference-blocks 5: give blocks of the model, from 1 to 4"));
    run(home, &[&ENROLL[..], &BY, &layers, &["trunk"]].concat())
        .code(2)
        .stderr(contains("has no trunk"));
    run(home, &[&ENROLL[..], &["--reference-method", "anomaly-dino-masked"]].concat())
        .code(2)
        .stderr(contains("is for the patches of DINOv2"));
    run(home, &[&ENROLL[..], &["--reference-model", "tiny"]].concat())
        .code(1)
        .stderr(contains("is none of dinov2"));
    // The other way round.
    run(home, &[&ENROLL[..], &["--model", "dino"]].concat())
        .code(1)
        .stderr(contains("is a model without words; give it as the reference model"));
    let eval = ["eval", "folder", "good", "--method", "april-gan"];
    run(home, &[&eval[..], &BY].concat()).code(2).stderr(contains("needs --profile-from"));
}

#[test]
fn models_are_listed_with_the_flag_that_takes_them() {
    let home = tempdir().unwrap();
    let listed = rows(&blemish(home.path()).arg("models").assert().success());
    let small = listed.iter().find(|row| row["name"] == "dinov2-small").unwrap();
    assert_eq!(
        (&small["flag"], &small["licence"]),
        (&"--reference-model".into(), &"Apache-2.0".into())
    );
    assert_eq!(small["repository"], "facebook/dinov2-small");
}
