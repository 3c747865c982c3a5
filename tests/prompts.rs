//! `blemish prompts` and prompt files as a user sees them.

mod common;

use std::path::Path;

use blemish::prompt::{Role, TextCache};
use blemish::{BitDepth, Clip, Detector, Photo, Product, Prompts};
use common::{blemish, copy_of, fixture, photo};
use proptest::prelude::*;
use serde_json::Value;
use tempfile::tempdir;

const GOOD: &str = r#"
normal = ["{}"]
anomalous = ["damaged {}"]
templates = ["a photo of a {}."]
kind_states = ["{} with {kind}"]
[[defect]]
name = "scratch"
states = ["scratched {}"]
[[ignore]]
name = "oil"
"#;

fn message(text: &[u8]) -> String {
    let error = Prompts::parse(text, "p.toml").unwrap_err();
    assert!(error.is_usage());
    let message = error.to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn every_mistake_in_a_file_is_placed_and_named() {
    assert!(Prompts::parse(GOOD.as_bytes(), "p.toml").is_ok());
    let cases: &[(&str, &str, &str)] = &[
        ("normal = ", "normal : ", "p.toml:2:8: "),
        ("templates", "template", "p.toml:4:1: unknown key \"template\"; did you mean templates?"),
        (
            "states = [\"s",
            "state = [\"s",
            "p.toml:8:1: unknown key \"state\"; did you mean states?",
        ),
        ("kind_states", "qqq", "unknown key \"qqq\"; known are product, normal"),
        ("[\"{}\"]", "[]", "p.toml: normal is empty"),
        ("normal = [\"{}\"]", "", "missing field `normal`"),
        ("\"{}\"", "3", "p.toml:2:11: invalid type: integer `3`, expected a string"),
        ("[\"{}\"]", "\"{}\"", "p.toml:2:10: invalid type: string"),
        ("damaged {}", "damaged", "p.toml:3:14: anomalous: \"damaged\" must hold {} exactly once"),
        ("damaged {}", "{} {}", "must hold {} exactly once"),
        ("{kind}", "kind", "must hold {kind} exactly once"),
        ("damaged {}", "damaged\\n{}", "plain words on one line"),
        ("damaged {}", "  ", "plain words on one line"),
        ("damaged {}", "kaputtes Überding {}", "p.toml:3:14: \"Überding\" is not in the lexicon"),
        ("\"scratch\"", "\"oil\"", "the name \"oil\" stands for another entry"),
        ("\"scratch\"", "\"a,b\"", "p.toml:7:8: a name is plain words"),
        ("[\"scratched {}\"]", "[]", "scratch: states is empty"),
        ("kind_states = [\"{} with {kind}\"]", "", "oil: has no states"),
        (
            "\"oil\"",
            "\"oil\"\nmargin = 2.0",
            "p.toml:11:10: margin must be at least 0 and below 0.5",
        ),
        ("\"oil\"", "\"oil\"\n[translate]\nx = \"ü\"", "p.toml:12:5: \"x\" must stand for"),
    ];
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "{from}");
        let found = message(GOOD.replacen(from, to, 1).as_bytes());
        assert!(found.contains(expected), "{to}: {found}");
    }
    let long = "x".repeat(1 << 20);
    let key = format!("{} = 1", &long[..1000]);
    assert!(message(key.as_bytes()).len() < 300);
    assert!(message(long.as_bytes()).contains("p.toml:1:"));
    assert!(message(format!("{GOOD}{long}").as_bytes()).contains("larger than 1 MiB"));
    let line = GOOD.replacen("damaged", &long[..2000], 1);
    assert!(message(line.as_bytes()).contains("a text of 2003 bytes"));
    assert!(message(b"normal = [\"\xff\"]").contains("line 1 is not UTF-8"));
    let many: String = (0..10_000).map(|i| format!("\"{{}} {i}\",")).collect();
    let many = GOOD.replacen("\"damaged {}\"", &many, 1);
    assert!(message(many.as_bytes()).contains("makes 10003 prompts, more than 8192"));
    assert!(message("[".repeat(10_000).as_bytes()).starts_with("p.toml"));
}

