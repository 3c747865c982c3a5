//! `blemish distill`: a student in place of a profile's references.

mod common;

use std::path::Path;

use assert_cmd::assert::Assert;
use common::blemish;
use common::plates::{enrolled, plate, plates};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

fn run(home: &Path, arguments: &[&str]) -> Assert {
    blemish(home).current_dir(home).args(arguments).assert()
}

fn rows(assert: &Assert) -> Vec<Value> {
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_student_scores_without_the_model_and_finds_a_stain() {
    let home = enrolled();
    let home = home.path();
    let distill =
        ["distill", "--profile", "plate.blemish", "--reference", "good", "--steps", "60", "-q"];
    let summary = rows(&run(home, &[&distill[..], &["-o", "fast.blemish"]].concat()).success());
    let summary = &summary[0];
    assert_eq!((&summary["training"], &summary["held_out"]), (&20.into(), &4.into()));
    assert!(summary["megabytes"].as_f64().unwrap() < 5.0, "{summary}");
    assert!(!home.join("fast.blemish.checkpoint").exists());

    plates(&home.join("new"), 4, 2);
    (2..4).for_each(|i| plate(50 + i, false).save(home.join(format!("new/{i:02}.png"))).unwrap());
    // The profile names a model that is nowhere: the student needs none.
    let score = ["score", "new", "--profile", "fast.blemish", "--out", "out", "-q"];
    let found = rows(&run(home, &score).success());
    let score = |row: usize| found[row]["score"].as_f64().unwrap();
    assert!(score(0).min(score(1)) > score(2).max(score(3)), "{found:?}");
    assert_eq!(
        (&found[0]["method"], &found[0]["calibration_photos"]),
        (&"student".into(), &4.into())
    );
    let (x, y) = (found[0]["peak_x"].as_i64().unwrap(), found[0]["peak_y"].as_i64().unwrap());
    assert!((x - 70).abs() < 18 && (y - 24).abs() < 18, "{x}, {y}");
    assert!(home.join("out/index.html").exists());

    let check = run(home, &["profile", "check", "fast.blemish"]).success();
    check.stdout(contains("fast.blemish: good"));
    run(home, &["profile", "add", "fast.blemish", "--calibrate", "new"])
        .code(1)
        .stderr(contains("is a student"));
    let again = ["distill", "--profile", "fast.blemish", "--reference", "good", "-o", "x.blemish"];
    run(home, &again).code(2).stderr(contains("is a student; give the profile"));
}

#[test]
fn wrong_use_is_refused() {
    let home = enrolled();
    let home = home.path();
    let distill =
        |more: &[&str]| run(home, &[&["distill", "--profile", "plate.blemish"], more].concat());
    distill(&["--reference", "good", "-o", "plate.blemish"])
        .code(2)
        .stderr(contains("is the file of --profile"));
    std::fs::write(home.join("notes.txt"), "x").unwrap();
    distill(&["--reference", "good", "-o", "notes.txt"])
        .code(2)
        .stderr(contains("no product file"));
    distill(&["--reference", "good/00.png", "-o", "x.blemish"])
        .code(2)
        .stderr(contains("give at least 3 photos of good parts"));
    distill(&["--reference", "nowhere", "-o", "x.blemish"]).code(1);
    distill(&["--reference", "good", "--steps", "0", "-o", "x.blemish"]).code(2);
    std::fs::create_dir(home.join("cut")).unwrap();
    std::fs::write(home.join("cut/a.png"), "x").unwrap();
    distill(&["--reference", "cut", "good/00.png", "-o", "x.blemish"])
        .code(2)
        .stderr(contains("cut/a.png").and(contains("give at least 3 photos")));
    std::fs::write(home.join("x.blemish.checkpoint"), "x").unwrap();
    distill(&["--reference", "good", "-o", "x.blemish"])
        .code(1)
        .stderr(contains("x.blemish.checkpoint").and(contains("panicked").not()));
}
