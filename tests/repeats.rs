//! Photos of a folder that share something odd, as a user sees them: `score --groups`, `--repeated-defect`, `--variant`.

mod common;

use std::path::Path;

use assert_cmd::assert::Assert;
use common::blemish;
use common::plates::plates;
use predicates::str::contains;
use serde_json::Value;
use tempfile::tempdir;

const STAINED: usize = 5;

/// Scores twenty plates, the first five with the same stain at the same place.
fn score(home: &Path, arguments: &[&str]) -> Assert {
    if !home.join("plates").exists() {
        plates(&home.join("plates"), 20, STAINED as u32);
    }
    let mut command = blemish(home);
    command.current_dir(home).args(["score", "plates", "--product", "plate"]);
    let method: &[&str] =
        if arguments.contains(&"--method") { &[] } else { &["--method", "mutual"] };
    command.args(["--format", "jsonl"]).args(method).args(arguments).assert()
}

fn rows(assert: Assert) -> Vec<Value> {
    let stdout = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// For each photo MuSc's score.
fn scores(rows: &[Value]) -> Vec<f64> {
    rows.iter().map(|row| row["folder"]["score"].as_f64().unwrap()).collect()
}

#[test]
fn a_group_that_shares_something_odd_is_named_and_changes_no_score() {
    let home = tempdir().unwrap();
    let plain = rows(score(home.path(), &[]).success());
    assert!(plain.iter().all(|row| row["folder"]["repeat"].is_null()));
    let grouped = score(home.path(), &["--groups"]).success();
    let grouped =
        grouped.stderr(contains("group 1: 5 photos share something odd, plates/00.png (at "));
    let grouped = rows(grouped.stderr(contains("add --repeated-defect plates/00.png")));
    assert_eq!(scores(&plain), scores(&grouped));
    for (number, row) in grouped.iter().enumerate() {
        let folder = &row["folder"];
        assert_eq!(folder["repeat"] == 1, number < STAINED, "{number}: {folder}");
        assert!(folder["repeat_is"].is_null());
        if number < STAINED {
            // The stain is 18 pixels wide, and a patch of the embedded model shows more than 6 here.
            let at = |axis: usize| folder["repeat_at"][axis].as_f64().unwrap();
            assert!((at(0) - 70.0).abs() < 13.0 && (at(1) - 24.0).abs() < 13.0, "{folder}");
        }
    }
}

#[test]
fn what_a_person_says_of_a_group_changes_its_scores() {
    let home = tempdir().unwrap();
    let ratio = |arguments: &[&str]| {
        let rows = rows(score(home.path(), arguments).success());
        let scores = scores(&rows);
        let (stained, good) = scores.split_at(STAINED);
        let lowest = stained.iter().fold(f64::INFINITY, |a, b| a.min(*b));
        let said = rows[0]["folder"]["repeat_is"].as_str().map(str::to_string);
        (lowest / good.iter().fold(0.0, |a: f64, b| a.max(*b)), said)
    };
    let (before, _) = ratio(&["--groups"]);
    let (defect, said) = ratio(&["--repeated-defect", "03.png"]);
    assert_eq!(said.as_deref(), Some("defect"));
    let (variant, said) = ratio(&["--variant", "plates/00.png"]);
    assert_eq!(said.as_deref(), Some("variant"));
    assert!(defect > 1.5 * before && defect > 1.5, "{before} {defect}");
    assert!(variant < 1.3, "{variant}");
}

#[test]
fn wrong_names_are_refused_and_a_photo_without_group_is_reported() {
    let home = tempdir().unwrap();
    let refused = |arguments: &[&str], why: &'static str| {
        score(home.path(), arguments).code(2).stdout("").stderr(contains(why));
    };
    refused(&["--variant", "other.png"], "--variant other.png: is not among the photos");
    refused(
        &["--variant", "00.png", "--repeated-defect", "00.png"],
        "--variant 00.png: was given as a repeated defect, too",
    );
    refused(&["--groups", "--method", "april-gan"], "--groups");
    let lost = score(home.path(), &["--repeated-defect", "12.png"]).code(1);
    let lost = lost.stderr(contains("--repeated-defect plates/12.png: this photo is in no group"));
    assert_eq!(rows(lost).len(), 20);
}
