//! The program in bad company: killed at random moments, on a full disk, without memory or a home, with pipes and devices
//! where files are due, and with names that mean to harm.
#![cfg(unix)]

mod common;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{blemish, copy_tree, fixture, photo};
use predicates::str::contains;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tempfile::tempdir;

/// Long enough for any of these commands; what takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

fn run(home: &Path, arguments: &[&str]) -> assert_cmd::assert::Assert {
    blemish(home).current_dir(home).args(arguments).timeout(LIMIT).assert()
}

/// The program as a plain process, for signals and limits.
fn process(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blemish"));
    command
        .current_dir(home)
        .args(arguments)
        .env("HOME", home)
        .env("BLEMISH_CACHE", home.join("cache"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn photos(folder: &Path, count: u32) {
    (0..count).for_each(|i| photo(&folder.join(format!("{i:02}.png")), 60 + i, 50));
}

/// One line that begins as all messages do.
fn assert_one_line(stderr: &[u8]) -> String {
    let text = String::from_utf8(stderr.to_vec()).unwrap();
    assert!(text.lines().count() == 1 && text.starts_with("blemish: "), "{text}");
    text
}

#[test]
fn pipes_and_devices_where_files_are_due_are_refused_at_once() {
    let home = tempdir().unwrap();
    let home = home.path();
    photos(&home.join("p"), 9);
    let pipe = home.join("pipe.png");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(Command::new("mkfifo").arg(home.join("p/pipe.png")).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", home.join("zero.png")).unwrap();
    copy_tree("clip/gelu/hf", &home.join("model"));
    std::fs::remove_file(home.join("model/config.json")).unwrap();
    assert!(Command::new("mkfifo").arg(home.join("model/config.json")).status().unwrap().success());
    let enroll = ["enroll", "--product", "plate", "-o", "x.blemish", "--reference"];
    let score = ["score", "p/00.png", "--product", "plate"];
    for (arguments, code) in [
        ([&score[..], &["--roi", "pipe.png"]].concat(), 1),
        ([&score[..], &["--roi", "/dev/zero"]].concat(), 1),
        ([&score[..], &["--model", "model"]].concat(), 1),
        ([&score[..], &["--prompts", "/dev/zero"]].concat(), 2),
        (vec!["score", "p/00.png", "--profile", "pipe.png"], 1),
        (vec!["score", "pipe.png", "zero.png", "--product", "plate"], 1),
        ([&enroll[..], &["pipe.png"]].concat(), 1),
        ([&enroll[..], &["p/00.png", "--calibrate", "zero.png"]].concat(), 1),
        (vec!["enroll", "--product", "plate", "--reference", "p/00.png", "-o", "pipe.png"], 2),
        (vec!["enroll", "--product", "plate", "--reference", "p/00.png", "-o", "/dev/zero"], 2),
        (vec!["profile", "show", "/dev/zero"], 1),
        (vec!["adapter", "info", "pipe.png"], 1),
        (vec!["decide", "/dev/zero", "--false-alarm", "0.1"], 1),
        (vec!["prompts", "watch", "pipe.png", "--product", "plate", "p/00.png"], 2),
    ] {
        let assert = run(home, &arguments).code(code);
        let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(said.lines().all(|line| line.starts_with("blemish: ")), "{arguments:?}: {said}");
        assert!(!said.contains("bug"), "{arguments:?}: {said}");
    }
    // Among others they are reported, and the others are scored: by words and by each other.
    for method in ["auto", "fused"] {
        let all = [home.join("p"), pipe.clone(), home.join("zero.png")];
        let mut command = blemish(home);
        command.args(["score", "--product", "plate", "--method", method]).args(&all).timeout(LIMIT);
        let assert = command.assert().code(1).stderr(contains("is a pipe or a device"));
        let rows = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        assert_eq!(rows.lines().count(), 9, "{method}");
    }
}

#[test]
fn text_may_come_from_a_pipe() {
    let home = tempdir().unwrap();
    let home = home.path();
    photos(&home.join("p"), 1);
    let prompts = std::fs::read(fixture("cases/straight.toml")).unwrap();
    std::fs::write(home.join("p.toml"), &prompts).unwrap();
    let score = |file: &str| {
        let mut command = blemish(home);
        command.current_dir(home).args(["score", "p", "--product", "plate", "--prompts", file]);
        let assert = command.write_stdin(prompts.clone()).timeout(LIMIT).assert().success();
        let row: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
        row["score"].clone()
    };
    assert_eq!(score("-"), score("p.toml"));
    let mut check = blemish(home);
    check.args(["prompts", "check", "-", "--product", "plate"]).write_stdin("normal = 3");
    check.timeout(LIMIT).assert().code(2).stderr(contains("standard input"));
    let row = r#"{"schema":1,"calibration_photos":99,"p_value":0.01,"verdict":"uncertain","false_alarm":0.05}"#;
    let pipe = home.join("rows");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || {
            std::fs::File::create(pipe).unwrap().write_all(format!("{row}\n").as_bytes()).unwrap()
        }
    });
    run(home, &["decide", "rows", "--false-alarm", "0.1"]).success().stdout(contains("\"ng\""));
    writer.join().unwrap();
}

#[test]
fn names_do_not_steer_a_terminal_or_a_spreadsheet() {
    let home = tempdir().unwrap();
    let home = home.path();
    let evil = "a\u{1b}[31m\u{202e}\u{9b}2Jgnp.png";
    photo(&home.join("p").join(evil), 40, 40);
    std::fs::write(home.join("p").join(format!("bad{evil}")), "no picture").unwrap();
    photo(&home.join("p/=HYPERLINK(1).png"), 40, 40);
    let is_harmless = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let steers = ['\u{1b}', '\u{202e}', '\u{9b}', '\u{7}'];
        assert!(!text.contains(steers), "{text:?}");
        text
    };
    for format in ["table", "jsonl", "csv"] {
        let mut command = blemish(home);
        command.current_dir(home.join("p")).args([
            "score",
            "--product",
            "plate",
            "--format",
            format,
        ]);
        let names = [evil, &format!("bad{evil}"), "=HYPERLINK(1).png"];
        let output = command.args(names).timeout(LIMIT).assert().code(1);
        is_harmless(&output.get_output().stderr);
        if format == "csv" {
            let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
            assert!(text.contains(",'=HYPERLINK(1).png,"), "{text}");
        } else {
            let text = is_harmless(&output.get_output().stdout);
            if format == "jsonl" {
                let row: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
                assert_eq!(row["path"], evil, "JSON says the same, escaped");
            }
        }
    }
    // A set's folders, and a profile from elsewhere.
    copy_tree("layouts/mvtec", &home.join("set"));
    std::fs::rename(home.join("set/tray/test/stain"), home.join("set/tray/test").join(evil))
        .unwrap();
    let truth = home.join("set/tray/ground_truth");
    std::fs::rename(truth.join("stain"), truth.join(evil)).unwrap();
    let output = run(home, &["eval", "mvtec", "set", "--method", "winclip"]).success();
    is_harmless(&output.get_output().stdout);
    let enroll = ["enroll", "--product", evil, "--reference", "p", "-o", "x.blemish"];
    let output = run(home, &enroll).code(2);
    is_harmless(&output.get_output().stderr);
}

#[test]
fn nothing_is_lost_or_half_written_by_kills_at_random_moments() {
    let home = tempdir().unwrap();
    let home = home.path();
    let set = fixture("tiny/samples");
    let set = set.to_str().unwrap();
    let arguments = ["eval", "mvtec", set, "--method", "winclip", "--category", "leather", "-q"];
    let arguments = [&arguments[..], &["--category", "zipper", "--format", "json"]].concat();
    let whole = run(home, &[&arguments[..], &["--out", "whole"]].concat()).success();
    let lines = |out: &str| {
        let text = std::fs::read_to_string(home.join(out).join("photos.jsonl")).unwrap_or_default();
        text.matches('\n').count()
    };
    let seed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    eprintln!("kills are drawn by seed {}", seed as u64);
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed as u64);
    let (mut kills, mut before) = (0, 0);
    loop {
        let resume = [&arguments[..], &["--out", "cut", "--resume"]].concat();
        let mut child = process(home, &resume).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.random_range(1..700)));
        if kills == 12 || child.try_wait().unwrap().is_some() {
            let status = child.wait().unwrap();
            assert!(status.success(), "after {kills} kills: {status}");
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        assert!(lines("cut") >= before, "results are lost");
        before = lines("cut");
    }
    let last = run(home, &[&arguments[..], &["--out", "cut", "--resume"]].concat()).success();
    assert_eq!(last.get_output().stdout, whole.get_output().stdout);
    assert_eq!(lines("cut"), lines("whole"));

    // A product file is the old or the new one, and pictures are whole.
    photos(&home.join("p"), 6);
    let enroll = ["enroll", "--product", "plate", "--reference", "p", "-o", "x.blemish", "-q"];
    run(home, &enroll).success();
    for seed in 1..8 {
        let seed = format!("{seed}");
        let enroll = [&enroll[..], &["--seed", &seed]].concat();
        let mut child = process(home, &enroll).stdout(Stdio::null()).spawn().unwrap();
        let score = ["score", "p", "--product", "plate", "--method", "fused", "--out", "out", "-q"];
        let mut other = process(home, &score).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.random_range(1..900)));
        child.kill().unwrap();
        other.kill().unwrap();
        child.wait().unwrap();
        other.wait().unwrap();
        run(home, &["profile", "show", "x.blemish"]).success();
        for entry in walkdir::WalkDir::new(home.join("out")).into_iter().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "png") {
                assert!(image::open(path).is_ok(), "{} is half-written", path.display());
            }
        }
    }
}

