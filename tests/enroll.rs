//! `blemish enroll`, `score --profile`, `decide` and `profile` as a user sees them.

mod common;

use std::path::{Path, PathBuf};

use common::{blemish, fixture};
use predicates::str::contains;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// A round grey part on a ground, with a grain of its own; with a dark blotch when defective.
fn part(file: &Path, grain: u32, blotch: Option<(f32, f32)>) {
    sized_part(file, grain, blotch, 200, 200);
}

fn sized_part(file: &Path, grain: u32, blotch: Option<(f32, f32)>, width: u32, height: u32) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let noise = |x: u32, y: u32| {
        let mut h = x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77) ^ grain;
        h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
        h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
        (h >> 20) as f32 / 4096.0
    };
    let picture = image::RgbImage::from_fn(width, height, |px, py| {
        let (x, y) = (px as f32 / width as f32, py as f32 / height as f32);
        let base = if (x - 0.5).hypot(y - 0.5) < 0.35 { 150.0 } else { 60.0 };
        let mut value = base + 30.0 * noise(px, py);
        if blotch.is_some_and(|(bx, by)| (x - bx).hypot(y - by) < 0.08) {
            value = 10.0;
        }
        image::Rgb([value as u8, (value * 0.95) as u8, (value * 0.9) as u8])
    });
    picture.save(file).unwrap();
}

/// A home with `count` photos of good parts in `good`.
fn home_with(count: u32) -> TempDir {
    let home = tempdir().unwrap();
    (0..count).for_each(|i| part(&home.path().join(format!("good/{i}.png")), i * 977 + 5, None));
    home
}

fn enroll(home: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = blemish(home);
    command.current_dir(home).args(["enroll", "--product", "disc", "-o", "disc.blemish", "-q"]);
    command.args(more).assert()
}

