//! Folders whose photos judge each other, as a user sees them: `score --method mutual` and `auto`, `eval`, `enroll --mine`.

mod common;

use std::path::{Path, PathBuf};

use common::plates::{plate, plates};
use common::{blemish, fixture};
use image::{Rgb, RgbImage};
use predicates::str::contains;
use serde_json::Value;
use tempfile::tempdir;

/// A plate with a spot of a colour that no other has.
fn spotted(seed: u32) -> RgbImage {
    let mut plate = plate(seed, false);
    let colour = [(seed * 83 % 256) as u8, (seed * 151 % 256) as u8, (seed * 211 % 256) as u8];
    for (x, y) in (0..26).flat_map(|x| (0..26).map(move |y| (x, y))) {
        plate.put_pixel(20 + x + seed % 40, 60 - seed % 40 + y, Rgb(colour));
    }
    plate
}

/// Stripes of strong colours: another product.
fn stripes(seed: u32) -> RgbImage {
    RgbImage::from_fn(96, 96, |x, y| {
        let grain = ((x * 13) ^ (y * 7) ^ (seed * 29)) % 17;
        if (x + y) / 6 % 2 == 0 {
            Rgb([230, grain as u8, 40])
        } else {
            Rgb([20, 60, 200 + grain as u8])
        }
    })
}

fn command(home: &Path, arguments: &[&str]) -> assert_cmd::Command {
    let mut command = blemish(home);
    command.current_dir(home).args(arguments);
    command
}

fn score(home: &Path, arguments: &[&str]) -> assert_cmd::assert::Assert {
    command(home, &[&["score", "--product", "plate", "--format", "jsonl"], arguments].concat())
        .assert()
}