#[test]
fn a_full_disk_is_said_in_one_line() {
    let home = tempdir().unwrap();
    let home = home.path();
    photos(&home.join("p"), 3);
    let score = ["score", "p", "--product", "plate", "--format", "jsonl", "-q"];
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = process(home, &score).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(assert_one_line(&output.stderr).contains("standard output: cannot write"));

    let disk = home.join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return eprintln!("no tmpfs can be mounted here: a full disk is not tested");
    }
    std::fs::write(disk.join("ballast"), vec![1; 240 << 10]).unwrap();
    let drawn = run(home, &["score", "p", "--product", "plate", "--out", "disk/out", "--save-map"]);
    let rows = String::from_utf8(drawn.get_output().stdout.clone()).unwrap();
    let said = String::from_utf8(drawn.get_output().stderr.clone()).unwrap();
    let enroll = ["enroll", "--product", "plate", "--reference", "p", "-o", "disk/x.blemish", "-q"];
    let enrolled = process(home, &enroll).output().unwrap();
    copy_tree("layouts/mvtec", &home.join("set"));
    let eval = ["eval", "mvtec", "set", "--method", "winclip", "-q", "--out", "disk/run"];
    let evaluated = process(home, &eval).output().unwrap();
    let left: Vec<String> = walkdir::WalkDir::new(&disk)
        .into_iter()
        .map(|e| e.unwrap().path().to_string_lossy().into_owned())
        .collect();
    assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    // A result that cannot be drawn is still a result.
    assert_eq!(rows.lines().count(), 3, "{said}");
    assert!(said.contains("cannot write: No space left"), "{said}");
    drawn.code(1);
    assert_eq!(enrolled.status.code(), Some(1));
    assert!(assert_one_line(&enrolled.stderr).contains("x.blemish: cannot write: No space left"));
    assert_eq!(evaluated.status.code(), Some(1));
    assert!(assert_one_line(&evaluated.stderr).contains("cannot write: No space left"));
    assert!(
        !left.iter().any(|name| name.contains(".blemish-") || name.ends_with("x.blemish")),
        "{left:?}"
    );
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let home = tempdir().unwrap();
    let home = home.path();
    photos(&home.join("p"), 12);
    for method in ["fused", "auto"] {
        let score = ["score", "p", "--product", "plate", "--format", "jsonl", "--method", method];
        let mut child = process(home, &score).spawn().unwrap();
        drop(child.stdout.take());
        drop(child.stderr.take());
        assert!(child.wait().unwrap().success(), "{method}");
    }
    let mut closed = Command::new("sh");
    closed.current_dir(home).env("HOME", home).args(["-c", "exec \"$0\" \"$@\" >&- 2>&-"]);
    closed.arg(env!("CARGO_BIN_EXE_blemish")).args(["score", "p/00.png", "--product", "plate"]);
    assert_eq!(closed.status().unwrap().code(), Some(0));
}

