//! A profile that lives: photos come in and go out, the line is drawn again, and drift is seen.

mod common;

use std::path::Path;

use assert_cmd::assert::Assert;
use common::blemish;
use common::plates::{enroll, enrolled, plate, plates};
use image::imageops;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

fn run(home: &Path, arguments: &[&str]) -> Assert {
    blemish(home).current_dir(home).args(arguments).assert()
}

fn line_of(assert: &Assert) -> Value {
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

/// What `profile show` prints, without what tells a changed profile from one that was enrolled at once.
fn shown(home: &Path, file: &str) -> Value {
    let mut about = line_of(&run(home, &["profile", "show", file]).success());
    let fields = about.as_object_mut().unwrap();
    for field in ["history", "sha256", "readiness", "scale"] {
        fields.remove(field);
    }
    about
}

fn more_plates(home: &Path, folder: &str, seeds: std::ops::Range<u32>, is_stained: bool) {
    std::fs::create_dir_all(home.join(folder)).unwrap();
    for seed in seeds {
        plate(seed, is_stained).save(home.join(folder).join(format!("{seed}.png"))).unwrap();
    }
}

#[test]
fn good_photos_that_come_later_draw_the_line_as_if_they_had_been_there() {
    let home = enrolled();
    let home = home.path();
    more_plates(home, "later", 40..52, false);
    std::fs::copy(home.join("plate.blemish"), home.join("first.blemish")).unwrap();
    let added = run(
        home,
        &["profile", "add", "plate.blemish", "--calibrate", "later", "--by", "A. Kim", "-q"],
    );
    let row = line_of(&added.success().stderr(contains("the line ")));
    assert_eq!(row["calibration"].as_array().unwrap().len(), 12);
    assert_eq!((&row["who"], &row["is_refit"]), (&Value::from("A. Kim"), &Value::from(false)));
    assert_eq!(row["calibration_photos"], 36);
    enroll(home, "at_once.blemish", &["--calibrate", "later"]);
    assert_eq!(shown(home, "plate.blemish"), shown(home, "at_once.blemish"));
    // Known photos change nothing.
    let before = std::fs::read(home.join("plate.blemish")).unwrap();
    run(home, &["profile", "add", "plate.blemish", "--calibrate", "later", "good/00.png"])
        .success()
        .stdout("")
        .stderr(contains("nothing to change").and(contains("12.png has the same content").not()));
    assert_eq!(std::fs::read(home.join("plate.blemish")).unwrap(), before);
    let history = run(home, &["profile", "history", "plate.blemish"]).success();
    let text = String::from_utf8(history.get_output().stdout.clone()).unwrap();
    assert!(text.contains(" A. Kim: for the line: ") && text.contains("(12 photos)"), "{text}");
    let json = line_of(&run(home, &["profile", "history", "plate.blemish", "--json"]).success());
    assert_eq!(json["sha256_before"].as_str().unwrap().len(), 64);

    // They go out again, by name and by hash.
    let names: Vec<String> = (41..52).map(|seed| format!("{seed}.png")).collect();
    let hash = blemish_hash(&home.join("later/40.png"));
    let mut arguments = vec!["profile", "forget", "plate.blemish", &hash[..12]];
    arguments.extend(names.iter().map(|name| &**name));
    let row = line_of(&run(home, &arguments).success());
    assert_eq!(row["forgotten"].as_array().unwrap().len(), 12);
    assert_eq!(shown(home, "plate.blemish"), shown(home, "first.blemish"));
    run(home, &["profile", "forget", "plate.blemish", "none.png"])
        .code(2)
        .stdout("")
        .stderr(contains("is no photo of the profile"));
}

fn blemish_hash(file: &Path) -> String {
    blemish::files::sha256(&std::fs::read(file).unwrap())
}

#[test]
fn a_looser_line_is_never_silent() {
    let home = enrolled();
    let home = home.path();
    more_plates(home, "alarms", 60..64, true);
    let added = run(
        home,
        &["profile", "add", "plate.blemish", "--calibrate", "alarms", "-o", "looser.blemish"],
    );
    added.success().stderr(
        contains("the line is looser: 0.").and(contains("all new photos score above the old line")),
    );
    let readiness =
        line_of(&run(home, &["profile", "show", "looser.blemish"]).success())["readiness"].clone();
    assert_eq!(readiness["verdict"], "not measured");
    std::fs::write(home.join("notes.txt"), "mine").unwrap();
    let add = ["profile", "add", "plate.blemish", "--calibrate", "alarms", "-o", "notes.txt"];
    run(home, &add).code(2).stderr(contains("is there and is no product file"));
    run(home, &["profile", "add", "plate.blemish"]).code(2);
    let other = run(home, &["profile", "add", "notes.txt", "--calibrate", "alarms"]);
    other.code(1).stderr(contains("notes.txt: not a profile"));
}

#[test]
fn references_come_and_go_as_if_enrolled_again() {
    let home = enrolled();
    let home = home.path();
    more_plates(home, "new", 70..72, false);
    let add = ["profile", "add", "plate.blemish", "--reference", "new", "-q"];
    run(home, &add).code(2).stdout("").stderr(
        contains("--photos: the references change").and(contains("24 of the profile's photos")),
    );
    let photos = [&add[..], &["--photos", "good"]].concat();
    let row = line_of(&run(home, &photos).success());
    assert_eq!(
        (row["references"].as_array().unwrap().len(), &row["is_refit"]),
        (2, &Value::from(true))
    );
    let both = ["enroll", "--product", "plate", "-q", "--reference", "good", "new"];
    run(home, &[&both[..], &["-o", "at_once.blemish"]].concat()).success();
    assert_eq!(shown(home, "plate.blemish"), shown(home, "at_once.blemish"));
    let forget =
        ["profile", "forget", "plate.blemish", "70.png", "71.png", "--photos", "good", "new"];
    run(home, &forget).success();
    let scores = |profile: &str| {
        let scored = run(home, &["score", "new", "--profile", profile, "-q"]).success();
        let text = String::from_utf8(scored.get_output().stdout.clone()).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| (row["score"].clone(), row["p_value"].clone())).collect::<Vec<_>>()
    };
    enroll(home, "again.blemish", &[]);
    assert_eq!(scores("plate.blemish"), scores("again.blemish"));
    // A photo that only decides the line becomes a reference.
    more_plates(home, "line", 80..81, false);
    run(home, &["profile", "add", "plate.blemish", "--calibrate", "line", "-q"]).success();
    let add = [
        "profile",
        "add",
        "plate.blemish",
        "--reference",
        "line",
        "--photos",
        "good",
        "line",
        "-q",
    ];
    let row = line_of(&run(home, &add).success());
    assert_eq!(row["references"][0]["file"], "80.png");
    assert!(row["forgotten"].as_array().unwrap().is_empty());
    let all: Vec<String> =
        (0..24).map(|i| format!("{i:02}.png")).chain(["80.png".into()]).collect();
    let mut forget =
        vec!["profile", "forget", "plate.blemish", "--photos", "good", "line", "--by", "x"];
    forget.splice(3..3, all.iter().map(|name| &**name));
    run(home, &forget).code(2).stderr(contains("forget: no reference would be left"));
    // A link stays a link.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("plate.blemish", home.join("current.blemish")).unwrap();
        let forget = ["profile", "forget", "current.blemish", "80.png", "--photos", "good", "-q"];
        run(home, &forget).success();
        assert!(home.join("current.blemish").is_symlink());
        assert_eq!(shown(home, "plate.blemish"), shown(home, "again.blemish"));
    }
}

