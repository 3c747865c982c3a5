//! `blemish score` as a user sees it.

mod common;

use std::path::Path;

use common::{blemish, fixture, photo};
use predicates::str::contains;
use serde_json::Value;
use tempfile::tempdir;

fn rows(stdout: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The files below a folder, but the file that marks results.
fn files_below(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap)
        .filter(|e| e.file_type().is_file() && e.file_name() != ".blemish")
        .map(|e| e.path().strip_prefix(folder).unwrap().to_string_lossy().replace('\\', "/"))
        .collect();
    names.sort();
    names
}

#[test]
fn scores_a_folder_and_mirrors_it_in_out() {
    let home = tempdir().unwrap();
    let photos = home.path().join("photos");
    for name in ["a/1.png", "a/2.JPG", "b/deep/3.webp", "b/4.bmp", "b/5.tif"] {
        photo(&photos.join(name), 60, 40);
    }
    std::fs::write(photos.join("notes.txt"), "not a photo").unwrap();
    // The folder of results may lie among the photos without being scored the next time.
    let out = photos.join("out");
    for _ in 0..2 {
        let assert = blemish(home.path())
            .args(["score", "--product", "metal nut", "--save-map"])
            .arg(&photos)
            .arg("--out")
            .arg(&out)
            .assert()
            .success()
            .stderr(contains("note: not read: 1 .txt"))
            .stderr(contains("5 of 5 photos were scored by april-gan\n"));
        let rows = rows(&assert.get_output().stdout);
        assert_eq!(rows.len(), 5);
        for row in &rows {
            for field in ["path", "product", "score", "model", "method"] {
                assert!(!row[field].is_null(), "{field}");
            }
            assert_eq!((&row["width"], &row["height"]), (&60.into(), &40.into()));
            assert_eq!((&row["model"], &row["method"]), (&"tiny".into(), &"april-gan".into()));
            assert_eq!(row["model_sha256"].as_str().unwrap().len(), 64);
            let score = row["score"].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&score));
            assert!(row["peak_x"].as_u64().unwrap() < 60 && row["peak_y"].as_u64().unwrap() < 40);
        }
        let expected = ["a/1", "a/2", "b/4", "b/5", "b/deep/3"];
        let expected: Vec<String> =
            expected.iter().flat_map(|f| [format!("{f}.png"), format!("{f}.tiff")]).collect();
        let (page, pictures): (Vec<_>, Vec<_>) =
            files_below(&out).into_iter().partition(|file| file.starts_with("index"));
        assert_eq!(pictures, expected);
        assert_eq!(page.len(), 1 + 2 * 5, "the page, and for each photo a small photo and map");
    }
    let overlay = image::open(out.join("a/1.png")).unwrap();
    assert_eq!((overlay.width(), overlay.height()), (60, 56), "with a strip below");
}

#[test]
fn the_map_and_the_row_agree_about_the_peak() {
    let home = tempdir().unwrap();
    let out = home.path().join("out");
    let image = fixture("tiny/samples/leather/test/glue/000.png");
    let assert = blemish(home.path())
        .args(["score", "--product", "leather", "--save-map", "--out"])
        .args([&out, &image])
        .assert()
        .success();
    let row = &rows(&assert.get_output().stdout)[0];
    let file = std::fs::File::open(out.join("000.tiff")).unwrap();
    let mut decoder = tiff::decoder::Decoder::new(file).unwrap();
    let (width, _) = decoder.dimensions().unwrap();
    let tiff::decoder::DecodingResult::F32(map) = decoder.read_image().unwrap() else {
        panic!("float32");
    };
    let (x, y) = (row["peak_x"].as_u64().unwrap(), row["peak_y"].as_u64().unwrap());
    let peak = map[(y * u64::from(width) + x) as usize];
    assert_eq!(peak, row["peak"].as_f64().unwrap() as f32);
    assert_eq!(peak, map.iter().copied().fold(0.0, f32::max));
}