#[test]
fn no_home_is_no_hindrance() {
    let home = tempdir().unwrap();
    let home = home.path();
    photos(&home.join("p"), 2);
    let mut command =
        process(home, &["score", "p", "--product", "plate", "-q", "--format", "jsonl"]);
    let output = command.env_clear().env("HOME", "/nowhere/at/all").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.iter().filter(|b| **b == b'\n').count(), 2);
}

/// Address space is what a system without memory runs out of first.
#[test]
fn too_little_memory_is_said_in_one_line() {
    let home = tempdir().unwrap();
    let home = home.path();
    photo(&home.join("p/large.png"), 6000, 5000);
    let mut ended = 0;
    for megabytes in (100u64..200).step_by(5).chain([250, 350, 450, 550]) {
        let mut command =
            process(home, &["score", "p", "--product", "plate", "-q", "--threads", "1"]);
        let limit = libc::rlimit { rlim_cur: megabytes << 20, rlim_max: megabytes << 20 };
        // SAFETY: setrlimit is safe to call between fork and exec.
        unsafe {
            command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_AS, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let output = command.output().unwrap();
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(1), "{megabytes} MB: {output:?}");
            assert!(assert_one_line(&output.stderr).contains("memory"), "{megabytes} MB");
            ended += 1;
        }
    }
    assert!(ended > 0, "none of these limits was too low");
}