fn rows(assert: &assert_cmd::assert::Assert) -> Vec<Value> {
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// By the photo's name what says how odd it is.
fn by_name(rows: &[Value]) -> Vec<(PathBuf, Vec<Value>)> {
    let row = |row: &Value| -> (PathBuf, Vec<Value>) {
        let name = Path::new(row["path"].as_str().unwrap()).file_name().unwrap().into();
        let keys = ["score", "peak", "peak_x", "peak_y", "method", "folder"];
        (name, keys.iter().map(|key| row[key].clone()).collect())
    };
    let mut all: Vec<_> = rows.iter().map(row).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn the_odd_ones_of_a_folder_score_highest() {
    let home = tempdir().unwrap();
    let home = home.path();
    plates(&home.join("p"), 12, 2);
    for (method, used) in [(&["--method", "mutual"][..], "mutual"), (&[], "april-gan+mutual")] {
        let found = score(home, &[&["p", "--out", "out"], method].concat()).success();
        let found = found.stderr(contains("each score depends on the others of these 12 photos"));
        let rows = rows(&found);
        let score = |row: &Value| row["score"].as_f64().unwrap();
        let (odd, normal) = rows.split_at(2);
        let highest = normal.iter().map(score).fold(0.0, f64::max);
        for row in &rows {
            assert_eq!((&row["method"], &row["transductive"]), (&used.into(), &true.into()));
            let folder = &row["folder"];
            assert_eq!((&folder["photos"], &folder["against"]), (&12.into(), &11.into()));
            assert_eq!(folder["sha256"].as_str().unwrap().len(), 64);
            assert!((0.0..2.0).contains(&folder["score"].as_f64().unwrap()));
            assert!(row["overlay"].is_string());
        }
        for row in odd {
            assert!(score(row) > highest && score(row) > 0.5, "{used}: {row} {highest}");
            let (x, y) = (row["peak_x"].as_i64().unwrap(), row["peak_y"].as_i64().unwrap());
            assert!((x - 70).abs() < 16 && (y - 24).abs() < 16, "{used}: the stain, not {x}, {y}");
        }
    }
}

#[test]
fn neither_names_nor_order_nor_copies_change_a_result() {
    let home = tempdir().unwrap();
    let home = home.path();
    plates(&home.join("p"), 9, 1);
    let once = score(home, &["p", "--method", "mutual", "--against", "4"]).success();
    let all: Vec<String> = (0..9).rev().map(|i| format!("p/{i:02}.png")).collect();
    let all: Vec<&str> = all.iter().map(|name| &**name).collect();
    let turned = score(home, &[&all[..], &["--method", "mutual", "--against", "4"]].concat());
    assert_eq!(by_name(&rows(&once)), by_name(&rows(&turned.success())));
    // Called otherwise, in another order of names.
    std::fs::create_dir(home.join("r")).unwrap();
    for i in 0..9 {
        std::fs::copy(home.join(format!("p/{i:02}.png")), home.join(format!("r/{}.png", 9 - i)))
            .unwrap();
    }
    let renamed =
        by_name(&rows(&score(home, &["r", "--method", "mutual", "--against", "4"]).success()));
    for (row, renamed) in by_name(&rows(&once)).iter().zip(renamed.iter().rev()) {
        assert_eq!(row.1, renamed.1);
    }
    // Another seed draws another ring.
    let other = score(home, &["p", "--method", "mutual", "--against", "4", "--seed", "1"]);
    assert_ne!(by_name(&rows(&once))[0].1, by_name(&rows(&other.success()))[0].1);

    std::fs::copy(home.join("p/00.png"), home.join("p/copy.png")).unwrap();
    let copied = score(home, &["p", "--method", "mutual", "--against", "4"]).success();
    let copied =
        copied.stderr(contains("p/copy.png has the same content as p/00.png: each counts once"));
    let copied = by_name(&rows(&copied));
    assert_eq!(copied[..9], by_name(&rows(&once)));
    assert_eq!(copied[9].1, copied[0].1, "a copy has the result of what it copies");
}

#[test]
fn what_cannot_be_read_is_left_out_and_the_rest_is_scored() {
    let home = tempdir().unwrap();
    let home = home.path();
    plates(&home.join("p"), 9, 1);
    std::fs::write(home.join("p/bad.png"), "no picture").unwrap();
    std::fs::copy(home.join("p/bad.png"), home.join("p/worse.png")).unwrap();
    // A photo of quite another size and shape.
    image::imageops::resize(&plate(50, false), 900, 40, image::imageops::FilterType::Triangle)
        .save(home.join("p/wide.png"))
        .unwrap();
    let found = score(home, &["p"]).code(1);
    let found = found
        .stderr(contains("p/bad.png: "))
        .stderr(contains("p/worse.png: "))
        .stderr(contains("10 of 12 photos were scored by april-gan+mutual; 2 problems above"))
        .stderr(contains("these 10 photos"));
    let rows = rows(&found);
    assert_eq!(rows.len(), 10);
    let wide = rows.iter().find(|row| row["width"] == 900).unwrap();
    assert_eq!((&wide["height"], &wide["folder"]["photos"]), (&40.into(), &10.into()));
    assert!(rows.iter().all(|row| row["score"].is_f64()));
}

#[test]
fn two_photos_are_enough_for_mutual_and_eight_for_auto() {
    let home = tempdir().unwrap();
    let home = home.path();
    plates(&home.join("p"), 8, 1);
    let two = ["p/00.png", "p/01.png"];
    let both = rows(&score(home, &[&two[..], &["--method", "mutual"]].concat()).success());
    assert!(both.iter().all(|row| row["folder"]["photos"] == 2 && row["score"].is_f64()));
    score(home, &["p/00.png", "--method", "mutual"])
        .code(2)
        .stdout("")
        .stderr(contains("--method mutual: compares photos with each other and needs two"))
        .stderr(contains("winclip, april-gan or fused"));
    std::fs::write(home.join("bad.png"), "no picture").unwrap();
    score(home, &["p/00.png", "bad.png", "--method", "mutual"])
        .code(1)
        .stdout("")
        .stderr(contains("bad.png: "))
        .stderr(contains("fewer than two photos can be read"));
    score(home, &[&two[..], &["--align", "2"]].concat())
        .success()
        .stderr(contains("--align has no effect on fewer than 8 photos"));
    // `auto` is the default, and words judge alone where there are too few to judge each other.
    let few = score(home, &two).success();
    let few = few.stderr("blemish: 2 of 2 photos were scored by april-gan\n");
    let words = score(home, &[&two[..], &["--method", "april-gan"]].concat()).success();
    assert_eq!(by_name(&rows(&few)), by_name(&rows(&words)));
    assert_eq!(rows(&few)[0]["transductive"], false);
    let eight = score(home, &["p"]).success();
    assert_eq!(rows(&eight)[0]["method"], "april-gan+mutual");
    // Eight files of seven contents are seven photos.
    std::fs::copy(home.join("p/00.png"), home.join("p/01.png")).unwrap();
    assert_eq!(rows(&score(home, &["p"]).success())[0]["method"], "april-gan");
}

#[test]
fn two_products_in_a_folder_are_noticed_and_can_be_scored_apart() {
    let home = tempdir().unwrap();
    let home = home.path();
    plates(&home.join("p"), 10, 1);
    std::fs::create_dir(home.join("s")).unwrap();
    (0..8).for_each(|i| stripes(i).save(home.join(format!("s/s{i}.png"))).unwrap());
    let auto = score(home, &["p", "s"]).success();
    let auto = auto
        .stderr(contains("the folder seems to hold two products"))
        .stderr(contains("all photos are compared; if they are two products, --apart"));
    let together = rows(&auto);
    assert!(together.iter().all(|row| row["method"] == "april-gan+mutual"));
    // The only damaged plate is still the most anomalous one.
    let highest = together[..10]
        .iter()
        .max_by(|a, b| a["score"].as_f64().unwrap().total_cmp(&b["score"].as_f64().unwrap()));
    assert!(highest.unwrap()["path"].as_str().unwrap().ends_with("00.png"), "{highest:?}");
    let apart = rows(&score(home, &["p", "s", "--apart"]).success());
    let alone = [score(home, &["p"]).success(), score(home, &["s"]).success()].map(|a| rows(&a));
    let group = |row: &Value| row["folder"]["group"].as_u64().unwrap();
    assert!(apart[..10].iter().all(|row| group(row) == group(&apart[0])));
    assert!(apart[10..].iter().all(|row| group(row) != group(&apart[0])));
    for (apart, alone) in apart.iter().zip(alone.concat()) {
        assert_eq!((&apart["score"], &apart["peak"]), (&alone["score"], &alone["peak"]));
    }
    // Groups are as small as they are.
    let few: Vec<String> = (0..5).map(|i| format!("s/s{i}.png")).collect();
    let few: Vec<&str> = few.iter().map(String::as_str).collect();
    let small = rows(&score(home, &[&["p", "--apart"], &few[..]].concat()).success());
    assert_eq!(
        (&small[0]["folder"]["photos"], &small[14]["folder"]["photos"]),
        (&10.into(), &5.into())
    );
    let mutual = score(home, &["p", "s", "--method", "mutual"]).success();
    assert!(rows(&mutual).iter().all(|row| row["folder"]["photos"] == 18));
}

#[test]
fn a_folder_without_a_bulk_is_noticed() {
    let home = tempdir().unwrap();
    let home = home.path();
    plates(&home.join("p"), 20, 0);
    (30..40).for_each(|i| spotted(i).save(home.join(format!("p/{i}.png"))).unwrap());
    score(home, &["p", "--method", "mutual"])
        .success()
        .stderr(contains("10 in the upper one: it is open which is normal"));
    plates(&home.join("q"), 30, 3);
    let output = score(home, &["q", "--method", "mutual"]).success().get_output().stderr.clone();
    assert!(!String::from_utf8(output).unwrap().contains("warning"));
    // Equal pixels in files of different contents have no groups.
    std::fs::create_dir(home.join("e")).unwrap();
    let mut png = std::fs::read(home.join("q/05.png")).unwrap();
    for i in 0..8u8 {
        png.push(i);
        std::fs::write(home.join(format!("e/{i}.png")), &png).unwrap();
    }
    let equal = score(home, &["e", "--method", "mutual"]).success();
    assert!(rows(&equal).iter().all(|row| row["folder"]["score"] == 0.0 && row["score"].is_f64()));
    assert!(!String::from_utf8(equal.get_output().stderr.clone()).unwrap().contains("warning"));
}

#[test]
fn options_of_the_comparison_reach_it_and_are_noted() {
    let home = tempdir().unwrap();
    let home = home.path();
    plates(&home.join("p"), 9, 1);
    let plain = rows(&score(home, &["p", "--method", "mutual"]).success());
    let folder = &plain[3]["folder"];
    assert_eq!(
        (&folder["blocks"], &folder["degrees"]),
        (&serde_json::json!(["trunk", 2, 3, 5, 6]), &[1, 3, 5].into())
    );
    assert_eq!((&folder["align"], &folder["rescored"]), (&Value::Null, &false.into()));
    for (more, key, value) in [
        (&["--align", "1"][..], "align", Value::from(1)),
        (&["--rescore"], "rescored", true.into()),
        (&["--degrees", "3"], "degrees", [3].into()),
        (&["--blocks", "4"], "blocks", [4].into()),
        (&["--blocks", "trunk"], "blocks", ["trunk"].into()),
        (&["--against", "4"], "against", 4.into()),
    ] {
        let found = rows(&score(home, &[&["p", "--method", "mutual"], more].concat()).success());
        assert_eq!(found[3]["folder"][key], value, "{more:?}");
        assert_ne!(found[3]["folder"]["score"], folder["score"], "{more:?}");
    }
    // The columns of CSV are the same on every line.
    let csv =
        command(home, &["score", "--product", "plate", "p", "--format", "csv"]).assert().success();
    let csv = csv.get_output().stdout.clone();
    let mut reader = csv::Reader::from_reader(&csv[..]);
    assert!(reader.headers().unwrap().iter().any(|header| header == "folder.sha256"));
    assert_eq!(reader.records().map(Result::unwrap).count(), 9);
}

#[test]
fn words_and_regions_hold_where_photos_judge_each_other() {
    let home = tempdir().unwrap();
    let home = home.path();
    plates(&home.join("p"), 10, 2);
    // The stain lies outside.
    let mask =
        image::GrayImage::from_fn(96, 96, |x, _| image::Luma([if x < 48 { 255 } else { 0 }]));
    mask.save(home.join("roi.png")).unwrap();
    for method in ["mutual", "auto"] {
        let with = ["p", "--method", method, "--roi", "roi.png", "--prompts", "inspection"];
        let words = ["--detect", "scratch,stain", "--ignore", "oil film"];
        let found = rows(&score(home, &[&with[..], &words].concat()).success());
        for row in &found {
            assert!(row["peak_x"].as_i64().unwrap() < 52, "{row}");
            assert!((row["coverage"].as_f64().unwrap() - 0.5).abs() < 0.02);
            assert_eq!(
                row["defects"].as_array().unwrap().iter().filter(|d| d["counts"] == true).count(),
                2
            );
            assert_eq!(row["ignored"][0]["name"], "oil film");
        }
        // With the region the stained ones are not odd: without it they have the highest scores, above 0.5.
        let score = |row: &Value| row["score"].as_f64().unwrap();
        assert!(found.iter().map(score).all(|score| score < 0.4), "{method}: {found:?}");
    }
    // What is ignored is what words ignore where a photo is by itself, or less.
    for method in ["mutual", "auto"] {
        let words = [
            "--prompts",
            "inspection",
            "--detect",
            "scratch",
            "--ignore",
            "oil film,shadow,water drop",
        ];
        let with = |method| {
            rows(&score(home, &[&["p", "--method", method][..], &words].concat()).success())
        };
        for (together, alone) in with(method).iter().zip(&with("april-gan")) {
            for (a, b) in together["ignored"]
                .as_array()
                .unwrap()
                .iter()
                .zip(alone["ignored"].as_array().unwrap())
            {
                let area = |row: &Value| row["area"].as_f64().unwrap();
                assert!(area(a) <= area(b) + 1e-9, "{method}: {a} {b}");
            }
        }
    }
    // Words alone have regions too.
    let alone = rows(&score(home, &["p/00.png", "--roi", "roi.png"]).success());
    assert!((alone[0]["coverage"].as_f64().unwrap() - 0.5).abs() < 0.02);
    assert!(alone[0]["peak_x"].as_i64().unwrap() < 52);
    image::GrayImage::new(96, 96).save(home.join("black.png")).unwrap();
    score(home, &["p/00.png", "--roi", "black.png"])
        .code(1)
        .stdout("")
        .stderr(contains("black.png: is white (brighter than half) nowhere"));
    RgbImage::new(40, 200).save(home.join("p/tall.png")).unwrap();
    score(home, &["p", "--method", "mutual", "--roi", "roi.png"])
        .code(1)
        .stderr(contains("tall.png: has 40x200 pixels and the region of interest 96x96"));
}

#[test]
fn flags_that_make_no_sense_are_named() {
    let home = tempdir().unwrap();
    let home = home.path();
    plates(&home.join("p"), 8, 1);
    for (arguments, why) in [
        (&["--method", "mutual", "--against", "1"][..], "--against 1: compare with at least 2"),
        (
            &["--method", "mutual", "--degrees", "1,2"],
            "--degrees 2: a neighbourhood has a patch in its middle",
        ),
        (
            &["--method", "mutual", "--blocks", "0"],
            "--blocks 0: give blocks of the model, from 1 to 6",
        ),
        (
            &["--method", "mutual", "--blocks", "9"],
            "--blocks 9: give blocks of the model, from 1 to 6",
        ),
        (
            &["--method", "mutual", "--shard", "0/2"],
            "--shard: --method mutual needs all photos at once",
        ),
        (&["--method", "winclip", "--align", "2"], "--align: is for --method mutual and auto"),
        (&["--method", "winclip", "--apart"], "--apart: is for --method mutual and auto"),
    ] {
        score(home, &[&["p"], arguments].concat()).code(2).stdout("").stderr(contains(why));
    }
    command(
        home,
        &[
            "enroll",
            "--product",
            "plate",
            "--reference",
            "p",
            "--method",
            "mutual",
            "-o",
            "x.blemish",
        ],
    )
    .assert()
    .code(2)
    .stderr(contains("--method mutual: compares the photos of a folder with each other"));
    // A part of the photos is judged by words alone.
    assert_eq!(rows(&score(home, &["p", "--shard", "0/2"]).success())[0]["method"], "april-gan");
}

#[test]
fn eval_marks_what_depends_on_the_test_part() {
    let home = tempdir().unwrap();
    let home = home.path();
    let run = |more: &[&str]| {
        let mut command = command(home, &["eval", "loco", "-q", "--format", "json"]);
        command.arg(fixture("layouts/loco")).args(more).assert()
    };
    let value = |assert: assert_cmd::assert::Assert| -> Value {
        serde_json::from_slice(&assert.get_output().stdout).unwrap()
    };
    assert_eq!(value(run(&["--method", "winclip"]).success())["protocol"], "zero-shot");
    let mutual = value(run(&["--method", "mutual", "--out", "m"]).success());
    assert_eq!(
        (&mutual["protocol"], &mutual["method"]),
        (&"transductive".into(), &"mutual".into())
    );
    assert!(mutual["neighbours"].as_str().unwrap().contains("at most 24 others"));
    assert_eq!(mutual["products"][0]["image_auroc"], 1.0, "{mutual}");
    let csv = std::fs::read_to_string(home.join("m/metrics.csv")).unwrap();
    assert!(csv.lines().skip(1).all(|line| line.contains(",transductive,")), "{csv}");
    assert!(std::fs::read_to_string(home.join("m/report.html")).unwrap().contains("transductive"));
    // Going on computes what is missing to the same bytes.
    let kept = std::fs::read(home.join("m/metrics.json")).unwrap();
    let log = std::fs::read_to_string(home.join("m/photos.jsonl")).unwrap();
    std::fs::write(home.join("m/photos.jsonl"), log.lines().next().unwrap().to_string() + "\n")
        .unwrap();
    run(&["--method", "mutual", "--out", "m", "--resume"]).success();
    assert_eq!(std::fs::read(home.join("m/metrics.json")).unwrap(), kept);
    assert_eq!(mutual["adapter"], Value::Null, "no words, no layers");
    // Other test photos are another run: each score depends on all.
    common::copy_tree("layouts/loco", &home.join("set"));
    let again = |more: &[&str]| {
        let fixed = ["eval", "loco", "set", "-q", "--method", "mutual", "--out", "s"];
        command(home, &[&fixed[..], more].concat()).assert()
    };
    again(&[]).success();
    let good = home.join("set/tray/test/good");
    std::fs::copy(good.join("000.png"), good.join("001.png")).unwrap();
    again(&["--resume"]).code(2).stderr(contains("of other photos or settings"));
    assert_eq!(value(run(&["--method", "auto"]).success())["method"], "april-gan+mutual");
    for (more, why) in [
        (
            &["--method", "mutual", "--out", "x", "--shard", "0/2"][..],
            "--shard: a part of the photos",
        ),
        (&["--method", "auto", "--profile-from", "train:2"], "--profile-from: good parts take"),
        (&["--against", "4"], "--against: is for --method mutual and auto"),
    ] {
        run(more).code(2).stderr(contains(why));
    }
}

#[test]
fn eval_of_your_own_folder_measures_what_score_does() {
    let home = tempdir().unwrap();
    let home = home.path();
    plates(&home.join("set/good"), 9, 0);
    std::fs::create_dir_all(home.join("set/stain")).unwrap();
    for i in 20..23 {
        plate(i, true).save(home.join(format!("set/stain/{i}.png"))).unwrap();
    }
    let run = |more: &[&str]| {
        let fixed = ["eval", "folder", "set", "--product", "plate", "-q"];
        command(home, &[&fixed[..], more].concat()).assert().success()
    };
    let eval: Value =
        serde_json::from_slice(&run(&["--format", "json"]).get_output().stdout).unwrap();
    assert_eq!(
        (&eval["method"], &eval["protocol"]),
        (&"april-gan+mutual".into(), &"transductive".into())
    );
    // The same scores, so the same AUROC.
    let scores: Vec<(bool, f64)> = rows(&score(home, &["set"]).success())
        .iter()
        .map(|row| {
            (row["path"].as_str().unwrap().contains("stain"), row["score"].as_f64().unwrap())
        })
        .collect();
    let of = |bad: bool| scores.iter().filter(move |score| score.0 == bad).map(|score| score.1);
    let above = of(true).flat_map(|bad| of(false).map(move |good| f64::from(bad > good)));
    let (count, sum) = above.fold((0.0, 0.0), |(count, sum), above| (count + 1.0, sum + above));
    assert!((eval["mean"]["image_auroc"].as_f64().unwrap() - sum / count).abs() < 1e-9);

    let table = run(&["--out", "run"]);
    table.stdout(contains("april-gan+mutual, tiny at 240 pixels\n"));
    let csv = std::fs::read_to_string(home.join("run/metrics.csv")).unwrap();
    assert!(csv.starts_with("product,kind,protocol,model,method,reference_method,good,bad,"));
    assert!(csv.contains("set,stain,transductive,tiny,april-gan+mutual,,9,3,"), "{csv}");
    // Published sets stay zero-shot, and so do parts of a folder.
    let few = run(&["--format", "json", "--method", "april-gan"]);
    let few: Value = serde_json::from_slice(&few.get_output().stdout).unwrap();
    assert_eq!(few["protocol"], "zero-shot");
}

#[test]
fn enough_references_are_mined_for_the_line() {
    let home = tempdir().unwrap();
    let home = home.path();
    plates(&home.join("p"), 40, 2);
    let fixed = ["enroll", "--product", "plate", "--mine", "p", "-o", "plate.blemish", "-q"];
    let found = command(home, &[&fixed[..], &["--format", "json"]].concat()).assert().success();
    let summary: Value = serde_json::from_slice(&found.get_output().stdout).unwrap();
    assert_eq!(summary["references"].as_array().unwrap().len(), 19);
    assert!(summary["threshold"].is_number());
}

#[test]
fn references_are_mined_from_an_unsorted_folder() {
    let home = tempdir().unwrap();
    let home = home.path();
    plates(&home.join("p"), 14, 3);
    std::fs::write(home.join("p/bad.png"), "no picture").unwrap();
    let enroll = |more: &[&str]| {
        let fixed = ["enroll", "--product", "plate", "--mine", "p", "-o", "plate.blemish"];
        command(home, &[&fixed[..], &["--format", "json", "--limit", "5"], more].concat()).assert()
    };
    let summary = |assert: &assert_cmd::assert::Assert| -> Value {
        serde_json::from_slice(&assert.get_output().stdout).unwrap()
    };
    let found = enroll(&[]).code(1).stderr(contains("bad.png")).stderr(contains("--drop"));
    let summary_of = summary(&found);
    let taken = |summary: &Value| -> Vec<String> {
        let photos = summary["mined"]["photos"].as_array().unwrap();
        photos.iter().map(|photo| photo["file"].as_str().unwrap().to_string()).collect()
    };
    let first = taken(&summary_of);
    assert_eq!(first.len(), 5);
    assert!(
        first.iter().all(|file| !["p/00.png", "p/01.png", "p/02.png"].contains(&&**file)),
        "{first:?}"
    );
    assert_eq!(summary_of["mined"]["photos"][0]["rank"], 1);
    assert_eq!(summary_of["references"].as_array().unwrap().len(), 5);
    let sheet = image::open(home.join("plate.blemish.png")).unwrap();
    assert!(sheet.width() > 800 && sheet.height() > 300);

    // Struck out, another takes its place.
    std::fs::remove_file(home.join("p/bad.png")).unwrap();
    let name = first[1].strip_prefix("p/").unwrap();
    let again = taken(&summary(&enroll(&["--drop", name, "--sheet", "sheet.png"]).success()));
    assert!(again.len() == 5 && !again.contains(&first[1]), "{again:?}");
    assert!(home.join("sheet.png").is_file());
    enroll(&["--drop", "99.png"])
        .code(2)
        .stderr(contains("--drop 99.png: is none of the folder's photos"));
    enroll(&["--sheet", "p/05.png"]).code(2).stderr(contains("is one of the photos"));
    command(home, &["enroll", "--product", "plate", "-o", "x.blemish"]).assert().code(2);
    for flag in ["--drop", "--sheet"] {
        let both =
            ["enroll", "--product", "plate", "--reference", "p", flag, "05.png", "-o", "x.blemish"];
        command(home, &both).assert().code(2).stderr(contains(flag));
    }
    // A copy is struck out by either name.
    std::fs::copy(home.join("p").join(name), home.join("p/twin.png")).unwrap();
    assert!(!taken(&summary(&enroll(&["--drop", "twin.png"]).success())).contains(&first[1]));
    std::fs::remove_file(home.join("p/twin.png")).unwrap();

    // The next single photo is decided at once.
    plate(90, true).save(home.join("next.png")).unwrap();
    let decided =
        command(home, &["score", "next.png", "--profile", "plate.blemish", "--format", "jsonl"])
            .assert();
    let decided = rows(&decided.success());
    assert!(decided[0]["p_value"].is_f64() && decided[0]["transductive"] == false);
    assert_eq!(decided[0]["references"], 5);
    // What most of a folder resembles takes a folder.
    for (photos, why) in
        [(&["p/00.png"][..], "and 1 of 1 can be used"), (&["bad1.png", "bad2.png"], "and 0 of 2")]
    {
        for bad in ["bad1.png", "bad2.png"] {
            std::fs::write(home.join(bad), bad).unwrap();
        }
        let fixed = ["enroll", "--product", "plate", "-o", "y.blemish", "--mine"];
        let refused = command(home, &[&fixed[..], photos].concat()).assert().code(2);
        refused.stderr(contains("--mine: needs two photos that differ")).stderr(contains(why));
    }
    // A sheet among the photos is no photo of the next round.
    let among = [
        "enroll",
        "--product",
        "plate",
        "--mine",
        "p",
        "-o",
        "p/plate.blemish",
        "--limit",
        "4",
        "-q",
    ];
    for _ in 0..2 {
        command(home, &among).assert().success();
    }
    // A profile's line holds for photos by themselves, also in a folder.
    let folder = command(
        home,
        &["score", "p", "--profile", "plate.blemish", "--method", "auto", "--format", "jsonl"],
    )
    .assert();
    assert!(rows(&folder.success()).iter().all(|row| row["transductive"] == false));
    command(home, &["score", "p", "--profile", "plate.blemish", "--method", "mutual"])
        .assert()
        .code(2)
        .stderr(contains("--method: a profile brings its own"));
}