#[test]
fn the_same_photo_scores_the_same_in_every_way_of_asking() {
    let home = tempdir().unwrap();
    let image = fixture("tiny/samples/zipper/test/stain/000.png");
    let score = |arguments: &[&str]| {
        let assert = blemish(home.path())
            .args(["score", "--product", "zipper"])
            .args(arguments)
            .assert()
            .success();
        rows(&assert.get_output().stdout)
            .into_iter()
            .map(|r| r["score"].clone())
            .collect::<Vec<_>>()
    };
    let path = image.to_str().unwrap();
    let alone = score(&[path]);
    // The second run reads the words from the cache.
    assert_eq!(alone, score(&[path, "--threads", "1"]));
    let good = fixture("tiny/samples/zipper/test/good/000.png");
    let both = score(&[good.to_str().unwrap(), path, path]);
    assert_eq!(both.len(), 2, "a photo that is named twice is scored once");
    assert_eq!(both[1], alone[0]);
    let pattern = fixture("tiny/samples/zipper/test/*/0*.png");
    assert_eq!(score(&[pattern.to_str().unwrap()]).len(), 2);
}

#[test]
fn a_defect_scores_higher_than_a_good_part() {
    let home = tempdir().unwrap();
    let score = |name: &str| {
        let assert = blemish(home.path())
            .args(["score", "--product", "leather"])
            .arg(fixture("tiny/samples/leather/test").join(name))
            .assert()
            .success();
        rows(&assert.get_output().stdout)[0]["score"].as_f64().unwrap()
    };
    let (glue, good) = (score("glue"), score("good"));
    assert!(glue > good, "{glue} {good}");
}

#[test]
fn bad_photos_are_reported_and_the_others_scored() {
    let home = tempdir().unwrap();
    let photos = home.path().join("photos");
    photo(&photos.join("good.png"), 50, 50);
    photo(&photos.join("tiny.png"), 1, 1);
    std::fs::write(photos.join("empty.png"), "").unwrap();
    std::fs::write(photos.join("text.png"), "this is no image").unwrap();
    let whole = std::fs::read(photos.join("good.png")).unwrap();
    std::fs::write(photos.join("cut.png"), &whole[..whole.len() / 2]).unwrap();
    photo(&photos.join("whole.jpg"), 80, 80);
    let whole = std::fs::read(photos.join("whole.jpg")).unwrap();
    std::fs::write(photos.join("half.jpg"), &whole[..whole.len() / 2]).unwrap();
    // A PNG of a few bytes that says it has 20,000 x 20,000 pixels.
    std::fs::write(photos.join("bomb.png"), png_header(20_000, 20_000)).unwrap();
    let out = home.path().join("out");
    let assert = blemish(home.path())
        .args(["score", "--product", "nut", "--out"])
        .arg(&out)
        .arg(&photos)
        .arg(home.path().join("missing.png"))
        .assert()
        .code(1);
    let stderr = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    let expected = [
        ("bomb.png", "megapixels; cut the photo into tiles"),
        ("cut.png", "damaged or cut short"),
        ("empty.png", "the file is empty"),
        ("half.jpg", "cut short"),
        ("missing.png", "cannot read: No such file"),
        ("text.png", "not an image that can be read"),
        ("tiny.png", "1x1 pixels are too few"),
    ];
    for (file, why) in expected {
        let lines: Vec<&str> = stderr.lines().filter(|line| line.contains(file)).collect();
        assert!(lines.len() == 1 && lines[0].contains(why), "{file}: {stderr}");
    }
    // The page and the closing line come after.
    assert_eq!(stderr.lines().count(), expected.len() + 2, "{stderr}");
    assert_eq!(rows(&assert.get_output().stdout).len(), 2);
    let mut pictures = files_below(&out);
    pictures.retain(|file| !file.starts_with("index"));
    assert_eq!(pictures, ["photos/good.png", "photos/whole.png"]);
}

