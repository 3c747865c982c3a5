//! `blemish eval` and `merge` as a user sees them: runs that were stopped or split end as whole ones do.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

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
    eval(home, &["--out", "cut"]).code(2).stderr(contains("go on with it with --resume"));
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
    merge(&["p0", "p1", "--out", "m"]).code(1).stderr(contains("go on with it first"));
    assert!(!home.join("m/run.json").exists(), "nothing is begun that cannot end");
    run(&["--out", "x", "--shard", "2/2"]).code(2).stderr(contains("of 2 the last is 1"));
}

/// A miniature of MVTec LOCO: a tray with a part that can be missing or stained.
fn loco(root: &Path) {
    let tray = |file: &Path, grain: u32, has_part: bool, stained: bool| {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let picture = image::RgbImage::from_fn(96, 64, |x, y| {
            let part = has_part && (30..60).contains(&x) && (20..44).contains(&y);
            let stain = stained && (70..80).contains(&x) && (30..40).contains(&y);
            let noise = (x * 31 + y * 17 + grain * 7) % 9;
            let value = if stain {
                10
            } else if part {
                180
            } else {
                90
            } + noise;
            image::Rgb([value as u8; 3])
        });
        picture.save(file).unwrap();
    };
    let mask = |file: &Path,
                value: u8,
                columns: std::ops::Range<u32>,
                rows: std::ops::Range<u32>| {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let value = |x, y| if columns.contains(&x) && rows.contains(&y) { value } else { 0 };
        image::GrayImage::from_fn(96, 64, |x, y| image::Luma([value(x, y)])).save(file).unwrap();
    };
    for i in 0..4 {
        tray(&root.join(format!("train/good/{i:03}.png")), i, true, false);
        tray(&root.join(format!("test/good/{i:03}.png")), 50 + i, true, false);
    }
    for i in 0..2 {
        tray(&root.join(format!("test/logical_anomalies/{i:03}.png")), 70 + i, false, false);
        let truth = root.join(format!("ground_truth/logical_anomalies/{i:03}/000.png"));
        mask(&truth, 255, 30..60, 20..44);
        tray(&root.join(format!("test/structural_anomalies/{i:03}.png")), 80 + i, true, true);
        let truth = root.join(format!("ground_truth/structural_anomalies/{i:03}/000.png"));
        mask(&truth, 254, 70..80, 30..40);
    }
    let config = r#"[
        {"defect_name":"missing","pixel_value":255,"saturation_threshold":300,"relative_saturation":false},
        {"defect_name":"stain","pixel_value":254,"saturation_threshold":1.0,"relative_saturation":true}]"#;
    std::fs::write(root.join("defects_config.json"), config).unwrap();
}

#[test]
fn loco_is_measured_with_good_parts_and_its_maps_by_the_command_for_maps() {
    let home = tempdir().unwrap();
    let home = home.path();
    loco(&home.join("loco/tray"));
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
    let page = std::fs::read_to_string(home.join("out/report.html")).unwrap();
    assert!(page.contains("Not zero-shot") && page.contains("sPRO") && !page.contains("http"));
    // Three of each sort, of which there are four good and four defective.
    assert_eq!(page.matches("data:image/png;base64,").count(), 9);
    let ninety_five = tray["kinds"]["structural_anomalies"]["image_auroc_95"].as_array().unwrap();
    assert_eq!(ninety_five.len(), 2);
    assert!(std::fs::read_to_string(home.join("out/metrics.csv")).unwrap().lines().count() == 5);

    // The maps that were kept say the same of pixels.
    let mut command = blemish(home);
    command.current_dir(home).args(["eval", "maps", "loco", "loco", "-q", "--format", "json"]);
    let maps = command.args(["--maps", "out/maps"]).assert().success();
    let maps: Value = serde_json::from_slice(&maps.get_output().stdout).unwrap();
    assert_eq!(maps["products"][0]["au_pro"], tray["au_pro"]);
    run(&["--profile-from", "train:9"])
        .code(1)
        .stderr(contains("has 4 good training photos of tray"));
    run(&["--profile-from", "4"]).code(2).stderr(contains("train:N"));
    run(&["--category", "bag"]).code(2).stderr(contains("loco has tray"));
}
