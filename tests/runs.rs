//! What `eval --out`, `--resume` and `merge` promise: a result is kept as long as its photo, its line and its map are as
//! they were, whatever the photos' folder is called.

mod common;

use std::path::Path;

use common::{blemish, copy_tree};
use predicates::str::contains;
use serde_json::Value;
use tempfile::tempdir;

fn run(home: &Path, arguments: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = blemish(home);
    command.current_dir(home).args(arguments);
    command.timeout(std::time::Duration::from_secs(120)).assert()
}

const EVAL: [&str; 5] = ["eval", "mvtec", "--method", "winclip", "--format=json"];

fn eval(home: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    run(home, &[&EVAL[..], more].concat())
}

fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

fn log(home: &Path, out: &str) -> String {
    std::fs::read_to_string(home.join(out).join("photos.jsonl")).unwrap()
}

#[test]
fn what_changed_since_is_computed_again_and_nothing_else() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    let whole = eval(home, &["set", "--out", "out"]).success();
    let lines = log(home, "out");
    let photos = lines.lines().count();
    let resume = || eval(home, &["set", "--out", "out", "--resume"]).success();
    assert!(!stderr(&resume()).contains("no longer hold"));
    assert_eq!(log(home, "out"), lines, "nothing is computed again");

    // Another content of the same length and time is another photo.
    let good = home.join("set/tray/test/good/000.png");
    let (before, time) =
        (std::fs::read(&good).unwrap(), good.metadata().unwrap().modified().unwrap());
    let put = |bytes: &[u8]| {
        std::fs::write(&good, bytes).unwrap();
        std::fs::File::options().write(true).open(&good).unwrap().set_modified(time).unwrap();
    };
    let mut other = before.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    put(&other);
    assert!(stderr(&resume()).contains("1 results no longer hold"));
    put(&before);
    assert!(stderr(&resume()).contains("1 results no longer hold"));

    // The same content at another time is the same photo.
    let photo = home.join("set/tray/test/stain/000.png");
    let bytes = std::fs::read(&photo).unwrap();
    std::fs::write(&photo, &bytes).unwrap();
    assert!(!stderr(&resume()).contains("no longer hold"));

    // Another photo of this name; it was the other one of its kind.
    std::fs::copy(home.join("set/tray/test/stain/001.png"), &photo).unwrap();
    let mask = home.join("set/tray/ground_truth/stain/000_mask.png");
    std::fs::copy(home.join("set/tray/ground_truth/stain/001_mask.png"), mask).unwrap();
    let replaced = resume();
    assert!(stderr(&replaced).contains("1 results no longer hold"), "{}", stderr(&replaced));
    let fresh = eval(home, &["set", "--out", "fresh"]).success();
    assert_eq!(replaced.get_output().stdout, fresh.get_output().stdout);
    assert_ne!(replaced.get_output().stdout, whole.get_output().stdout);

    // An edited score, one that is none, an altered map.
    type Edit = dyn Fn(&str) -> String;
    let edits: [(&str, &Edit); 4] = [
        ("edited", &|text| {
            let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
            text.replacen(&line["score"].to_string(), "0.99", 1)
        }),
        ("absurd", &|text| text.replacen("\"score\":0", "\"score\":7", 1)),
        ("no line", &|text| format!("{{}}\n{text}")),
        ("swapped", &|text| text.replacen("good/000", "good/001", 1)),
    ];
    let whole_log = log(home, "out");
    for (name, edit) in edits {
        let edited = edit(&whole_log);
        assert_ne!(edited, whole_log, "{name}");
        std::fs::write(home.join("out/photos.jsonl"), edited).unwrap();
        let again = resume();
        assert!(stderr(&again).contains("no longer hold"), "{name}");
        assert_eq!(again.get_output().stdout, fresh.get_output().stdout, "{name}");
        assert_eq!(log(home, "out").lines().count(), photos, "{name}");
    }
    let map = home.join("out/maps/tray/test/good/000.tiff");
    let mut bytes = std::fs::read(&map).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&map, bytes).unwrap();
    let again = resume();
    assert!(stderr(&again).contains("1 results no longer hold"));
    assert_eq!(again.get_output().stdout, fresh.get_output().stdout);
}

#[test]
fn a_set_is_the_same_by_every_name_and_after_a_move() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    let whole = eval(home, &["set", "--out", "out"]).success();
    let lines = log(home, "out");
    let absolute = home.join("set").to_str().unwrap().to_string();
    #[cfg(unix)]
    std::os::unix::fs::symlink(home.join("set"), home.join("link")).unwrap();
    let mut names = vec!["./set", "set/", "set/../set", &absolute];
    if cfg!(unix) {
        names.push("link");
    }
    for name in names {
        let again = eval(home, &[name, "--out", "out", "--resume"]).success();
        assert_eq!(again.get_output().stdout, whole.get_output().stdout, "{name}");
        assert_eq!(log(home, "out"), lines, "{name}");
    }
    std::fs::rename(home.join("set"), home.join("moved")).unwrap();
    let again = eval(home, &["moved", "--out", "out", "--resume"]).success();
    assert_eq!(again.get_output().stdout, whole.get_output().stdout);
    assert_eq!(log(home, "out"), lines);
}