/// A PNG with a header and almost no data.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 0x03, 0x00]).unwrap();
    drop(writer);
    file
}

#[test]
fn mistakes_in_the_command_are_said_in_one_line_with_exit_code_2() {
    let home = tempdir().unwrap();
    let photo_file = home.path().join("p.png");
    photo(&photo_file, 40, 40);
    let bad_prompts = home.path().join("p.toml");
    std::fs::write(&bad_prompts, "normal = 3").unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["--model", "ViT-L-14-366"], "did you mean ViT-L-14-336"),
        (&["--model", "/no/such/folder"], "neither a known name"),
        (&["--size", "250"], "try 240 or 256"),
        (&["--method", "winclip", "--size", "32"], "does not fit the 2x2 grid"),
        (&["--threads", "0"], "at least 1"),
        (&["--bit-depth", "7"], "between 8 and 16"),
        (&["--prompts", bad_prompts.to_str().unwrap()], "p.toml:1:10: invalid type"),
        (&["--prompts", "/no/such.toml"], "/no/such.toml: cannot read"),
        (&["--product", "{}"], "plain words"),
        // Results would land on the photo itself.
        (&["--out", home.path().to_str().unwrap()], "would overwrite the photo"),
    ];
    for (arguments, expected) in cases {
        let assert = blemish(home.path())
            .args(["score", "--product", "nut"])
            .arg(&photo_file)
            .args(*arguments)
            .assert();
        let output = assert.get_output();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains(expected) && stderr.lines().count() == 1,
            "{arguments:?}: {stderr}"
        );
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn nothing_to_score_is_a_failure() {
    let home = tempdir().unwrap();
    for (input, expected) in [("", "no photos in this folder"), ("*.png", "no file matches")] {
        blemish(home.path())
            .args(["score", "--product", "nut"])
            .arg(home.path().join(input))
            .assert()
            .code(1)
            .stderr(contains(expected));
    }
}

#[test]
fn the_crop_says_what_it_did_not_look_at() {
    let home = tempdir().unwrap();
    let file = home.path().join("wide.png");
    photo(&file, 300, 100);
    let assert = blemish(home.path())
        .args(["score", "--product", "nut", "--fit", "crop"])
        .arg(&file)
        .assert()
        .success();
    let row = &rows(&assert.get_output().stdout)[0];
    assert!((row["coverage"].as_f64().unwrap() - 1.0 / 3.0).abs() < 0.01);
    assert!((100..200).contains(&row["peak_x"].as_u64().unwrap()));
}

#[test]
fn a_photo_of_any_shape_is_scored() {
    let home = tempdir().unwrap();
    for (width, height) in [(2000, 16), (16, 2000), (17, 16), (33, 500)] {
        photo(&home.path().join(format!("photos/{width}x{height}.png")), width, height);
    }
    for fit in ["squash", "letterbox", "crop"] {
        let out = home.path().join(fit);
        let assert = blemish(home.path())
            .args(["score", "--product", "nut", "--fit", fit, "--no-strip", "--out"])
            .args([&out, &home.path().join("photos")])
            .assert()
            .success();
        for row in rows(&assert.get_output().stdout) {
            let name = format!("{}x{}", row["width"], row["height"]);
            let overlay = image::image_dimensions(out.join(format!("{name}.png"))).unwrap();
            assert_eq!(format!("{}x{}", overlay.0, overlay.1), name);
            let whole = row["coverage"] == 1.0;
            assert_eq!(whole, fit != "crop", "{name} {fit}: {}", row["coverage"]);
        }
        assert_eq!(files_below(&out).len(), 4 + 1 + 2 * 4, "with the page and its pictures");
    }
}