#[test]
fn drift_is_seen_and_its_absence_too() {
    let home = enrolled();
    let home = home.path();
    more_plates(home, "same", 100..160, false);
    for (folder, change) in [
        (
            "bright",
            (|photo| imageops::colorops::brighten(photo, 25))
                as fn(&image::RgbImage) -> image::RgbImage,
        ),
        ("blurred", |photo| imageops::blur(photo, 1.2)),
    ] {
        plates(&home.join(folder), 0, 0);
        for seed in 200..240 {
            change(&plate(seed, false))
                .save(home.join(folder).join(format!("{seed}.png")))
                .unwrap();
        }
    }
    let score = |folder: &str| {
        let scored = run(home, &["score", folder, "--profile", "plate.blemish", "-q"]).success();
        std::fs::write(home.join(format!("{folder}.jsonl")), &scored.get_output().stdout).unwrap();
    };
    ["same", "bright", "blurred"].into_iter().for_each(score);
    let same = run(home, &["drift", "plate.blemish", "same.jsonl"]).success();
    let report = line_of(&same.stderr(contains("sharpness in 60 photos")));
    assert_eq!(
        (report["drift"].as_bool(), report["measures"].as_array().unwrap().len()),
        (Some(false), 4)
    );
    for (file, measure) in [("bright.jsonl", "brightness"), ("blurred.jsonl", "sharpness")] {
        let report =
            line_of(&run(home, &["drift", "plate.blemish", "same.jsonl", file, "-q"]).code(3));
        let measures = report["measures"].as_array().unwrap();
        let moved = measures.iter().find(|row| row["measure"] == measure).unwrap();
        let seen = moved["seen_after"].as_u64().unwrap();
        assert!(moved["drift"] == true && (61..=100).contains(&seen), "{report}");
        assert!(moved["now"].as_f64() != moved["usual"].as_f64());
    }
    // A line that was drawn again reads the older results; other references do not.
    run(home, &["profile", "add", "plate.blemish", "--calibrate", "same/100.png", "-q"]).success();
    run(home, &["drift", "plate.blemish", "same.jsonl", "-q"]).success().stderr("");
    enroll(home, "other.blemish", &["--limit", "12"]);
    let other = run(home, &["drift", "other.blemish", "same.jsonl"]);
    other.code(1).stdout("").stderr(contains("same.jsonl:1: was scored with another profile"));
    run(home, &["drift", "plate.blemish", "good/00.png"]).code(1).stdout("");
    let piped = std::fs::read(home.join("same.jsonl")).unwrap();
    // Something writes the last line right now; a line in the middle is broken.
    let cut = piped[..piped.len() - 100].to_vec();
    std::fs::write(home.join("growing.jsonl"), &cut).unwrap();
    run(home, &["drift", "plate.blemish", "growing.jsonl", "-q"]).success().stderr("");
    std::fs::write(home.join("broken.jsonl"), [b"\xff\xfe\n", &piped[..]].concat()).unwrap();
    let broken = run(home, &["drift", "plate.blemish", "broken.jsonl", "-q"]).code(1);
    let report = line_of(&broken.stderr(contains("broken.jsonl:1: is no result")));
    assert_eq!(report["photos"], 60);
    blemish(home)
        .current_dir(home)
        .args(["drift", "plate.blemish", "-"])
        .write_stdin(piped)
        .assert()
        .success();
}