#[test]
fn photos_that_would_share_a_map_are_refused() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    eval(home, &["set", "--out", "whole"]).success();
    let good = home.join("set/tray/test/good");
    image::open(good.join("000.png")).unwrap().into_rgb8().save(good.join("000.jpg")).unwrap();
    let both = "good/000.png: would share its map with set/tray/test/good/000.jpg";
    eval(home, &["set", "--out", "out"]).code(1).stdout("").stderr(contains(both));
    run(home, &["eval", "maps", "mvtec", "set", "--maps", "whole/maps"])
        .code(1)
        .stderr(contains(both));
    // Without maps on disk nothing is shared.
    eval(home, &["set"]).success();
}

#[cfg(unix)]
#[test]
fn names_that_are_no_unicode_are_told_apart() {
    use std::os::unix::ffi::OsStrExt;
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    let good = home.join("set/tray/test/good");
    let named =
        |byte: u8| good.join(std::ffi::OsStr::from_bytes(&[b'p', byte, b'.', b'p', b'n', b'g']));
    std::fs::rename(good.join("000.png"), named(0xfe)).unwrap();
    std::fs::rename(good.join("001.png"), named(0xff)).unwrap();
    let whole = eval(home, &["set", "--out", "out"]).success();
    let lines = log(home, "out");
    let keys: std::collections::HashSet<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["photo"].as_str().unwrap().into())
        .collect();
    assert_eq!(keys.len(), lines.lines().count());
    let again = eval(home, &["set", "--out", "out", "--resume"]).success();
    assert_eq!(again.get_output().stdout, whole.get_output().stdout);
    assert_eq!(log(home, "out"), lines);
}

/// As the command's own help shows it; with parts that may not be written, and after a kill.
#[test]
fn relative_read_only_and_interrupted_merges_work() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("mvtec_ad"));
    let whole = eval(home, &["mvtec_ad/", "--out", "one"]).success();
    eval(home, &["mvtec_ad/", "--out", "part0", "--shard", "0/2"]).success();
    eval(home, &["mvtec_ad/", "--out", "part1", "--shard", "1/2"]).success();
    let before = (log(home, "part0"), log(home, "part1"));
    let files = |part: &str| walkdir::WalkDir::new(home.join(part)).into_iter().count();
    let count = files("part0");
    let read_only = |yes: bool| {
        for part in ["part0", "part1"] {
            let file = home.join(part).join("photos.jsonl");
            let mut permissions = file.metadata().unwrap().permissions();
            permissions.set_readonly(yes);
            std::fs::set_permissions(&file, permissions).unwrap();
        }
    };
    read_only(true);
    let merge = || run(home, &["merge", "part0", "part1", "--out", "whole", "--format", "json"]);
    let merged = merge().success();
    assert_eq!(merged.get_output().stdout, whole.get_output().stdout);
    assert_eq!(log(home, "whole"), log(home, "one"));
    // As a killed merge leaves it, and another one.
    let lines = log(home, "whole");
    let cut = lines.len() / 2;
    std::fs::write(home.join("whole/photos.jsonl"), &lines[..cut]).unwrap();
    std::fs::remove_file(home.join("whole/metrics.json")).unwrap();
    for _ in 0..2 {
        assert_eq!(merge().success().get_output().stdout, whole.get_output().stdout);
        assert!(home.join("whole/metrics.json").is_file());
    }
    assert_eq!((log(home, "part0"), log(home, "part1")), before, "parts stay as they are");
    assert_eq!(files("part0"), count);
    read_only(false);
    // Into a run of something else nothing is merged.
    eval(home, &["mvtec_ad/", "--out", "other", "--fit", "letterbox"]).success();
    run(home, &["merge", "part0", "part1", "--out", "other"])
        .code(2)
        .stderr(contains("of other photos or settings"));
}