/// Something like a prompt file: known and unknown keys, right and wrong values.
fn any_file() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("normal".to_string()),
        Just("anomalous".to_string()),
        Just("templates".to_string()),
        Just("kind_states".to_string()),
        Just("product".to_string()),
        Just("name".to_string()),
        Just("states".to_string()),
        Just("margin".to_string()),
        Just("[[defect]]\nname".to_string()),
        Just("[[ignore]]\nname".to_string()),
        Just("[translate]\nx".to_string()),
        "\\PC{0,12}",
    ];
    let text = prop_oneof![
        Just("\"{}\"".to_string()),
        Just("\"{} with {kind}\"".to_string()),
        "\"[a-z{}긁힘ßÄ ]{0,20}\"",
        "\\PC{0,20}",
    ];
    let value = prop_oneof![
        prop::collection::vec(text.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(","))),
        text,
        any::<f64>().prop_map(|x| format!("{x:?}")),
    ];
    prop::collection::vec((key, value), 0..10)
        .prop_map(|lines| lines.into_iter().map(|(k, v)| format!("{k} = {v}\n")).collect())
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in any_file(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for bytes in [text.as_bytes(), &bytes, format!("{GOOD}{text}").as_bytes()] {
            match Prompts::parse(bytes, "p.toml") {
                Ok(prompts) => drop(prompts.expand(&["part".into()]).unwrap()),
                Err(error) => prop_assert!(error.to_string().lines().count() == 1),
            }
        }
    }
}

