//! Photos of several products: each goes to the profile that it resembles.

mod common;

use std::path::Path;

use assert_cmd::assert::Assert;
use common::blemish;
use common::plates::{enrolled, plate, plates};
use image::{Rgb, RgbImage};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

/// Round cells, which look nothing like plates.
fn cells(seed: u32, is_stained: bool) -> RgbImage {
    RgbImage::from_fn(96, 96, |x, y| {
        let grain = (x.wrapping_mul(6151) ^ y.wrapping_mul(24_593) ^ seed.wrapping_mul(97)) % 19;
        let (dx, dy) = ((x % 16).abs_diff(8), (y % 16).abs_diff(8));
        let is_inside = dx * dx + dy * dy < 30;
        let is_stain = is_stained && x.abs_diff(20) < 9 && y.abs_diff(70) < 9;
        match (is_stain, is_inside) {
            (true, _) => Rgb([200, 30, 20]),
            (_, true) => Rgb([(180 + grain) as u8, (90 + grain) as u8, 40]),
            _ => Rgb([(40 + grain) as u8, 60, (120 + grain) as u8]),
        }
    })
}

fn run(home: &Path, arguments: &[&str]) -> Assert {
    blemish(home).current_dir(home).args(arguments).assert()
}

fn rows(assert: &Assert) -> Vec<Value> {
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_photo_goes_to_the_profile_that_it_resembles() {
    let home = enrolled();
    let home = home.path();
    let folder = |name: &str| {
        std::fs::create_dir_all(home.join(name)).unwrap();
        home.join(name)
    };
    let good = folder("good_cells");
    (0..24).for_each(|seed| cells(seed, false).save(good.join(format!("{seed}.png"))).unwrap());
    let enroll = ["enroll", "--product", "cells", "-q", "--reference", "good_cells"];
    run(home, &[&enroll[..], &["-o", "cells.blemish"]].concat()).success();
    let profiles = folder("profiles");
    for name in ["plate.blemish", "cells.blemish"] {
        std::fs::rename(home.join(name), profiles.join(name)).unwrap();
    }
    std::fs::write(profiles.join("notes.txt"), "not a profile").unwrap();
    let mixed = folder("mixed");
    plate(50, false).save(mixed.join("plate_good.png")).unwrap();
    plate(51, true).save(mixed.join("plate_bad.png")).unwrap();
    cells(50, false).save(mixed.join("cells_good.png")).unwrap();
    cells(51, true).save(mixed.join("cells_bad.png")).unwrap();

    let scored = run(home, &["score", "mixed", "--profiles", "profiles", "--out", "out", "-q"]);
    let found = rows(&scored.success().stderr(""));
    let verdicts: Vec<(&str, &str, &str)> = found
        .iter()
        .map(|row| {
            let text = |field: &str| row[field].as_str().unwrap();
            (text("path"), text("product"), text("verdict"))
        })
        .collect();
    assert_eq!(
        verdicts,
        [
            ("mixed/cells_bad.png", "cells", "ng"),
            ("mixed/cells_good.png", "cells", "ok"),
            ("mixed/plate_bad.png", "plate", "ng"),
            ("mixed/plate_good.png", "plate", "ok"),
        ]
    );
    // The same numbers as with the profile alone.
    let alone =
        run(home, &["score", "mixed/plate_bad.png", "--profile", "profiles/plate.blemish", "-q"]);
    assert_eq!(rows(&alone.success())[0]["score"], found[2]["score"]);
    for file in
        ["cells/index.html", "cells/cells_bad.png", "plate/index.html", "plate/plate_good.png"]
    {
        assert!(home.join("out").join(file).is_file(), "{file}");
    }
    assert!(!home.join("out/cells/plate_good.png").exists());
    let page = std::fs::read_to_string(home.join("out/plate/index.html")).unwrap();
    assert!(page.contains("plate_bad.png") && !page.contains("cells_bad.png"));

    // What resembles no profile has no result.
    let stripes = RgbImage::from_fn(96, 96, |x, _| Rgb([if x % 6 < 3 { 250 } else { 5 }; 3]));
    stripes.save(mixed.join("stripes.png")).unwrap();
    std::fs::write(mixed.join("broken.png"), "no photo").unwrap();
    let scored = run(home, &["score", "mixed", "--profiles", "profiles", "--fail-on", "ng"]);
    let scored = scored.code(1).stderr(
        contains("mixed/stripes.png: resembles no profile of profiles")
            .and(contains("mixed/broken.png: not an image"))
            .and(contains("2 of 6 photos have no result")),
    );
    let all = rows(&scored);
    let none = all.iter().find(|row| row["path"] == "mixed/stripes.png").unwrap();
    assert!(all.len() == 5 && none["error"].as_str().unwrap().contains("the closest is"), "{none}");
    std::fs::remove_file(mixed.join("stripes.png")).unwrap();
    std::fs::remove_file(mixed.join("broken.png")).unwrap();
    run(home, &["score", "mixed", "--profiles", "profiles", "--fail-on", "ng", "-q"]).code(3);
    let table =
        run(home, &["score", "mixed", "--profiles", "profiles", "--format", "table"]).success();
    let text = String::from_utf8(table.get_output().stdout.clone()).unwrap();
    let (cells, plate) = (text.find("cells:").unwrap(), text.find("plate:").unwrap());
    assert!(cells < plate && text.contains("mixed/plate_good.png"), "{text}");
}

#[test]
fn folders_that_cannot_be_used_are_refused() {
    let home = enrolled();
    let home = home.path();
    plates(&home.join("photos"), 2, 1);
    let score = |folder: &str, more: &[&str]| {
        run(home, &[&["score", "photos", "--profiles", folder], more].concat())
    };
    score("photos", &[]).code(2).stdout("").stderr(contains("--profiles photos: has no profile"));
    score("none", &[]).code(1).stdout("").stderr(contains("none: cannot read"));
    score("photos", &["--profile", "plate.blemish"]).code(2);
    std::fs::create_dir(home.join("profiles")).unwrap();
    std::fs::copy(home.join("plate.blemish"), home.join("profiles/plate.blemish")).unwrap();
    score("profiles", &["--format", "csv"]).code(2).stderr(contains("--format csv"));
    let mut bytes = std::fs::read(home.join("plate.blemish")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(home.join("profiles/altered.blemish"), bytes).unwrap();
    score("profiles", &[]).code(1).stdout("").stderr(contains("altered.blemish: was altered"));
    std::fs::write(home.join("profiles/altered.blemish"), "").unwrap();
    score("profiles", &[]).code(1).stdout("").stderr(contains("altered.blemish: not a profile"));
    // Its results would lie outside.
    std::fs::rename(home.join("profiles/plate.blemish"), home.join("profiles/...blemish")).unwrap();
    std::fs::remove_file(home.join("profiles/altered.blemish")).unwrap();
    score("profiles", &["--out", "out"]).code(2).stderr(contains("cannot be the name of a folder"));
}
