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
        .args(["bench", "gone.png"])
        .assert()
        .code(1)
        .stderr(contains("gone.png: cannot read"));
}

#[test]
fn fast_mode_is_set_beside_float32() {
    let home = tempfile::tempdir().unwrap();
    let run = |flags: &[&str]| {
        let mut command = blemish(home.path());
        command.args(["bench", "--rounds", "1", "--format", "json", "-q", "--compare"]);
        let assert = command.args(flags).assert().success();
        serde_json::from_slice::<Value>(&assert.get_output().stdout).unwrap()
    };
    let alone = run(&[]);
    for precision in ["f32", "fast"] {
        assert_eq!(alone[precision]["precision"], precision);
        assert!(alone[precision]["photos_per_second"].as_f64().unwrap() > 0.0, "{alone}");
    }
    let difference = &alone["difference"];
    assert_eq!(difference["photos"], 8);
    let number = |field: &str| difference[field].as_f64().unwrap();
    assert!((1e-9..0.01).contains(&number("score_max")), "{difference}");
    assert!(number("score_mean") <= number("score_max") && number("map_mean") <= number("map_max"));
    assert!((0.99..1.0).contains(&number("map_rank")), "{difference}");
    // With few photos, `auto` scores each by its prompts, as `score` does.
    let few = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pictures/wood");
    assert_eq!(run(&[few, "--method", "auto"])["f32"]["method"], "april-gan");
    // A photo without a result ends the run.
    blemish(home.path())
        .args(["bench", few, "Cargo.toml", "--method", "mutual"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .assert()
        .code(1)
        .stderr(contains("Cargo.toml"));
    // A folder is timed as a whole.
    let folder = run(&["--method", "mutual"]);
    assert_eq!(
        (&folder["f32"]["method"], &folder["f32"]["encode"]),
        (&"mutual".into(), &Value::Null)
    );
    assert_eq!(folder["difference"]["photos"], 8);
    for (flags, why) in [
        (["--compare", "--precision=fast"], "cannot be used with"),
        (["--against", "4"], "--against: is for --method mutual or auto"),
        (["--rounds", "0"], "not in 1..=1000"),
    ] {
        blemish(home.path()).arg("bench").args(flags).assert().code(2).stderr(contains(why));
    }
}