#[test]
fn the_shipped_files_expand_to_the_references_prompts() {
    let expand = |file: &str, name: &str| -> Vec<(Role, Vec<String>)> {
        let prompts = Prompts::open(file).unwrap();
        let groups = prompts.expand(&[name.to_string()]).unwrap();
        let texts = |list: Vec<blemish::prompt::Prompt>| list.into_iter().map(|p| p.text).collect();
        groups.into_iter().map(|(role, _, list)| (role, texts(list))).collect()
    };
    let golden = std::fs::read(fixture("winclip/prompts.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    for (role, list) in expand("winclip", golden["class_name"].as_str().unwrap()) {
        let expected = &golden[if role == Role::Normal { "normal" } else { "anomalous" }];
        assert_eq!(serde_json::json!(list), *expected);
    }
    let april = expand("april-gan", "metal_nut");
    assert_eq!((april[0].1.len(), april[1].1.len()), (7 * 35, 5 * 35));
    assert_eq!(april[0].1[0], "a bad photo of a metal_nut.");
    assert_eq!(april[1].1[5 * 35 - 1], "this is one metal_nut with damage in the scene.");
    assert_eq!(expand("inspection", "nut").len(), 2);
}

#[test]
fn the_same_words_give_the_same_bits_however_they_are_encoded() {
    let folder = tempdir().unwrap();
    let clip = Clip::load("tiny").unwrap();
    let prompts = Prompts::open("inspection").unwrap();
    let bits = |prompts: &Prompts, cache: &TextCache| -> Vec<u32> {
        let names = ["metal nut".to_string()];
        let product = Product::with_synonyms(&clip, &names, prompts, cache).unwrap();
        let all = std::iter::once(product.normal()).chain(product.kinds());
        all.flat_map(|kind| common::values(&kind.embeddings)).map(f32::to_bits).collect()
    };
    let fresh = bits(&prompts, &TextCache::in_memory());
    let disk = TextCache::in_folder(folder.path());
    assert_eq!(fresh, bits(&prompts, &disk));
    assert_eq!(fresh, bits(&prompts, &TextCache::in_folder(folder.path())), "read back");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    // One sentence at a time, in other company.
    let apart = TextCache::in_memory();
    for template in ["a photo of a {}.", "a dark photo of a {}."] {
        let text = std::fs::read_to_string("prompts/inspection.toml").unwrap();
        let (before, after) = text.split_once("templates = [").unwrap();
        let (_, after) = after.split_once(']').unwrap();
        let one = format!("{before}templates = [{template:?}]{after}");
        bits(&Prompts::parse(one.as_bytes(), "one").unwrap(), &apart);
    }
    assert_eq!(fresh, bits(&prompts, &apart));
    // Another tokenizer is another entry of the cache.
    let copy = copy_of("clip/gelu/hf");
    let path = copy.path().to_str().unwrap();
    let names = ["nut".to_string()];
    let count = || std::fs::read_dir(folder.path()).unwrap().count();
    Product::with_synonyms(&Clip::load(path).unwrap(), &names, &prompts, &disk).unwrap();
    let before = count();
    let file = copy.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n")).unwrap();
    Product::with_synonyms(&Clip::load(path).unwrap(), &names, &prompts, &disk).unwrap();
    assert_eq!(count(), before + 2);
}

#[test]
fn explaining_is_exact() {
    let clip = std::sync::Arc::new(Clip::load("tiny").unwrap());
    let detector = Detector::new(clip.clone());
    let path = fixture("tiny/samples/corduroy/test/glue/000.png");
    let photo = Photo::open(path, BitDepth::default()).unwrap();
    let seen = detector.encode(&detector.prepare(&photo)).unwrap();
    let file = |anomalous: &str| {
        let text = format!(
            "normal = [\"{{}}\", \"flawless {{}}\"]\nanomalous = [{anomalous}]\n\
             templates = [\"a photo of a {{}}.\"]"
        );
        Product::new(&clip, "corduroy", &Prompts::parse(text.as_bytes(), "p").unwrap()).unwrap()
    };
    let whole = file("\"damaged {}\", \"{} with glue\"");
    let explanation = detector.explain(&seen, &whole).unwrap();
    let score = |product: &Product| detector.score(&seen, product).unwrap().score;
    assert_eq!(explanation.score, score(&whole));
    let of = |text: &str| explanation.effects.iter().filter(|e| e.text == text).collect::<Vec<_>>();
    let glue = of("{} with glue");
    assert_eq!(glue.len(), 1);
    assert_eq!(glue[0].score, score(&whole) - score(&file("\"damaged {}\"")));
    assert!(glue[0].score > 0.0, "there is glue: {}", glue[0].score);
    assert!(of("a photo of a {}.").is_empty(), "the only template cannot be left out");
    assert_eq!(of("a photo of a corduroy with glue.")[0].score, glue[0].score);
    let (x, y) = explanation.peak_at;
    let (peak_x, peak_y, _) = detector.score(&seen, &whole).unwrap().map.peak();
    assert!(x.abs_diff(peak_x) < 17 && y.abs_diff(peak_y) < 17);
}

fn rows(stdout: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn defects_are_told_apart_restricted_and_ignored() {
    let home = tempdir().unwrap();
    let image = fixture("tiny/samples/perforated_plate/test/rust/000.png");
    let out = home.path().join("out");
    let score = |arguments: &[&str]| {
        let assert = blemish(home.path())
            .args(["score", "--product", "perforated plate", "--prompts", "inspection"])
            .args(arguments)
            .arg(&image)
            .assert()
            .success();
        rows(&assert.get_output().stdout).remove(0)
    };
    let out_flags = ["--save-map", "--out", out.to_str().unwrap()];
    let both = score(&[&["--detect", "red rust,crack"][..], &out_flags].concat());
    let defects = both["defects"].as_array().unwrap();
    assert_eq!((&defects[0]["name"], &defects[1]["name"]), (&"red rust".into(), &"crack".into()));
    let value = |row: &Value, field: &str| row[field].as_f64().unwrap();
    let best = value(&defects[0], "score").max(value(&defects[1], "score"));
    assert_eq!(value(&both, "score"), best, "the score is that of the kind that fits best");
    assert!(value(&defects[0], "score") > value(&defects[1], "score"), "{both}");
    for defect in defects {
        let map = defect["map"].as_str().unwrap();
        assert!(Path::new(map).is_file(), "{map}");
    }
    assert!(out.join("000.defects/red-rust.tiff").is_file() && out.join("000.tiff").is_file());

    let plain = image::open(out.join("000.png")).unwrap().into_rgb8();
    // It competes with what counts.
    let ignored = score(&[&["--detect", "crack", "--ignore", "red rust"][..], &out_flags].concat());
    assert_eq!(ignored["discounted_by"], "red rust");
    assert!(value(&ignored, "score") < value(&ignored, "score_before_ignoring"), "{ignored}");
    assert!(value(&ignored["ignored"][0], "area") > 0.0);
    let hatched = image::open(out.join("000.png")).unwrap().into_rgb8();
    let is_hatch = |p: &image::Rgb<u8>| p.0 == [90, 200, 250];
    assert!(hatched.pixels().any(is_hatch) && !plain.pixels().any(is_hatch));

    let translated = score(&["--detect", "긁힘"]);
    assert_eq!(translated["defects"][0]["english"], "scratch");
    assert_eq!(translated["defect"], "긁힘");
}

#[test]
fn names_that_cannot_be_used_are_refused() {
    let home = tempdir().unwrap();
    let image = home.path().join("p.png");
    photo(&image, 40, 40);
    let file = home.path().join("my.toml");
    std::fs::write(&file, GOOD).unwrap();
    let file = file.to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (
            &["--detect", "scratch"],
            "april-gan has no entries of this kind, and no kind_states for new words; use",
        ),
        (&["--prompts", file, "--detect", "scrach"], "did you mean scratch?"),
        (&["--prompts", file, "--detect", "oil"], "has this name for something else"),
        (&["--prompts", file, "--ignore", "Ölfülm"], "not in the lexicon"),
        (&["--product", "Überding"], "\"Überding\" is not in the lexicon"),
        (&["--prompts", file, "--detect", ""], "give plain words"),
        (
            &["--prompts", file, "--detect", "dirt", "--ignore", "Dirt"],
            "--ignore Dirt: is named twice",
        ),
    ];
    for (arguments, expected) in cases {
        let product: &[&str] =
            if arguments[0] == "--product" { &[] } else { &["--product", "nut"] };
        let assert =
            blemish(home.path()).arg("score").args(product).args(*arguments).arg(&image).assert();
        let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(
            stderr.contains(expected) && stderr.lines().count() == 1,
            "{arguments:?}: {stderr}"
        );
        assert.code(2);
    }
    blemish(home.path())
        .args(["score", "--prompts", file])
        .arg(&image)
        .assert()
        .code(2)
        .stderr(predicates::str::contains("--product: give the product a name"));
}

#[test]
fn new_check_and_show_lead_from_a_copy_to_a_score() {
    let home = tempdir().unwrap();
    let file = home.path().join("my.toml");
    let prompts = |arguments: &[&str]| {
        let mut command = blemish(home.path());
        command.arg("prompts").args(arguments);
        command
    };
    let path = file.to_str().unwrap();
    prompts(&["new", path]).assert().success().stdout("");
    prompts(&["new", path]).assert().code(2).stderr(predicates::str::contains("is there already"));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("# product =", "product =")).unwrap();
    let show = prompts(&["show", path]).assert().success();
    let shown = String::from_utf8(show.get_output().stdout.clone()).unwrap();
    assert!(shown.starts_with("normal\ta photo of a metal nut.\n"));
    assert!(shown.contains("anomalous\ta dark photo of a hex nut with damage.\n"));
    let check = |arguments: &[&str]| {
        let assert = prompts(arguments).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    assert!(check(&["check", path]).contains("normal: 5 states, 80 prompts"));
    let doubtful = check(&["check", "winclip", "--product", "nut"]);
    assert!(
        doubtful.contains("warning: \"a jpeg corrupted photo of the {}.\" is in templates twice"),
        "{doubtful}"
    );
    let long = "very ".repeat(40) + "large nut";
    assert!(check(&["check", "winclip", "--product", &long]).contains("lose their end"));
    std::fs::write(&file, GOOD.replace("[\"scratched {}\"]", "[\"{} with oil\"]")).unwrap();
    let alike = check(&["check", path, "--product", "nut"]);
    assert!(
        alike.contains("\"scratch\" and \"oil\" are almost the same to this model (cosine 1.0000)")
    );
}

#[test]
fn explain_says_which_words_matter() {
    let home = tempdir().unwrap();
    let image = fixture("tiny/samples/leather/test/glue/000.png");
    let explain = |arguments: &[&str]| {
        let assert = blemish(home.path())
            .args(["prompts", "explain", "winclip", "--product", "leather"])
            .arg(&image)
            .args(arguments)
            .assert()
            .success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    assert!(explain(&[]).contains("Effect of each state on score and hottest patch (10 of 11)"));
    let json: Value = serde_json::from_str(&explain(&["--format", "json"])).unwrap();
    let effects = json["photos"][0]["effects"].as_array().unwrap();
    // 11 states, 20 templates that differ, and 11 x 20 sentences.
    assert_eq!(effects.len(), 11 + 20 + 220);
    assert!(effects.iter().all(|e| e["score"].is_f64() && e["hottest"].is_f64()));
    assert!(json["never_matter"].is_array());
}

#[cfg(unix)]
#[test]
fn watch_scores_again_what_was_saved_and_outlives_mistakes() {
    use std::io::{BufRead, BufReader};
    let home = tempdir().unwrap();
    let file = home.path().join("my.toml");
    std::fs::write(&file, GOOD).unwrap();
    for i in 0..3 {
        photo(&home.path().join(format!("photos/{i}.png")), 60, 60);
    }
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_blemish"))
        .args(["prompts", "watch", "--product", "nut"])
        .args([&file, &home.path().join("photos")])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut results = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = || -> Vec<Value> {
        (0..3).map(|_| serde_json::from_str(&results.next().unwrap().unwrap()).unwrap()).collect()
    };
    let mut note = |expected: &str| {
        let found = notes.by_ref().map(Result::unwrap).find(|line| line.contains(expected));
        found.unwrap_or_else(|| panic!("no {expected:?}"))
    };
    let first = next();
    assert!(first.iter().all(|row| row["before"].is_null()));
    note("watching");
    let other = GOOD.replace("damaged {}", "very dirty {}").replace("scratched {}", "worn {}");
    std::fs::write(&file, other).unwrap();
    let second = next();
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(a["after"], b["before"]);
        assert_ne!(b["after"], b["before"]);
    }
    std::fs::write(&file, GOOD.replace("damaged {}", "damaged")).unwrap();
    assert!(note("last good version").contains("must hold {} exactly once"));
    // An editor that writes beside the file and renames.
    let beside = home.path().join("my.toml~");
    std::fs::write(&beside, GOOD).unwrap();
    std::fs::rename(&beside, &file).unwrap();
    for (a, c) in first.iter().zip(next()) {
        assert_eq!(a["after"], c["after"]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A cache costs time, never results: whatever is in an entry, scores stay.
#[test]
fn altered_entries_of_the_cache_change_nothing() {
    let home = tempdir().unwrap();
    let cache = home.path().join("cache/text");
    let image = fixture("tiny/samples/leather/test/glue/000.png");
    let score = || {
        let mut command = blemish(home.path());
        command.args(["score", "-q", "--product", "leather", "--format", "jsonl"]).arg(&image);
        let output = command.assert().success().stderr("");
        let row: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
        row["score"].clone()
    };
    let right = score();
    let entries = || -> Vec<std::path::PathBuf> {
        let mut files: Vec<_> =
            std::fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    };
    let files = entries();
    assert!(files.len() >= 2);
    let whole: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    for at in [0, 40, 64, 70, 200, 5000, whole[0].len() - 1] {
        for (file, bytes) in files.iter().zip(&whole) {
            let mut bytes = bytes.clone();
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 0x40;
            std::fs::write(file, bytes).unwrap();
        }
        assert_eq!(score(), right, "byte {at}");
    }
    // Another entry's content, a cut one, an empty one.
    std::fs::copy(&files[1], &files[0]).unwrap();
    assert_eq!(score(), right);
    std::fs::write(&files[0], &whole[0][..whole[0].len() / 2]).unwrap();
    std::fs::write(&files[1], "").unwrap();
    assert_eq!(score(), right);
    assert_eq!(entries().len(), files.len(), "they are mended in place");
    let mended: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(mended == whole);
}