/// Ctrl-C: what was looked at is scored by words, and a second run has nothing to fear.
#[test]
fn a_stopped_folder_leaves_what_was_done() {
    let home = tempdir().unwrap();
    let home = home.path();
    photos(&home.join("p"), 150);
    let score = ["score", "p", "--product", "plate", "--format", "jsonl"];
    let child = process(home, &score).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(4));
    // SAFETY: a signal to a child of our own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("stopped: ") && said.contains("of 150 photos were looked at"), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!((1..150).contains(&rows.len()), "{} rows", rows.len());
    // As words alone score them.
    for row in rows.iter().take(5) {
        let alone = ["score", row["path"].as_str().unwrap(), "--product", "plate"];
        let alone = run(home, &alone).success();
        let alone: Value = serde_json::from_slice(&alone.get_output().stdout).unwrap();
        assert_eq!((&row["score"], &row["method"]), (&alone["score"], &"april-gan".into()));
        assert_eq!(row["transductive"], false);
    }
}

/// The table comes at the end. A stop must not lose it.
#[test]
fn a_stopped_table_is_printed() {
    let home = tempdir().unwrap();
    let home = home.path();
    photos(&home.join("p"), 400);
    let score = ["score", "p", "--product", "plate", "--format", "table", "--method", "april-gan"];
    let child = process(home, &score).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    // SAFETY: a signal to a child of our own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let scores = text.lines().skip(1).map(|line| line.split_whitespace().next().unwrap());
    let scores: Vec<f64> = scores.map(|score| score.parse().unwrap()).collect();
    assert!((1..400).contains(&scores.len()) && scores.is_sorted_by(|a, b| a >= b), "{text}");
}

/// A file that takes long to read, and is no photo.
fn large(path: &Path, gigabytes: u64) {
    std::fs::File::create(path).unwrap().set_len(gigabytes << 30).unwrap();
}

/// While one file is still read for its hash, others are looked at; that changes no result.
#[test]
fn what_is_looked_at_early_is_what_is_looked_at_in_its_turn() {
    let home = tempdir().unwrap();
    let home = home.path();
    photos(&home.join("p"), 12);
    let rows = |assert: &assert_cmd::assert::Assert| -> Vec<(Value, Value, Value)> {
        let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| (row["path"].clone(), row["score"].clone(), row["folder"].clone())).collect()
    };
    for method in ["auto", "mutual"] {
        let score = ["score", "p", "--product", "plate", "--method", method, "--format", "jsonl"];
        let right = rows(&run(home, &score).success());
        assert_eq!(right.len(), 12);
        large(&home.join("p/zz.png"), 5);
        let early =
            run(home, &score).code(1).stderr(contains("zz.png: cannot read: is larger than"));
        assert_eq!(rows(&early), right, "{method}");
        std::fs::remove_file(home.join("p/zz.png")).unwrap();
    }
}

#[test]
fn a_stop_before_all_photos_were_read_leaves_what_was_done() {
    let home = tempdir().unwrap();
    let home = home.path();
    photos(&home.join("p"), 9);
    // Minutes of reading.
    (0..4).for_each(|i| large(&home.join(format!("p/zz{i}.png")), 500));
    for (method, counts) in [("auto", 1..=9), ("mutual", 0..=0)] {
        let score = ["score", "p", "--product", "plate", "--method", method, "--format", "jsonl"];
        let child = process(home, &score).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(6));
        // SAFETY: a signal to a child of our own.
        assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains("stopped"), "{said}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(counts.contains(&text.lines().count()), "{method}: {said}");
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            assert_eq!(
                (&row["method"], &row["transductive"]),
                (&"april-gan".into(), &false.into())
            );
        }
    }
}

/// Threads that the system does not grant; root has no such limit.
#[test]
fn no_threads_are_said_in_one_line() {
    use std::os::unix::fs::PermissionsExt;
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return eprintln!("only root can become somebody without processes: not tested");
    }
    let home = tempdir().unwrap();
    let home = home.path();
    photos(&home.join("p"), 9);
    copy_tree("layouts/mvtec", &home.join("set"));
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o777)).unwrap();
    // The program where anybody may run it.
    let program = home.join("blemish");
    std::fs::copy(env!("CARGO_BIN_EXE_blemish"), &program).unwrap();
    for arguments in [
        &["score", "p", "--product", "plate", "-q"][..],
        &["score", "p", "--product", "plate", "--threads", "2", "-q"],
        &["eval", "mvtec", "set", "--method", "winclip", "-q"],
    ] {
        for processes in 1..7 {
            let mut command = Command::new(&program);
            command.current_dir(home).args(arguments).env("HOME", home).uid(64_321);
            let limit = libc::rlimit { rlim_cur: processes, rlim_max: processes };
            // SAFETY: setrlimit is safe to call between fork and exec.
            unsafe {
                command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NPROC, &limit) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                });
            }
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("bug") && !said.contains("panicked"), "{processes}: {said}");
            if !output.status.success() {
                assert_eq!(output.status.code(), Some(1), "{processes}: {said}");
                assert!(said.starts_with("blemish: no thread can be started"), "{said}");
            }
        }
    }
}
