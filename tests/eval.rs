//! `blemish eval` and `merge` as a user sees them: runs that were stopped or split end as whole ones do.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::plates::plates;
use common::{blemish, fixture};
use predicates::str::contains;
use serde_json::Value;
use tempfile::tempdir;

/// The contents of all files below a folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    let read = |entry: walkdir::DirEntry| {
        let name = entry.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(entry.path()).unwrap())
    };
    files.map(read).collect()
}

fn eval(home: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = blemish(home);
    command.current_dir(home).args(["eval", "mvtec", "--method", "winclip", "-q"]);
    command.arg(fixture("tiny/samples")).args(more).assert()
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let home = tempdir().unwrap();
    let home = home.path();
    let whole = eval(home, &["--out", "whole"]).success();
    let log = home.join("cut/photos.jsonl");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_blemish"))
        .current_dir(home)
        // Not the prompts that another build may have left in the user's cache.
        .env("BLEMISH_CACHE", home.join("cache"))
        .args(["eval", "mvtec", "--method", "winclip", "-q", "--out", "cut"])
        .arg(fixture("tiny/samples"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let lines = || std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    while lines() < 3 && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let photos = contents(&home.join("whole")).keys().filter(|name| name.ends_with("tiff")).count();
    assert!((3..photos).contains(&lines()), "{} of {photos}", lines());
    // As if the last line had been cut in the middle, too.
    let mut text = std::fs::read_to_string(&log).unwrap();
    text.push_str("{\"photo\":\"bottle/te");
    std::fs::write(&log, text).unwrap();
    eval(home, &["--out", "cut"]).code(2).stderr(contains("continue it with --resume"));
    eval(home, &["--out", "cut", "--resume", "--fit", "letterbox"])
        .code(2)
        .stderr(contains("of other photos or settings"));
    for other in [&["--bit-depth", "12"][..], &["--prompts", "april-gan"]] {
        let more = [&["--out", "cut", "--resume"], other].concat();
        eval(home, &more).code(2).stderr(contains("of other photos or settings"));
    }
    let resumed = eval(home, &["--out", "cut", "--resume"]).success();
    assert_eq!(resumed.get_output().stdout, whole.get_output().stdout);
    assert_eq!(contents(&home.join("cut")), contents(&home.join("whole")));
}

#[test]
fn what_the_model_cannot_do_is_refused_before_anything_is_written() {
    let home = tempdir().unwrap();
    let home = home.path();
    eval(home, &["--size", "16", "--out", "run"]).code(2);
    assert!(!home.join("run/run.json").exists());
    eval(home, &["--out", "run"]).success();
}

#[test]
fn parts_are_merged_to_the_bytes_of_one_run() {
    let home = tempdir().unwrap();
    let home = home.path();
    let some = ["--category", "bottle", "--category", "leather", "--category", "zipper"];
    let run = |more: &[&str]| eval(home, &[&some, more].concat());
    let whole = run(&["--out", "whole"]).success();
    run(&["--out", "p0", "--shard", "0/2"]).success().stdout("");
    blemish(home)
        .current_dir(home)
        .args(["eval", "mvtec", "--method", "winclip", "-q", "--out", "p1", "--shard", "2"])
        .args(some)
        .arg(fixture("tiny/samples"))
        .env("SLURM_ARRAY_TASK_ID", "1")
        .assert()
        .success();
    let merge =
        |arguments: &[&str]| blemish(home).current_dir(home).arg("merge").args(arguments).assert();
    let merged = merge(&["p1", "p0", "--out", "merged"]).success();
    assert_eq!(merged.get_output().stdout, whole.get_output().stdout);
    assert_eq!(contents(&home.join("merged")), contents(&home.join("whole")));

    merge(&["p0", "--out", "m"]).code(1).stderr(contains("part 1 of 2 is missing"));
    merge(&["p0", "p1", "p1", "--out", "m"])
        .code(1)
        .stderr(contains("p1: is part 1 of 2, and so is"));
    merge(&["p0", "whole", "--out", "m"]).code(1).stderr(contains("is a whole run"));
    run(&["--out", "other", "--shard", "1/2", "--fit", "crop"]).success();
    merge(&["p0", "other", "--out", "m"]).code(1).stderr(contains("is of another run than p0"));
    std::fs::write(home.join("p1/photos.jsonl"), "").unwrap();
    merge(&["p0", "p1", "--out", "m"]).code(1).stderr(contains("resume that part first"));
    assert!(!home.join("m/run.json").exists(), "nothing is begun that cannot end");
    run(&["--out", "x", "--shard", "2/2"]).code(2).stderr(contains("of 2 the last is 1"));
}

/// `fixtures/layouts`: a tray whose part can be missing, or that can be stained.
#[test]
fn every_layout_is_measured() {
    let home = tempdir().unwrap();
    for (layout, folder, good, kinds) in [
        ("mvtec", "mvtec", 2, [("missing", 2), ("stain", 2)].as_slice()),
        ("loco", "loco", 4, &[("logical_anomalies", 2), ("structural_anomalies", 2)]),
        ("visa", "visa", 2, &[("anomaly", 2)]),
        ("mvtec", "visa_converted", 2, &[("bad", 2)]),
        ("folder", "folder", 2, &[("stain", 2)]),
    ] {
        let found = blemish(home.path())
            .args(["eval", layout, "--method", "winclip", "-q", "--format", "json"])
            .arg(fixture("layouts").join(folder))
            .assert()
            .success()
            .stderr("");
        let found: Value = serde_json::from_slice(&found.get_output().stdout).unwrap();
        let product = &found["products"][0];
        assert_eq!(product["good"], good, "{folder}");
        let counts: Vec<(&str, u64)> = product["kinds"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(kind, of)| (kind.as_str(), of["photos"].as_u64().unwrap()))
            .collect();
        assert_eq!(counts, kinds, "{folder}");
        for metric in ["image_auroc", "map_maximum_auroc", "pixel_auroc", "pixel_ap"] {
            assert!(product[metric].is_f64(), "{folder} {metric}: {product}");
        }
        assert!(product["au_pro"]["0.3"].as_f64().unwrap() > 0.0, "{folder}: {product}");
    }
}

#[test]
fn products_that_cannot_be_measured_and_strays_are_named() {
    let home = tempdir().unwrap();
    let root = home.path().join("set");
    let run = || {
        let mut command = blemish(home.path());
        command.args(["eval", "mvtec", "--method", "winclip"]).arg(&root).assert()
    };
    common::copy_tree("layouts/mvtec", &root);
    common::copy_tree("layouts/mvtec/tray/test/good", &root.join("lid/test/good"));
    run().code(1).stderr(contains("lid has no defective photos"));
    std::fs::remove_dir_all(root.join("lid/test/good")).unwrap();
    run().code(1).stderr(contains("lid: has no photos in test/<kind>/"));
    std::fs::remove_dir_all(root.join("lid")).unwrap();
    std::fs::write(root.join("tray/test/stain/notes.txt"), "").unwrap();
    std::fs::write(root.join("tray/ground_truth/stain/9_mask.png"), "").unwrap();
    run()
        .success()
        .stderr(contains("notes.txt is no part of the set, nor is another file: not used"));
    std::fs::remove_file(root.join("tray/ground_truth/stain/001_mask.png")).unwrap();
    run().code(1).stderr(contains("001.png: has no mask"));
}

#[test]
fn loco_is_measured_with_good_parts_and_its_maps_by_the_command_for_maps() {
    let home = tempdir().unwrap();
    let home = home.path();
    common::copy_tree("layouts/loco", &home.join("loco"));
    let run = |more: &[&str]| {
        let mut command = blemish(home);
        command.current_dir(home).args(["eval", "loco", "loco", "-q", "--format", "json"]);
        command.args(more).assert()
    };
    let found = run(&["--profile-from", "train:4", "--out", "out"]).success();
    let found: Value = serde_json::from_slice(&found.get_output().stdout).unwrap();
    assert_eq!(
        (&found["references"], &found["reference_method"]),
        (&4.into(), &"april-gan".into())
    );
    let tray = &found["products"][0];
    assert_eq!((&tray["good"], &tray["anomalous"]), (&4.into(), &4.into()));
    let spro = |from: &Value, kind: &str| from["kinds"][kind]["au_pro"]["0.3"].as_f64().unwrap();
    assert!(spro(tray, "structural_anomalies") > 0.5, "{tray}");
    let official = std::fs::read(home.join("out/official/tray/metrics.json")).unwrap();
    let official: Value = serde_json::from_slice(&official).unwrap();
    assert_eq!(
        official["localization"]["auc_spro"]["logical_anomalies"]["0.3"],
        tray["kinds"]["logical_anomalies"]["au_pro"]["0.3"]
    );
    // The script takes the highest value of a map for its photo's score.
    assert_eq!(official["classification"]["auc_roc"]["mean"], tray["map_maximum_auroc"]);
    let page = std::fs::read_to_string(home.join("out/report.html")).unwrap();
    assert!(page.contains("Not zero-shot") && page.contains("sPRO"));
    // All photos, each with its map, and the defective ones with the outline of the ground truth.
    let pictures = |ending: &str| {
        let files = std::fs::read_dir(home.join("out/report_files")).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(ending))
            .count()
    };
    assert_eq!([".jpg", ".map.png", ".truth.png"].map(pictures), [8, 8, 4]);
    let ninety_five = tray["kinds"]["structural_anomalies"]["image_auroc_95"].as_array().unwrap();
    assert_eq!(ninety_five.len(), 2);
    assert!(std::fs::read_to_string(home.join("out/metrics.csv")).unwrap().lines().count() == 5);

    // The maps that were kept say the same of pixels.
    let mut command = blemish(home);
    command.current_dir(home).args(["eval", "maps", "loco", "loco", "-q", "--format", "json"]);
    let maps = command.args(["--maps", "out/maps"]).assert().success();
    let maps: Value = serde_json::from_slice(&maps.get_output().stdout).unwrap();
    assert_eq!(maps["products"][0]["au_pro"], tray["au_pro"]);
    assert_eq!(maps["products"][0]["image_auroc"], tray["map_maximum_auroc"]);
    // Other training photos are another run.
    let train = home.join("loco/tray/train/good");
    std::fs::copy(train.join("003.png"), train.join("000.png")).unwrap();
    run(&["--profile-from", "train:4", "--out", "out", "--resume"])
        .code(2)
        .stderr(contains("of other photos or settings"));
    run(&["--profile-from", "train:9"])
        .code(1)
        .stderr(contains("has 4 good training photos of tray"));
    run(&["--profile-from", "4"]).code(2).stderr(contains("train:N"));
    run(&["--category", "bag"]).code(2).stderr(contains("loco has tray"));
}

#[test]
fn autoencoders_are_trained_and_measured() {
    let home = tempdir().unwrap();
    let home = home.path();
    let folder = |kind: &str| home.join("set/plate").join(kind);
    plates(&folder("train/good"), 8, 0);
    plates(&folder("test/good"), 3, 0);
    plates(&folder("test/stain"), 3, 3);
    std::fs::create_dir_all(folder("ground_truth/stain")).unwrap();
    for i in 0..3 {
        let is_stain = |x: u32, y: u32| x.abs_diff(70) < 9 && y.abs_diff(24) < 9;
        let mask = image::GrayImage::from_fn(96, 96, |x, y| {
            image::Luma([if is_stain(x, y) { 255 } else { 0 }])
        });
        mask.save(folder("ground_truth/stain").join(format!("{i:02}_mask.png"))).unwrap();
    }
    let measure = |name: &str, steps: &str| {
        let mut command = blemish(home);
        command.current_dir(home).args(["eval", "mvtec", "set", "--format", "json", "--baseline"]);
        let found = command.args([name, "--baseline-steps", steps]).assert().success();
        let told = contains(format!("plate: {name} trained on 8 photos in "));
        let found = found.stderr(told);
        serde_json::from_slice::<Value>(&found.get_output().stdout).unwrap()
    };
    let mut command = blemish(home);
    command.current_dir(home).args(["eval", "mvtec", "set", "--baseline", "vae"]);
    command.args(["--baseline-steps", "0"]).assert().code(2).stdout("");
    let mse = measure("autoencoder-mse", "2");
    let text = mse.to_string();
    assert!(text.contains("\"trained\"") && text.contains("autoencoder-mse"), "{text}");
    assert!(text.contains("\"pixel_auroc\":0."), "{text}");
    for name in ["autoencoder-ssim", "vae"] {
        assert_eq!(measure(name, "2").to_string(), measure(name, "2").to_string(), "{name}");
    }
    let mut command = blemish(home);
    command.current_dir(home).args([
        "eval",
        "mvtec",
        "set",
        "--baseline",
        "vae",
        "--method",
        "winclip",
    ]);
    command.assert().code(2).stdout("");
    std::fs::remove_dir_all(folder("train")).unwrap();
    let mut command = blemish(home);
    command.current_dir(home).args(["eval", "mvtec", "set", "--baseline", "vae"]);
    command.assert().code(1).stderr(contains("has no good training photos of plate"));
}
