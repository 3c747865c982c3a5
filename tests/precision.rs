//! `--precision fast`, and the vector instructions, as a user sees them.

mod common;

use std::path::Path;

use assert_cmd::Command;
use blemish::clip::{ModelOptions, Precision};
use blemish::{Clip, Profile};
use common::{blemish, photo};
use predicates::str::contains;
use serde_json::Value;

/// Photos that differ.
fn photos(folder: &Path, count: u32) {
    std::fs::create_dir_all(folder).unwrap();
    for i in 0..count {
        photo(&folder.join(format!("{i}.png")), 200 + 8 * i, 240);
    }
}

fn rows(command: &mut Command) -> Vec<Value> {
    let assert = command.assert().success();
    let stdout = std::str::from_utf8(&assert.get_output().stdout).unwrap();
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn score(home: &Path, flags: &[&str]) -> Vec<Value> {
    let mut command = blemish(home);
    command.current_dir(home).args(["score", "--product", "nut", "--format", "jsonl", "-q"]);
    rows(command.args(flags))
}

fn scores(rows: &[Value]) -> Vec<f64> {
    rows.iter().map(|row| row["score"].as_f64().unwrap()).collect()
}

#[test]
fn fast_mode_is_near_float32_and_the_same_bits_in_any_company() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    photos(&home.join("photos"), 5);
    for method in ["fused", "winclip"] {
        let all = |flags: &[&str]| score(home, &[&["photos", "--method", method], flags].concat());
        let (full, fast) = (all(&[]), all(&["--precision", "fast"]));
        assert_eq!((&full[0]["precision"], &fast[0]["precision"]), (&"f32".into(), &"fast".into()));
        let (full, fast) = (scores(&full), scores(&fast));
        assert!(full.iter().zip(&fast).all(|(a, b)| (a - b).abs() < 0.01), "{full:?} {fast:?}");
        assert_ne!(full, fast);
        assert_eq!(scores(&all(&["--precision", "fast", "--threads", "1"])), fast);
        let alone = score(
            home,
            &["photos/3.png", "--method", method, "--precision", "fast", "--threads", "2"],
        );
        assert_eq!(scores(&alone), fast[3..4]);
    }
    let mutual =
        |precision| score(home, &["photos", "--method", "mutual", "--precision", precision]);
    let (full, fast) = (scores(&mutual("f32")), scores(&mutual("fast")));
    assert!(full.iter().zip(&fast).all(|(a, b)| (a - b).abs() < 0.05), "{full:?} {fast:?}");
}

#[test]
fn a_profile_keeps_its_precision() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    photos(&home.join("good"), 4);
    let enroll = ["enroll", "--reference", "good", "--product", "nut", "-o", "nut.blemish", "-q"];
    blemish(home).current_dir(home).args(enroll).args(["--precision", "fast"]).assert().success();
    blemish(home)
        .current_dir(home)
        .args(["profile", "show", "nut.blemish"])
        .assert()
        .success()
        .stdout(contains("\"precision\": \"fast\""));
    let with_profile = |flags: &[&str]| {
        let mut command = blemish(home);
        command.current_dir(home);
        command.args(["score", "good", "--profile", "nut.blemish", "--format", "jsonl", "-q"]);
        command.args(flags);
        command
    };
    assert_eq!(rows(&mut with_profile(&[]))[0]["precision"], "fast");
    with_profile(&["--precision", "fast"]).assert().success();
    with_profile(&["--precision", "f32"]).assert().code(2).stderr(contains(
        "--precision f32: the profile was enrolled with fast; enroll again to change it",
    ));
    // The library refuses it too.
    let profile = Profile::open(home.join("nut.blemish")).unwrap();
    assert_eq!(profile.precision().unwrap(), Precision::Fast);
    let error = profile.detector(Clip::load("tiny").unwrap()).err().unwrap().to_string();
    assert!(error.contains("was made with precision fast; the model is open with f32"), "{error}");
    let options = ModelOptions { precision: Precision::Fast, ..ModelOptions::default() };
    profile.detector(Clip::open("tiny", &options).unwrap()).unwrap();
}

#[test]
fn results_of_two_precisions_are_not_mixed() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    photos(&home.join("photos"), 2);
    let run = |precision: &str| {
        let mut command = blemish(home);
        command.current_dir(home).args(["score", "photos", "--product", "nut", "-q"]);
        command.args(["--method", "april-gan", "--resume", "r.jsonl", "--precision", precision]);
        command
    };
    run("fast").assert().success();
    run("fast").assert().success();
    run("f32").assert().code(2).stderr(contains("holds results of another precision"));
    // Results of older versions have no precision: they are of float32.
    let text = std::fs::read_to_string(home.join("r.jsonl")).unwrap();
    let older = text.replace("\"precision\":\"fast\",", "");
    assert_ne!(text, older);
    std::fs::write(home.join("r.jsonl"), older).unwrap();
    run("f32").assert().success();
}

#[test]
fn narrower_instructions_give_the_same_scores() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    photos(&home.join("photos"), 3);
    let with = |instructions: &str, method: &str| {
        let mut command = blemish(home);
        command.current_dir(home).env("BLEMISH_SIMD", instructions);
        command.args(["score", "photos", "--product", "nut", "--format", "jsonl", "-q"]);
        command.args(["--method", method]);
        command
    };
    for method in ["winclip", "fused", "mutual"] {
        let widest = scores(&rows(&mut with("", method)));
        let mut tried = 0;
        for instructions in ["none", "avx2", "avx512", "neon"] {
            let mut command = with(instructions, method);
            // Not every processor has them.
            if command.output().unwrap().status.code() == Some(2) {
                continue;
            }
            tried += 1;
            for (a, b) in scores(&rows(&mut command)).iter().zip(&widest) {
                assert!((a - b).abs() < 1e-4, "{method} {instructions}: {a} {b}");
            }
        }
        assert!(tried > 0);
    }
    with("mmx", "winclip")
        .assert()
        .code(2)
        .stderr(contains("BLEMISH_SIMD=mmx: unknown here; take one of none"));
}