#[test]
fn two_runs_do_not_write_into_one_folder() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    eval(home, &["set", "--out", "out"]).success();
    let log = std::fs::File::options().append(true).open(home.join("out/.lock")).unwrap();
    log.lock().unwrap();
    eval(home, &["set", "--out", "out", "--resume"])
        .code(2)
        .stderr(contains("is being written by another run"));
    drop(log);
    eval(home, &["set", "--out", "out", "--resume"]).success();
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_link_or_out_of_its_place() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    std::fs::create_dir(home.join("out")).unwrap();
    std::fs::write(home.join("precious"), "precious").unwrap();
    std::os::unix::fs::symlink("../precious", home.join("out/photos.jsonl")).unwrap();
    eval(home, &["set", "--out", "out"]).code(2).stderr(contains("is a link"));
    // What an earlier version opened to see whether it can write.
    std::fs::create_dir(home.join("out2")).unwrap();
    std::os::unix::fs::symlink("../precious", home.join("out2/.blemish-probe")).unwrap();
    eval(home, &["set", "--out", "out2"]).success();
    assert_eq!(std::fs::read(home.join("precious")).unwrap(), b"precious");

    copy_tree("layouts/visa", &home.join("visa"));
    let list = home.join("visa/split_csv/1cls.csv");
    let rows = std::fs::read_to_string(&list).unwrap();
    let object = rows.lines().nth(1).unwrap().split(',').next().unwrap().to_string();
    let absolute = home.join("evil").to_str().unwrap().to_string();
    for evil in ["../../evil", "..", &absolute, "a/b", ""] {
        let rows = rows.replace(&format!("\n{object},"), &format!("\n{evil},"));
        std::fs::write(&list, rows).unwrap();
        run(home, &["eval", "visa", "visa", "--method", "winclip", "--out", "out3"])
            .code(1)
            .stderr(contains("give a plain name"));
        assert!(!home.join("evil").exists() && !home.parent().unwrap().join("evil").exists());
    }
}

#[test]
fn sets_without_masks_are_measured_by_photos() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    let with = eval(home, &["set"]).success();
    std::fs::remove_dir_all(home.join("set/tray/ground_truth")).unwrap();
    let train = home.join("set/tray/train/good");
    copy_tree("layouts/mvtec/tray/test/good", &train);
    let value = |assert: &assert_cmd::assert::Assert| -> Value {
        serde_json::from_slice(&assert.get_output().stdout).unwrap()
    };
    let without = eval(home, &["set"]).success().stderr(contains("has no masks"));
    let (with, without) = (value(&with), value(&without));
    let (with, without) = (&with["products"][0], &without["products"][0]);
    for metric in ["image_auroc", "image_ap", "image_f1_max", "map_maximum_auroc"] {
        assert_eq!(with[metric], without[metric], "{metric}");
    }
    assert!(without["pixel_auroc"].is_null() && with["pixel_auroc"].is_f64());
    // With references, with a report, as a folder of one's own, and on MVTec LOCO.
    let few = ["--profile-from", "train:2", "--out", "few"];
    let few = value(&eval(home, &[&["set"], &few[..]].concat()).success());
    assert!(few["products"][0]["image_auroc"].is_f64());
    let folder = "eval folder set/tray/test --product tray --profile-from train:2 --format=json \
                  --method winclip";
    let folder: Vec<&str> = folder.split_whitespace().collect();
    let beside = value(&run(home, &folder).success());
    assert_eq!(beside["products"][0]["image_auroc"], few["products"][0]["image_auroc"]);
    std::fs::rename(home.join("set/tray/train"), home.join("set/tray/test/train")).unwrap();
    let inside = run(home, &folder).success();
    assert!(!stderr(&inside).contains("no part of the set"), "they are compared with");
    let inside = value(&inside);
    assert_eq!(inside["products"], beside["products"], "train is no kind of defect");
    std::fs::remove_dir_all(home.join("set/tray/test/train")).unwrap();
    run(home, &folder).code(1).stderr(contains("put them into train/good"));
    copy_tree("layouts/loco", &home.join("loco"));
    std::fs::remove_dir_all(home.join("loco/tray/ground_truth")).unwrap();
    let loco =
        run(home, &["eval", "loco", "loco", "--method", "winclip", "--format=json"]).success();
    assert!(value(&loco)["products"][0]["image_auroc"].is_f64());
    // A part of the masks is a mistake.
    copy_tree("layouts/mvtec/tray/ground_truth/stain", &home.join("set/tray/ground_truth/stain"));
    std::fs::remove_file(home.join("set/tray/ground_truth/stain/000_mask.png")).unwrap();
    eval(home, &["set"]).code(1).stderr(contains("has no mask"));
}

