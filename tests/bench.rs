//! `blemish bench` as a user sees it.

mod common;

use common::blemish;
use predicates::str::contains;
use serde_json::Value;

#[test]
fn a_model_is_measured_stage_by_stage() {
    let home = tempfile::tempdir().unwrap();
    let assert = blemish(home.path())
        .args(["bench", "--rounds", "1", "--format", "json", "-q"])
        .assert()
        .success();
    let measured: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    for field in ["read", "prepare", "encode", "score", "photos_per_second", "prompts"] {
        assert!(measured[field].as_f64().unwrap() > 0.0, "{field}: {measured}");
    }
    // The operations do not depend on the machine: six blocks of 226 tokens and the trunk.
    let gflop = measured["encode_gflop"].as_f64().unwrap();
    assert!((2.0..2.5).contains(&gflop), "{gflop}");
    assert_eq!((&measured["photos"], &measured["method"]), (&8.into(), &"april-gan".into()));
    blemish(home.path())
        .args(["bench", "--method", "mutual"])
        .assert()
        .code(2)
        .stderr(contains("compares the photos of a folder"));
    blemish(home.path())
        .args(["bench", "gone.png"])
        .assert()
        .code(1)
        .stderr(contains("gone.png: cannot read"));
}