#[test]
fn csv_and_table_are_to_be_had() {
    let home = tempdir().unwrap();
    let file = home.path().join("p.png");
    photo(&file, 40, 40);
    let run = |format: &str| {
        let assert = blemish(home.path())
            .args(["score", "--product", "nut", "--format", format])
            .arg(&file)
            .assert()
            .success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    assert!(run("csv").starts_with("schema,path,product,score,"));
    // Without a profile there is no verdict, and without named kinds no defect.
    let table = run("table");
    assert_eq!(
        table.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" "),
        "score peak at pixels photo"
    );
}

#[test]
fn the_table_has_the_highest_scores_first() {
    let home = tempdir().unwrap();
    let home = home.path();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pictures");
    let table = |more: &[&str]| {
        let mut command = blemish(home);
        command.args(["score", "--product", "surface", "--format", "table"]).arg(&pictures);
        let found = command.args(more).assert().success();
        let text = String::from_utf8(found.get_output().stdout.clone()).unwrap();
        let name = |line: &str| line.rsplit('/').next().unwrap().to_string();
        text.lines().skip(1).map(name).collect::<Vec<_>>()
    };
    let by_score = table(&[]);
    assert!(by_score[..3].iter().all(|name| name != "good.png"), "{by_score:?}");
    assert!(by_score[3..].iter().all(|name| name == "good.png"), "{by_score:?}");
    assert_eq!(table(&["--top", "2"]), by_score[..2]);
    let by_name =
        ["good.png", "stain.png", "good.png", "scratch.png", "good.png", "hole.png"].to_vec();
    assert_eq!(table(&["--sort", "name"]), by_name);
    let mut command = blemish(home);
    command.args(["score", "--product", "x", "--top", "2"]).arg(&pictures);
    command.assert().code(2).stderr(contains("--top: is for the table; add --format table"));
}

#[test]
fn a_list_names_the_photos() {
    let home = tempdir().unwrap();
    let home = home.path();
    for name in ["a.png", "b c.png", "d.png"] {
        photo(&home.join(name), 40, 40);
    }
    std::fs::write(home.join("list"), "a.png\n\nb c.png\r\n").unwrap();
    std::fs::write(home.join("empty"), "\n").unwrap();
    let run = |args: &[&str], stdin: &'static str| {
        let mut command = blemish(home);
        command.current_dir(home).args(["score", "--product", "x"]).args(args);
        command.write_stdin(stdin).assert()
    };
    let names = |assert: assert_cmd::assert::Assert| {
        let rows = rows(&assert.success().get_output().stdout);
        rows.iter().map(|row| row["path"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(run(&["--files-from", "list"], "")), ["a.png", "b c.png"]);
    assert_eq!(names(run(&["d.png", "--files-from", "-"], "a.png")), ["d.png", "a.png"]);
    run(&["--files-from", "empty"], "")
        .code(2)
        .stderr(contains("--files-from empty: holds no path"));
    run(&["--files-from", "-", "--prompts", "-"], "a.png")
        .code(2)
        .stderr(contains("the prompts too"));
    run(&["--files-from", "none"], "").code(1).stderr(contains("none: cannot read"));
    run(&[], "").code(2);
}

#[cfg(unix)]
#[test]
fn a_full_disk_costs_the_picture_and_not_the_score() {
    let home = tempdir().unwrap();
    for name in ["1.png", "2.png"] {
        photo(&home.path().join("photos").join(name), 200, 200);
    }
    // No file may grow beyond 1,024 bytes: a write fails half-way, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 2; exec \"$@\"";
    let assert = assert_cmd::Command::new("bash")
        .args([
            "-c",
            script,
            "sh",
            env!("CARGO_BIN_EXE_blemish"),
            "score",
            "--product",
            "nut",
            "--out",
        ])
        .arg(home.path().join("out"))
        .arg(home.path().join("photos"))
        .env("BLEMISH_CACHE", home.path().join("cache"))
        .assert()
        .code(1);
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert_eq!(stderr.matches("cannot write").count(), 2, "{stderr}");
    let rows = rows(&assert.get_output().stdout);
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["overlay"].is_null()));
    assert_eq!(files_below(&home.path().join("out")), Vec::<String>::new());
}