fn json(assert: &assert_cmd::assert::Assert) -> Vec<Value> {
    let text = std::str::from_utf8(&assert.get_output().stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn score(home: &Path, photos: &[&str]) -> Vec<Value> {
    let mut command = blemish(home);
    command.current_dir(home).args(["score", "--profile", "disc.blemish", "-q"]).args(photos);
    json(&command.assert().success())
}

#[test]
fn a_handful_of_good_parts_draws_a_line() {
    let home = home_with(6);
    let home = home.path();
    let summary = json(&enroll(home, &["--reference", "good"]).success()).remove(0);
    assert_eq!(
        (&summary["method"], &summary["reference_method"]),
        (&"april-gan".into(), &"april-gan".into())
    );
    assert_eq!(
        (summary["references"].as_array().unwrap().len(), &summary["odd"]),
        (6, &Value::Array(vec![]))
    );
    assert_eq!((&summary["calibration_photos"], &summary["threshold"]), (&6.into(), &Value::Null));
    assert!(summary["readiness"]["image_auroc"].as_f64().unwrap() > 0.5);

    part(&home.join("new/bad.png"), 4000, Some((0.6, 0.4)));
    part(&home.join("new/fine.png"), 5000, None);
    let rows = score(home, &["new", "--out", "out", "--save-map", "--no-strip"]);
    let (bad, fine) = (&rows[0], &rows[1]);
    assert!(bad["score"].as_f64() > fine["score"].as_f64(), "{bad} {fine}");
    assert_eq!(bad["p_value"].as_f64().unwrap(), 1.0 / 7.0);
    assert_eq!((&bad["verdict"], &fine["verdict"]), (&"uncertain".into(), &"ok".into()));
    assert_eq!((&bad["references"], &bad["profile_sha256"]), (&6.into(), &summary["sha256"]));
    let peak = ["peak_x", "peak_y"].map(|field| bad[field].as_u64().unwrap());
    assert!(peak[0].abs_diff(120) < 25 && peak[1].abs_diff(80) < 25, "{peak:?}");
    // A good part stays as it is.
    let warm = |name: &str| {
        let [before, painted] =
            ["new", "out"].map(|of| image::open(home.join(of).join(name)).unwrap().into_rgb8());
        before.pixels().zip(painted.pixels()).filter(|(before, painted)| before != painted).count()
    };
    assert_eq!(warm("fine.png"), 0);
    assert!(warm("bad.png") > 100);

    // A photo of something else is not only ng.
    let stripes = |x: u32, y: u32| image::Rgb([(x * 40 % 256) as u8, 255, (y * 9 % 256) as u8]);
    std::fs::create_dir_all(home.join("other")).unwrap();
    image::RgbImage::from_fn(200, 200, stripes).save(home.join("other/1.png")).unwrap();
    let mut other = blemish(home);
    other.current_dir(home).args(["score", "other", "new", "--profile", "disc.blemish"]);
    let other =
        other.assert().success().stderr(contains("other/1.png resembles no reference photo"));
    let unlike: Vec<f64> =
        json(&other).iter().map(|row| row["unlike_references"].as_f64().unwrap()).collect();
    assert!(unlike[0] > 0.9 && unlike[1] < 0.5 && unlike[2] < 0.05, "{unlike:?}");

    // The line on labelled photos.
    for (from, to) in [("new/bad.png", "set/hole/1.png"), ("new/fine.png", "set/good/1.png")] {
        std::fs::create_dir_all(home.join(to).parent().unwrap()).unwrap();
        std::fs::copy(home.join(from), home.join(to)).unwrap();
    }
    let mut eval = blemish(home);
    eval.current_dir(home).args(["eval", "folder", "set", "--profile", "disc.blemish"]);
    let eval = eval.args(["--false-alarm", "15%", "--format", "json", "--out", "ev"]).assert();
    let eval = json(&eval.success()).remove(0);
    assert_eq!(eval["image_auroc"], 1.0);
    assert_eq!((&eval["verdicts"][0]["ok"], &eval["verdicts"][1]["ng"]), (&1.into(), &1.into()));
    assert_eq!(eval["missed"], Value::Array(vec![]));
    assert!(home.join("ev/report.html").is_file() && home.join("ev/metrics.json").is_file());
    assert_eq!(eval["known"], 0);
    // On its own references a profile looks perfect.
    std::fs::copy(home.join("good/1.png"), home.join("set/good/2.png")).unwrap();
    let mut own = blemish(home);
    own.current_dir(home).args(["eval", "folder", "set", "--profile", "disc.blemish"]);
    own.assert().success().stderr(contains("was made from 1 of these 3 photos"));

    // Another line, without scoring again.
    let results = home.join("results.jsonl");
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(&results, lines.join("\n") + "\nnonsense\n").unwrap();
    let decide = |rate: &str| {
        blemish(home).args(["decide", "--false-alarm", rate]).arg(&results).assert().code(1)
    };
    let decided = decide("0.15").stderr(contains("1 ok, 1 ng, 0 uncertain"));
    let decided = json(&decided.stderr(contains("results.jsonl:3: not a result")));
    assert_eq!((&decided[0]["verdict"], &decided[1]["verdict"]), (&"ng".into(), &"ok".into()));
    assert_eq!(decided[0]["score"], bad["score"]);
    decide("0.01")
        .stderr(contains("1 % needs 99 good photos"))
        .stderr(contains("there are 6, enough for 14.29 %"));
    blemish(home).args(["decide", "--false-alarm", "5"]).arg(&results).assert().code(2);
    std::fs::write(&results, "schema,path\n1,a\n2,b\n").unwrap();
    let csv = blemish(home).args(["decide", "--false-alarm", "0.1"]).arg(&results).assert().code(1);
    csv.stderr(contains("results.jsonl:1: not a result").count(1))
        .stderr(contains("--format jsonl"));
    std::fs::write(&results, "").unwrap();
    let empty =
        blemish(home).args(["decide", "--false-alarm", "0.1"]).arg(&results).assert().code(1);
    empty.stderr(contains("holds no results"));
    let mut command = blemish(home);
    command.current_dir(home).args(["score", "new", "--product", "x", "--false-alarm", "0.1"]);
    command.assert().code(2).stderr(contains("needs --profile"));
}

#[test]
fn further_good_photos_keep_a_promise() {
    let home = home_with(3);
    let home = home.path();
    (0..17).for_each(|i| part(&home.join(format!("more/{i}.png")), 70_000 + i, None));
    let more = ["--reference", "good", "--calibrate", "more"];
    let summary = json(&enroll(home, &more).success()).remove(0);
    assert_eq!(summary["calibration_photos"], 20);
    assert!(summary["threshold"].is_number());
    part(&home.join("bad.png"), 1, Some((0.4, 0.5)));
    assert_eq!(score(home, &["bad.png"])[0]["verdict"], "ng");
    assert_eq!(score(home, &["bad.png", "--false-alarm", "0.01"])[0]["verdict"], "uncertain");
    // 1 - 0.95^(1/20) and 1 - 0.05^(1/20).
    let interval = &summary["false_alarm_interval"];
    assert!((interval[0].as_f64().unwrap() - 0.00256).abs() < 1e-5, "{interval}");
    assert!((interval[1].as_f64().unwrap() - 0.13911).abs() < 1e-5, "{interval}");
    // An exit code says that something was found.
    let fail_on = |verdict: &str, rate: &str, code: i32| {
        let mut command = blemish(home);
        command.current_dir(home).args(["score", "bad.png", "--profile", "disc.blemish"]);
        command.args(["--fail-on", verdict, "--false-alarm", rate]).assert().code(code);
    };
    fail_on("ng", "0.05", 3);
    fail_on("ng", "0.01", 0);
    fail_on("uncertain", "1%", 3);
}

#[test]
fn known_defects_measure_every_reference_method() {
    let home = home_with(5);
    let home = home.path();
    (0..2).for_each(|i| part(&home.join(format!("bad/{i}.png")), 800 + i, Some((0.4, 0.5))));
    let asked = ["--reference", "good", "--bad", "bad", "--false-alarm", "0.2"];
    let summary = json(&enroll(home, &asked).success()).remove(0);
    let on_bad = summary["on_bad"].as_array().unwrap();
    assert_eq!(on_bad.len(), 9);
    let own = on_bad.iter().find(|on| on["reference_method"] == "april-gan").unwrap();
    assert_eq!((&own["found"], &own["photos"]), (&2.into(), &2.into()));
    assert_eq!(own["image_auroc"], 1.0);
    // As `score` says.
    let verdicts = score(home, &["bad"]);
    assert!(verdicts.iter().all(|row| row["verdict"] == "ng"));
    // The kinds of simulated damage, in the profile too.
    let kinds = summary["readiness"]["kinds"].as_array().unwrap();
    let names: Vec<&str> = kinds.iter().map(|kind| kind["kind"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 7);
    assert!(
        names.contains(&"missing part") && kinds[0]["clear"].as_f64().unwrap() > 0.5,
        "{kinds:?}"
    );
    std::fs::write(home.join("bad/x.png"), "no picture").unwrap();
    let table = enroll(home, &[&asked[..], &["--format", "table"]].concat());
    let table = table.code(1).stderr(contains("x.png"));
    table.stdout(contains("april-gan          2/2   1.000")).stdout(contains("missing part "));
}

#[test]
fn neither_order_nor_copies_change_anything() {
    let home = home_with(4);
    let home = home.path();
    let file = |i: usize| format!("good/{i}.png");
    enroll(home, &["--reference", &file(0), &file(1), &file(2), &file(3)]).success();
    let first = std::fs::read(home.join("disc.blemish")).unwrap();
    enroll(home, &["--reference", &file(2), &file(0), &file(3), &file(1)]).success();
    assert_eq!(std::fs::read(home.join("disc.blemish")).unwrap(), first);
    std::fs::copy(home.join(file(1)), home.join("good/copy.png")).unwrap();
    let mut command = blemish(home);
    let again =
        command.current_dir(home).args(["enroll", "--product", "disc", "-o", "disc.blemish"]);
    again
        .args(["--reference", "good"])
        .assert()
        .success()
        .stderr(contains("copy.png has the same"));
    assert_eq!(std::fs::read(home.join("disc.blemish")).unwrap(), first);
    let mut command = blemish(home);
    let twice = command.current_dir(home).args(["enroll", "--product", "disc", "-o", "x.blemish"]);
    let twice = twice.args(["--reference", &file(0), &file(0), &file(2)]).assert().success();
    twice.stderr(contains("good/0.png is given twice"));
    let all = enroll(home, &["--reference", "good", "--limit", "2"]).success();
    assert_eq!(json(&all)[0]["references"].as_array().unwrap().len(), 2);
}

#[test]
fn references_that_are_few_unreadable_or_of_other_sizes() {
    let home = home_with(3);
    let home = home.path();
    std::fs::write(home.join("good/broken.png"), b"\x89PNG\r\n\x1a\nno").unwrap();
    sized_part(&home.join("good/large.png"), 9, None, 330, 270);
    let some = enroll(home, &["--reference", "good"]).code(1).stderr(contains("broken.png"));
    assert_eq!(json(&some)[0]["references"].as_array().unwrap().len(), 4);

    let one = enroll(home, &["--reference", "good/0.png"]).success();
    let one = json(&one).remove(0);
    assert_eq!(
        (&one["calibration_photos"], &one["readiness"]["verdict"]),
        (&0.into(), &"add references".into())
    );
    part(&home.join("bad.png"), 1, Some((0.4, 0.5)));
    let rows = score(home, &["bad.png", "good/1.png"]);
    assert_eq!((&rows[0]["p_value"], &rows[0]["verdict"]), (&Value::Null, &"uncertain".into()));
    assert!(rows[0]["score"].as_f64() > rows[1]["score"].as_f64());

    std::fs::create_dir(home.join("empty")).unwrap();
    enroll(home, &["--reference", "good", "--calibrate", "empty"]).code(1).stdout("");
    enroll(home, &["--reference", "empty"]).code(1).stderr(contains("no photos in this folder"));
    enroll(home, &["--reference", "good/broken.png"]).code(1).stderr(contains("broken.png"));
    enroll(home, &["--reference", "good", "--limit", "0"]).code(2);
    enroll(home, &[]).code(2).stderr(contains("--mine <PHOTOS>"));
    let blocks =
        ["--reference", "good", "--reference-method", "winclip", "--reference-blocks", "2"];
    enroll(home, &blocks).code(2).stderr(contains("winclip takes none"));
    enroll(home, &["--reference", "good", "--reference-blocks", "9"])
        .code(2)
        .stderr(contains("--reference-blocks 9: give blocks of the model, from 1 to 6"));
    let plain = fixture("clip/gelu/hf");
    let plain = ["--model", plain.to_str().unwrap(), "--reference-method", "spade"];
    for (layers, why) in [
        ("trunk", "--reference-blocks trunk: model "),
        ("trunk,3", "has no trunk; give numbers of blocks"),
        ("stem", "give numbers of blocks, or trunk"),
    ] {
        let asked = ["--reference", "good", "--reference-blocks", layers];
        enroll(home, &[&asked[..], &plain].concat()).code(2).stderr(contains(why));
    }
}

/// Each held-out reference is compared with all others. So the time would grow with the square of their number.
#[test]
fn of_many_references_only_some_are_held_out() {
    let home = tempdir().unwrap();
    let home = home.path();
    let file = |i: u32| home.join(format!("good/{i}.png"));
    (0..134).for_each(|i| sized_part(&file(i), i * 977 + 5, None, 40, 40));
    let model = fixture("clip/gelu/hf");
    let model = ["--reference", "good", "--model", model.to_str().unwrap()];
    // A rate of 5 % needs fewer photos than one of 4 %.
    for (rate, held_out) in [("5%", 128), ("4%", 134)] {
        let asked = [&model[..], &["--false-alarm", rate]].concat();
        let summary = json(&enroll(home, &asked).success()).remove(0);
        let references = summary["references"].as_array().unwrap();
        let scored = references.iter().filter(|reference| !reference["score"].is_null()).count();
        assert_eq!((references.len(), scored), (134, held_out));
        assert_eq!(summary["calibration_photos"], held_out);
        assert!(summary["threshold"].is_f64());
    }
}

#[test]
fn a_defective_reference_is_flagged() {
    let home = home_with(4);
    part(&home.path().join("good/odd.png"), 77, Some((0.5, 0.6)));
    let summary = json(&enroll(home.path(), &["--reference", "good"]).success()).remove(0);
    assert_eq!(summary["odd"], serde_json::json!(["odd.png"]));
    let readiness = summary["readiness"]["why"].as_str().unwrap();
    assert!(readiness.contains("1 photo is far from the others"), "{readiness}");
}

#[test]
fn every_reference_method_enrolls_and_scores() {
    let home = home_with(3);
    let home = home.path();
    part(&home.join("bad.png"), 1, Some((0.6, 0.4)));
    let pairs = [
        ("winclip", "winclip"),
        ("fused", "april-gan"),
        ("april-gan", "gaussian"),
        ("april-gan", "spade"),
        ("april-gan", "padim"),
        ("april-gan", "patchcore"),
        ("april-gan", "components"),
    ];
    // Each reference method, and each method by prompts.
    for (words, method) in pairs {
        let more = ["--reference", "good", "--method", words, "--reference-method", method];
        enroll(home, &more).success();
        let rows = score(home, &["bad.png", "good/1.png"]);
        assert_eq!(
            (&rows[0]["method"], &rows[0]["reference_method"]),
            (&words.into(), &method.into())
        );
        assert!(rows[0]["peak"].as_f64() > rows[1]["peak"].as_f64(), "{words}, {method}");
    }
}

#[test]
fn a_copy_moves_with_its_verdict_and_replaces_no_photo() {
    let home = home_with(3);
    let home = home.path();
    enroll(home, &["--reference", "good"]).success();
    part(&home.join("set/a.png"), 9, None);
    part(&home.join("set/ok/a.png"), 10, None);
    let before = std::fs::read(home.join("set/ok/a.png")).unwrap();
    let run = |more: &[&str]| {
        let mut command = blemish(home);
        command.current_dir(home).args(["score", "set/a.png", "--profile", "disc.blemish"]);
        command.args(more).assert()
    };
    // Of three good photos none can be ng, and this one is like them.
    run(&["--copy-to", "set"]).code(1).stderr(contains("ok/a.png: is there and is another photo"));
    assert_eq!(std::fs::read(home.join("set/ok/a.png")).unwrap(), before);
    run(&["--copy-to", "sorted"]).success();
    assert!(home.join("sorted/ok/a.png").is_file());
    run(&["--copy-to", "sorted", "--false-alarm", "0.999"]).success();
    let copies =
        ["ok", "ng", "uncertain"].map(|verdict| home.join(format!("sorted/{verdict}/a.png")));
    let is_there = copies.map(|copy| copy.is_file());
    assert_eq!(is_there.iter().filter(|there| **there).count(), 1, "one copy: {is_there:?}");
    assert!(!is_there[0]);
    // Copies are no photos of the next run.
    let mut again = blemish(home);
    again.current_dir(home).args(["score", ".", "--profile", "disc.blemish"]);
    again.assert().success().stderr(contains("folders of results"));

    // A page replaces no profile.
    let page = enroll(home, &["--reference", "good", "--page", "disc.blemish"]);
    page.code(2).stderr(contains("--page"));
}

#[test]
fn only_the_region_of_interest_counts() {
    let home = home_with(5);
    let home = home.path();
    let mask = |name: &str, width: u32, height: u32, white: u32| {
        let white = |x: u32, _| image::Luma([if x < white { 255 } else { 0 }]);
        image::GrayImage::from_fn(width, height, white).save(home.join(name)).unwrap();
    };
    // The left half.
    mask("roi.png", 100, 100, 50);
    part(&home.join("fine.png"), 1, None);
    part(&home.join("right.png"), 1, Some((0.75, 0.5)));
    part(&home.join("left.png"), 1, Some((0.25, 0.5)));
    // The same half in three ways.
    for (method, roi) in [
        ("april-gan", "roi.png"),
        ("spade", "0%,0%,50%,100%"),
        ("components", "0,0,100,0,100,200,0,200"),
    ] {
        let more = ["--reference", "good", "--roi", roi, "--reference-method", method];
        enroll(home, &more).success();
        let rows = score(home, &["left.png", "right.png", "fine.png", "--out", "out"]);
        let [left, right, fine] = [0, 1, 2].map(|i| rows[i]["score"].as_f64().unwrap());
        assert!(left > fine, "{method}: {left} {fine}");
        assert_eq!(right, fine, "{method}: what is black is not seen");
        for row in &rows {
            assert!(row["peak_x"].as_u64().unwrap() <= 100, "{row}");
            assert!((row["coverage"].as_f64().unwrap() - 0.5).abs() < 0.02);
        }
    }
    sized_part(&home.join("wide.png"), 1, None, 300, 200);
    let mut command = blemish(home);
    command.current_dir(home).args(["score", "--profile", "disc.blemish", "wide.png"]);
    command.assert().code(1).stderr(contains("wide.png: has 300x200 pixels and the region"));
    mask("flat.png", 100, 40, 50);
    let flat = enroll(home, &["--reference", "good", "--roi", "flat.png"]);
    flat.code(1).stderr(contains("they must have one aspect ratio"));
    mask("black.png", 100, 100, 0);
    let black = enroll(home, &["--reference", "good", "--roi", "black.png"]);
    black.code(1).stderr(contains("white (brighter than half) nowhere"));
}

#[test]
fn components_of_two_good_parts_are_on_the_scale_of_later_ones() {
    let home = home_with(2);
    let home = home.path();
    let more = ["--reference", "good", "--reference-method", "components"];
    let summary = json(&enroll(home, &more).success()).remove(0);
    part(&home.join("bad.png"), 1, Some((0.6, 0.4)));
    let bad = score(home, &["bad.png"])[0]["score"].as_f64().unwrap();
    for reference in summary["references"].as_array().unwrap() {
        assert!(bad > reference["score"].as_f64().unwrap(), "{summary} {bad}");
    }
}

#[test]
fn one_photo_that_can_be_read_among_many_that_cannot_is_enrolled_as_if_alone() {
    let home = home_with(1);
    let home = home.path();
    enroll(home, &["--reference", "good/0.png"]).success();
    let alone = score(home, &["good/0.png"]).remove(0);
    (0..20).for_each(|i| std::fs::write(home.join(format!("good/broken{i}.png")), [i]).unwrap());
    enroll(home, &["--reference", "good"]).code(1);
    assert_eq!(score(home, &["good/0.png"])[0]["score"], alone["score"]);
}

#[test]
fn a_profile_that_is_not_as_it_was_written_is_refused() {
    let home = home_with(2);
    let home = home.path();
    enroll(home, &["--reference", "good"]).success();
    let file = home.join("disc.blemish");
    let bytes = std::fs::read(&file).unwrap();
    let refused = |bytes: &[u8], why: &str| {
        std::fs::write(home.join("other.blemish"), bytes).unwrap();
        let mut command = blemish(home);
        command.current_dir(home).args(["score", "good", "--profile", "other.blemish"]);
        command.assert().code(1).stderr(contains(why)).stdout("");
    };
    let mut altered = bytes.clone();
    let last = altered.len() - 9;
    altered[last] ^= 1;
    refused(&altered, "was altered");
    let text = |from: &str, to: &str| {
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    refused(&text("false_alarm\\\":0.05", "false_alarm\\\":0.50"), "was altered");
    refused(&text("blemish profile 1", "blemish profile 2"), "enroll again with this version");
    refused(&bytes[..bytes.len() / 2], "not a profile, or cut short");
    refused(b"", "not a profile");
    let other = fixture("clip/gelu/hf");
    let mut command = blemish(home);
    command
        .current_dir(home)
        .args(["score", "good", "--profile", "disc.blemish", "--model"])
        .arg(&other);
    command.assert().code(1).stderr(contains("disc.blemish: was made with model tiny"));
    let mut command = blemish(home);
    command.current_dir(home).args([
        "score",
        "good",
        "--profile",
        "disc.blemish",
        "--product",
        "x",
    ]);
    command.assert().code(2);
    // An older profile is replaced, a photo is not taken for one.
    std::fs::write(&file, text("blemish profile 1", "blemish profile 0")).unwrap();
    enroll(home, &["--reference", "good"]).success();
    let mut command = blemish(home);
    command.current_dir(home).args([
        "enroll",
        "--product",
        "disc",
        "--reference",
        "good",
        "-o",
        "good/0.png",
    ]);
    command.assert().code(2).stderr(contains("is no product file"));
}

#[test]
fn profiles_are_shown_compared_and_checked() {
    let home = home_with(3);
    let home = home.path();
    enroll(home, &["--reference", "good"]).success();
    std::fs::copy(home.join("disc.blemish"), home.join("old.blemish")).unwrap();
    let profile = |arguments: &[&str]| {
        blemish(home).current_dir(home).arg("profile").args(arguments).assert()
    };
    let shown = profile(&["show", "disc.blemish"]).success();
    let shown: Value = serde_json::from_slice(&shown.get_output().stdout).unwrap();
    assert_eq!((&shown["product"], &shown["model"]), (&"disc".into(), &"tiny".into()));
    profile(&["diff", "disc.blemish", "old.blemish"]).success().stdout("");
    enroll(home, &["--reference", "good", "--false-alarm", "0.1"]).success();
    profile(&["diff", "old.blemish", "disc.blemish"])
        .code(1)
        .stdout(contains("false_alarm: 0.05 -> 0.1"));
    profile(&["check", "disc.blemish"]).success().stdout(contains("good; disc with model tiny"));
    let other: PathBuf = fixture("clip/gelu/hf");
    profile(&["check", "disc.blemish", "--model", other.to_str().unwrap()])
        .code(1)
        .stderr(contains("was made with model tiny"));
}

#[test]
fn threads_and_small_rates_are_taken() {
    let home = home_with(3);
    let home = home.path();
    enroll(home, &["--reference", "good", "--threads", "1"]).success();
    let run = |arguments: &[&str]| blemish(home).current_dir(home).args(arguments).assert();
    let score = ["score", "good", "--profile", "disc.blemish", "--format", "jsonl"];
    let all = run(&score).success();
    let one = run(&[&score[..], &["--threads", "1"]].concat()).success();
    let scores = |assert| json(assert).iter().map(|row| row["score"].clone()).collect::<Vec<_>>();
    assert_eq!(scores(&all), scores(&one));
    for command in [&["profile", "check", "disc.blemish"][..], &["prompts", "check", "winclip"]] {
        let more = if command[0] == "prompts" { &["--product", "disc"][..] } else { &[] };
        run(&[command, more, &["--threads", "1"]].concat()).success();
    }
    std::fs::write(home.join("rows"), &all.get_output().stdout).unwrap();
    run(&["decide", "rows", "--false-alarm", "1e-300"])
        .code(2)
        .stderr(contains("at least 0.000001"));
    run(&["decide", "rows", "--false-alarm", "0.00001"])
        .success()
        .stderr(contains("a false-alarm rate of 0.001 % needs 99999 good photos"));
}

/// A sheet of an earlier run is no photo of the next, however the folder is spelled.
#[test]
fn mining_can_be_done_twice() {
    let home = home_with(10);
    let home = home.path();
    for (photos, out) in [("./good", "good/x.blemish"), ("good", "./good/x.blemish")] {
        for _ in 0..2 {
            let mut command = blemish(home);
            command.current_dir(home).args(["enroll", "--product", "disc", "--mine", photos]);
            command.args(["--limit", "3", "-o", out, "-q"]).assert().success();
        }
    }
}

/// What this thread has read so far; 0 where the system does not say.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.map_or(0, |count| count.parse().unwrap())
}

/// [`Profile::is_one`](blemish::Profile::is_one) reads the beginning of a file, whatever that promises.
#[test]
fn a_large_file_is_told_from_a_profile_at_once() {
    let home = home_with(2);
    let home = home.path();
    let large = home.join("large");
    let file = std::fs::File::create(&large).unwrap();
    file.set_len(64 << 30).unwrap();
    drop(file);
    for length in [0u64, 90 << 20, u64::MAX] {
        use std::io::Write;
        let mut file = std::fs::File::options().write(true).open(&large).unwrap();
        file.write_all(&length.to_le_bytes()).unwrap();
        let before = bytes_read();
        assert!(!blemish::Profile::is_one(&large));
        assert!(bytes_read() - before < 1 << 20, "{length}");
    }
}

/// A contact sheet takes the place of a contact sheet, and of nothing else.
#[test]
fn a_sheet_replaces_nothing_else() {
    let home = home_with(6);
    let home = home.path();
    let mine = |more: &[&str]| {
        let mut command = blemish(home);
        command.current_dir(home).args(["enroll", "--product", "disc", "--mine", "good", "-q"]);
        command.args(["--limit", "2", "-o", "x.blemish"]).args(more).assert()
    };
    std::fs::write(home.join("notes.txt"), "precious").unwrap();
    std::fs::copy(home.join("good/0.png"), home.join("x.blemish.png")).unwrap();
    mine(&["--sheet", "notes.txt"]).code(2).stderr(contains("is there and is no contact sheet"));
    mine(&[]).code(2).stderr(contains("is there and is no contact sheet"));
    std::fs::remove_file(home.join("x.blemish.png")).unwrap();
    mine(&[]).success();
    mine(&[]).success();
    assert_eq!(std::fs::read(home.join("notes.txt")).unwrap(), b"precious");
    #[cfg(unix)]
    {
        let device = home.join("device");
        assert!(std::process::Command::new("mkfifo").arg(&device).status().unwrap().success());
        mine(&["--sheet", "device"]).code(2);
        let written = blemish::files::write_whole(&device, b"x").unwrap_err().to_string();
        assert!(written.contains("is a pipe or a device"), "{written}");
    }
}