/// AutoVI: a folder of masks for each photo.
#[test]
fn a_photo_may_have_a_folder_of_masks() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    let one = eval(home, &["set"]).success();
    for kind in ["stain", "missing"] {
        for photo in ["000", "001"] {
            let truth = home.join("set/tray/ground_truth").join(kind);
            std::fs::create_dir(truth.join(photo)).unwrap();
            let mask = truth.join(format!("{photo}_mask.png"));
            // Its left and its right half, each in a file.
            let whole = image::open(&mask).unwrap().into_luma8();
            for (name, left) in [("0000.png", true), ("0001.png", false)] {
                let half = image::GrayImage::from_fn(whole.width(), whole.height(), |x, y| {
                    let is_own = (x < whole.width() / 2) == left;
                    image::Luma([if is_own { whole.get_pixel(x, y).0[0] } else { 0 }])
                });
                half.save(truth.join(photo).join(name)).unwrap();
            }
            std::fs::remove_file(mask).unwrap();
        }
    }
    let two = eval(home, &["set"]).success().stderr("");
    assert_eq!(one.get_output().stdout, two.get_output().stdout);
}

#[cfg(unix)]
#[test]
fn a_loop_of_links_is_named() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    std::os::unix::fs::symlink("..", home.join("set/tray/test/stain/again")).unwrap();
    eval(home, &["set"]).code(1).stderr(contains("loop")).stderr(contains("again"));
}

#[test]
fn numbers_that_are_none_are_refused_with_the_photos_name() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    let samples = blemish::data::samples(&home.join("set"), None).unwrap();
    let samples: Vec<_> = samples.iter().collect();
    for (score, value) in [(f32::NAN, 0.5), (f32::INFINITY, 0.5), (0.5, f32::NAN)] {
        let found = blemish::eval::evaluate(
            &samples,
            blemish::data::Layout::Mvtec,
            blemish::eval::Curve::Exact,
            |sample| {
                let (width, height) = blemish::Photo::size(&sample.photo)?;
                let values = vec![value; width * height];
                Ok(blemish::eval::EvalPrediction {
                    score,
                    map: blemish::AnomalyMap { width, height, values },
                })
            },
        );
        let error = found.err().unwrap().to_string();
        assert!(error.contains("000.png") && error.contains("no number"), "{error}");
    }
}

/// A run's results are not lost to another set of the same names, nor to photos that are missing for a while.
#[test]
fn a_run_is_kept_from_another_set_and_for_photos_that_come_back() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    copy_tree("layouts/mvtec", &home.join("other"));
    for entry in walkdir::WalkDir::new(home.join("other/tray/test")).into_iter().flatten() {
        if entry.file_type().is_file() {
            let turned = image::open(entry.path()).unwrap().rotate180();
            turned.save(entry.path()).unwrap();
        }
    }
    let whole = eval(home, &["set", "--out", "out"]).success();
    let lines = log(home, "out");
    eval(home, &["other", "--out", "out", "--resume"])
        .code(2)
        .stderr(contains("holds results of other photos"));
    assert_eq!(log(home, "out"), lines);
    // A share that is mounted in part.
    std::fs::rename(home.join("set/tray/test/stain"), home.join("stain")).unwrap();
    let photo = home.join("set/tray/test/good/000.png");
    let bytes = std::fs::read(&photo).unwrap();
    image::open(&photo).unwrap().rotate180().save(&photo).unwrap();
    eval(home, &["set", "--out", "out", "--resume"]).success();
    std::fs::write(&photo, bytes).unwrap();
    std::fs::rename(home.join("stain"), home.join("set/tray/test/stain")).unwrap();
    let again = eval(home, &["set", "--out", "out", "--resume"]).success();
    assert!(stderr(&again).contains("1 results no longer hold"), "{}", stderr(&again));
    assert_eq!(again.get_output().stdout, whole.get_output().stdout);
    // An edited description.
    let file = home.join("out/run.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"size\": 240", "\"size\": 480")).unwrap();
    eval(home, &["set", "--out", "out", "--resume"])
        .code(1)
        .stderr(contains("run.json: was altered"));
}

#[cfg(unix)]
#[test]
fn what_leads_nowhere_is_a_stray() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    std::os::unix::fs::symlink("nowhere", home.join("set/tray/test/stain/gone")).unwrap();
    eval(home, &["set"]).success().stderr(contains("gone is no part of the set"));
}

#[test]
fn a_photo_has_one_mask_or_one_folder_of_them() {
    let home = tempdir().unwrap();
    let home = home.path();
    copy_tree("layouts/mvtec", &home.join("set"));
    let truth = home.join("set/tray/ground_truth/stain");
    std::fs::copy(truth.join("000_mask.png"), truth.join("000.png")).unwrap();
    eval(home, &["set"]).code(1).stderr(contains("is a mask of the same photo as"));
    std::fs::remove_file(truth.join("000.png")).unwrap();
    // An empty folder is none.
    std::fs::create_dir(truth.join("000")).unwrap();
    eval(home, &["set"]).success();
    std::fs::copy(truth.join("001_mask.png"), truth.join("000/0.png")).unwrap();
    eval(home, &["set"]).code(1).stderr(contains("is a mask of the same photo as"));
}