#[test]
fn results_that_cannot_be_written_are_a_failure_said_at_once() {
    let home = tempdir().unwrap();
    let file = home.path().join("p.png");
    photo(&file, 40, 40);
    blemish(home.path())
        .args(["score", "--product", "nut", "--out"])
        .arg(file.join("below-a-file"))
        .arg(&file)
        .assert()
        .code(1)
        .stdout("")
        .stderr(contains("cannot write"));
    #[cfg(target_os = "linux")]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = std::process::Command::new(env!("CARGO_BIN_EXE_blemish"))
            .args(["score", "--product", "nut"])
            .arg(&file)
            .env("BLEMISH_CACHE", home.path())
            .stdout(full)
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(1));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_whole_files_only() {
    use std::io::BufRead;
    let home = tempdir().unwrap();
    for i in 0..40 {
        photo(&home.path().join(format!("photos/{i}.png")), 400, 300);
    }
    let out = home.path().join("out");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_blemish"))
        .args(["score", "--product", "nut", "--save-map", "--out"])
        .args([&out, &home.path().join("photos")])
        .env("BLEMISH_CACHE", home.path().join("cache"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let files = files_below(&out);
    let maps = files.iter().filter(|file| file.ends_with(".tiff")).count();
    assert!((1..40).contains(&maps), "{maps}");
    for file in files {
        let path = out.join(&file);
        match path.extension().and_then(|e| e.to_str()) {
            Some("png" | "jpg") => drop(image::open(&path).unwrap()),
            Some("html") => {
                assert!(std::fs::read_to_string(&path).unwrap().ends_with("</html>"));
            }
            Some("tiff") => {
                let file = std::fs::File::open(&path).unwrap();
                tiff::decoder::Decoder::new(file).unwrap().read_image().unwrap();
            }
            _ => panic!("{file}"),
        }
    }
}

#[test]
fn results_of_an_earlier_run_are_left_out_and_flags_of_other_commands_are_named() {
    let home = tempdir().unwrap();
    let home = home.path();
    (0..2).for_each(|i| photo(&home.join(format!("photos/{i}.png")), 40, 40));
    let run = |args: &[&str]| {
        let mut command = blemish(home);
        command.current_dir(home).args(["score", "--product", "nut"]).args(args).assert()
    };
    run(&["photos", "--out", "photos/results"]).success();
    let assert = run(&["photos"]).success().stderr(contains("not read: 1 folder of results"));
    assert_eq!(rows(&assert.get_output().stdout).len(), 2);
    // Who asks for the heat maps gets them.
    let assert = run(&["photos/results"]).success();
    assert_eq!(rows(&assert.get_output().stdout).len(), 2);
    // A page of somebody else is not replaced.
    std::fs::create_dir(home.join("web")).unwrap();
    std::fs::write(home.join("web/index.html"), "<html>mine").unwrap();
    run(&["photos", "--out", "web"]).code(2).stderr(contains("is no page of blemish"));
    // What needs a profile is refused without one.
    for flag in [["--fail-on", "ng"], ["--copy-to", "sorted"], ["--false-alarm", "0.1"]] {
        run(&["photos", flag[0], flag[1]]).code(2).stderr(contains("needs --profile"));
    }
    run(&["photos", "--reference", "good"])
        .code(2)
        .stderr(contains("--reference is a flag of `blemish enroll`"));
}

#[test]
fn a_stopped_run_goes_on_in_its_file() {
    let home = tempdir().unwrap();
    let home = home.path();
    (0..5).for_each(|i| photo(&home.join(format!("photos/{i}.png")), 40 + i, 40));
    let run = |more: &[&str]| {
        let mut command = blemish(home);
        command.current_dir(home).args(["score", "photos", "--product", "nut"]);
        command.args(["--method", "april-gan", "--resume", "r.jsonl", "--out", "out"]);
        command.args(more).assert()
    };
    run(&[]).success().stdout("").stderr(contains("5 of 5 photos were scored by april-gan\n"));
    let whole = std::fs::read_to_string(home.join("r.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    // A run that was killed: two results, and the start of the third.
    std::fs::write(
        home.join("r.jsonl"),
        format!("{}\n{}\n{}", lines[0], lines[1], &lines[2][..50]),
    )
    .unwrap();
    run(&[])
        .success()
        .stderr(contains("3 of 3 photos were scored by april-gan, 2 were scored before"));
    let scores = |text: &str| -> Vec<Value> {
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| serde_json::json!([row["path"], row["score"]])).collect()
    };
    let again = std::fs::read_to_string(home.join("r.jsonl")).unwrap();
    assert_eq!(scores(&again), scores(&whole));
    // The page has them all.
    let page = std::fs::read_to_string(home.join("out/index.html")).unwrap();
    assert_eq!(page.matches("\"thumb\":\"index_files/").count(), 5);
    run(&["--fit", "crop"])
        .code(2)
        .stderr(contains("--resume r.jsonl: holds results of another fit"));
    let mut mutual = blemish(home);
    mutual.current_dir(home).args(["score", "photos", "--product", "nut", "--resume", "r.jsonl"]);
    mutual.assert().code(2).stderr(contains("each score depends on the other photos"));
}

#[test]
fn parts_of_a_folder_together_are_the_whole() {
    let home = tempdir().unwrap();
    let photos = home.path().join("photos");
    for i in 0..5 {
        photo(&photos.join(format!("{i}.png")), 40 + i, 40);
    }
    let score = |more: &[&str]| {
        let mut command = blemish(home.path());
        let command =
            command.args(["score", "--product", "nut", "-q", "--out"]).arg(home.path().join("out"));
        let found = rows(&command.arg(&photos).args(more).assert().success().get_output().stdout);
        found
            .into_iter()
            .map(|row| (row["path"].to_string(), row["score"].clone()))
            .collect::<Vec<_>>()
    };
    let whole = score(&[]);
    let mut parts: Vec<_> = [score(&["--shard", "0/2"]), score(&["--shard", "1/2"])].concat();
    assert_eq!(score(&["--shard", "1/2"]).len(), 2);
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(parts, whole);
}

/// The parts' results one after another are those of all photos: one header, on the first part.
#[test]
fn parts_of_a_table_have_one_header() {
    let home = tempdir().unwrap();
    (0..5).for_each(|i| photo(&home.path().join(format!("p/{i}.png")), 40, 40 + i));
    let score = |more: &[&str]| {
        let mut command = blemish(home.path());
        command.current_dir(home.path()).args(["score", "p", "--product", "nut"]).args(more);
        let output = command.args(["--method", "winclip", "-q"]).assert().success();
        String::from_utf8(output.get_output().stdout.clone()).unwrap()
    };
    // The time that a photo took is the only thing that differs.
    let plain = |text: String| -> Vec<String> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let time = reader.headers().unwrap().iter().position(|h| h == "milliseconds").unwrap();
        let rows = reader.records().map(|row| {
            let row = row.unwrap();
            let cells = row.iter().enumerate().filter(|(i, _)| *i != time);
            cells.map(|(_, cell)| cell.to_string()).collect::<Vec<_>>().join("|")
        });
        rows.collect()
    };
    for format in ["csv", "table"] {
        let format = ["--format", format];
        let whole = score(&format);
        let parts: Vec<String> = ["0/2", "1/2"]
            .iter()
            .map(|part| score(&[&format[..], &["--shard", part]].concat()))
            .collect();
        assert_eq!(parts.concat().lines().count(), whole.lines().count(), "{format:?}");
        if format[1] == "csv" {
            let (mut whole, mut all) = (plain(whole), plain(parts.concat()));
            whole.sort();
            all.sort();
            assert_eq!(all, whole);
        }
    }
}
