//! `blemish watch` with real files, a real HTTP server and a real MQTT broker.
#![cfg(all(feature = "watch", unix))]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::plates::{enrolled, plate};
use common::{blemish, process, terminate};
use predicates::str::contains;
use serde_json::Value;

struct Watch(Child);

impl Watch {
    fn start(home: &Path, flags: &[&str]) -> Self {
        std::fs::create_dir_all(home.join("camera")).unwrap();
        let mut command = process(home);
        command.args(["watch", "camera", "--profile", "plate.blemish", "--out", "out"]);
        command.args(["--every", "0.1"]).args(flags);
        Self(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Stops it. What it said.
    fn stop(mut self) -> String {
        assert_eq!(terminate(&mut self.0), Some(0));
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rows(home: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(home.join("out/results.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn each_new_photo_is_scored_once_when_it_is_whole() {
    let home = enrolled();
    let home = home.path();
    let watch = Watch::start(home, &[]);
    plate(50, true).save(home.join("camera/a.png")).unwrap();
    wait_for("the first photo", || rows(home).len() == 1);
    // A slow camera: half of the file, and the rest later.
    plate(51, false).save(home.join("b.png")).unwrap();
    let bytes = std::fs::read(home.join("b.png")).unwrap();
    let mut slow = std::fs::File::create(home.join("camera/b.png")).unwrap();
    slow.write_all(&bytes[..bytes.len() / 2]).unwrap();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(rows(home).len(), 1);
    slow.write_all(&bytes[bytes.len() / 2..]).unwrap();
    wait_for("the slow photo", || rows(home).len() == 2);
    // The camera uses a name again.
    plate(52, true).save(home.join("camera/a.png")).unwrap();
    wait_for("the replaced photo", || rows(home).len() == 3);
    let found = rows(home);
    assert_eq!(
        found.iter().map(|row| row["path"].as_str().unwrap()).collect::<Vec<_>>(),
        ["camera/a.png", "camera/b.png", "camera/a.png"]
    );
    assert_eq!((&found[0]["verdict"], &found[1]["verdict"]), (&"ng".into(), &"ok".into()));
    assert!(home.join(found[0]["overlay"].as_str().unwrap()).is_file());
    assert!(watch.stop().contains("3 photos were scored, 0 could not be"));
    // The same numbers as `score`.
    let mut command = blemish(home);
    command.current_dir(home).args(["score", "camera/b.png", "--profile", "plate.blemish", "-q"]);
    let printed: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    assert_eq!(printed["score"], found[1]["score"]);
    // A name that results cannot hold is reported, and stops nothing.
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"camera/\xff.png");
    plate(54, false).save(home.join("d.png")).unwrap();
    std::fs::copy(home.join("d.png"), home.join(odd)).unwrap();
    // After a restart, only what is new is scored.
    let mut watch = Watch::start(home, &["--no-overlay"]);
    std::fs::write(home.join("camera/bad.png"), "no photo").unwrap();
    plate(53, false).save(home.join("camera/c.png")).unwrap();
    wait_for("the new photo", || rows(home).len() == 4);
    assert!(rows(home)[3]["overlay"].is_null());
    let mut line = String::new();
    let mut said = BufReader::new(watch.0.stderr.take().unwrap());
    while !line.contains("bad.png: not an image") {
        assert!(said.read_line(&mut line).unwrap() > 0, "{line}");
    }
    assert!(line.contains("the name is not UTF-8"), "{line}");
    // Killed at once, and started again: nothing is lost, and nothing comes twice.
    watch.0.kill().unwrap();
    watch.0.wait().unwrap();
    let watch = Watch::start(home, &[]);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(rows(home).len(), 4);
    assert!(watch.stop().contains("0 photos were scored, 0 could not be"));
}

#[test]
fn results_that_cannot_be_written_end_the_run_and_lose_no_photo() {
    let home = enrolled();
    let home = home.path();
    std::fs::create_dir_all(home.join("out")).unwrap();
    std::fs::write(home.join("out/overlays"), "in the way").unwrap();
    let mut watch = Watch::start(home, &[]);
    plate(50, true).save(home.join("camera/a.png")).unwrap();
    assert_eq!(watch.0.wait().unwrap().code(), Some(1));
    std::fs::remove_file(home.join("out/overlays")).unwrap();
    let watch = Watch::start(home, &[]);
    wait_for("the photo", || rows(home).len() == 1);
    // The results are moved away while it runs.
    std::fs::rename(home.join("out/results.jsonl"), home.join("old.jsonl")).unwrap();
    plate(51, true).save(home.join("camera/b.png")).unwrap();
    wait_for("the next photo", || rows(home).len() == 1);
    assert_eq!(rows(home)[0]["path"], "camera/b.png");
    assert!(watch.stop().contains("2 photos were scored"));
}

#[test]
fn wrong_flags_are_refused() {
    let home = enrolled();
    let home = home.path();
    std::fs::create_dir(home.join("camera")).unwrap();
    let refused = |folder: &str, flags: &[&str], why: &'static str| {
        let mut command = blemish(home);
        let out: &[&str] = if flags.contains(&"--out") { &[] } else { &["--out", "out"] };
        command.current_dir(home).args(["watch", folder, "--profile", "plate.blemish"]).args(out);
        command.args(flags).timeout(Duration::from_secs(60)).assert().code(2).stderr(contains(why));
    };
    refused("nowhere", &[], "nowhere: is no folder");
    refused("camera", &["--every", "0"], "--every 0: give seconds");
    refused("camera", &["--webhook", "plant"], "--webhook: is no address");
    refused("camera", &["--mqtt", "mqtt://broker"], "--mqtt: has no topic");
    refused("camera", &["--out", "camera"], "--out camera: heat maps there would be scored again");
    let mut first = Watch::start(home, &[]);
    let mut said = BufReader::new(first.0.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("watches camera")));
    refused("camera", &[], "another `blemish watch` writes there");
}

/// A web server that fails at first. What it took.
fn plant() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/inspection", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let all = taken.clone();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 2 {
                let (name, value) = line.trim().split_once(": ").unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            // A redirect is no success either.
            let status = match number {
                0 => "500 Broken",
                1 => "301 Moved\r\nLocation: /login",
                _ => "204 Taken",
            };
            if number > 1 {
                all.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            }
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, taken)
}

#[test]
fn a_webhook_gets_each_result_once_also_after_a_failure_and_a_restart() {
    let home = enrolled();
    let home = home.path();
    let (address, taken) = plant();
    let watch = Watch::start(home, &["--webhook", &address]);
    for name in ["a", "b"] {
        plate(50, name == "a").save(home.join(format!("camera/{name}.png"))).unwrap();
        wait_for(name, || rows(home).iter().any(|row| row["path"] == format!("camera/{name}.png")));
    }
    wait_for("both results", || taken.lock().unwrap().len() == 2);
    assert!(watch.stop().contains("warning: --webhook: "));
    let watch = Watch::start(home, &["--webhook", &address]);
    plate(52, false).save(home.join("camera/c.png")).unwrap();
    wait_for("the third result", || taken.lock().unwrap().len() == 3);
    watch.stop();
    assert_eq!(*taken.lock().unwrap(), rows(home));
}

/// Debian has mosquitto where users do not look.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
    command.env("PATH", path).stderr(Stdio::null());
    command
}

/// A broker with this configuration. None if there is none on this machine.
fn broker(config: &Path) -> Option<Child> {
    let found = tool("mosquitto").arg("-c").arg(config).stdout(Stdio::null()).spawn().ok();
    if found.is_none() {
        assert!(std::env::var_os("BLEMISH_NEEDS_BROKER").is_none(), "no mosquitto here");
        eprintln!(
            "not tested: mosquitto is not installed (Debian: apt-get install mosquitto mosquitto-clients)"
        );
    }
    found
}

#[test]
fn a_broker_gets_each_result() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let kept = tempfile::tempdir().unwrap();
    let (config, kept) = (kept.path().join("broker.conf"), kept.path().display());
    // It keeps what a listener missed while either was away.
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\npersistence_location {kept}/\n"
    );
    std::fs::write(&config, text).unwrap();
    let Some(mut first) = broker(&config) else { return };
    let home = enrolled();
    let home = home.path();
    let address = format!("mqtt://127.0.0.1:{port}/line3/inspection");
    let watch = Watch::start(home, &["--mqtt", &address]);
    // The session of this listener stays when it goes.
    let listen = || {
        let mut command = tool("mosquitto_sub");
        command.args([
            "-p", &port, "-i", "ear", "-c", "-t", "line3/#", "-q", "1", "-C", "1", "-W", "60",
        ]);
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        child
    };
    let heard = |child: Child| -> Vec<Value> {
        let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    wait_for("the broker", || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    let listener = listen();
    plate(50, true).save(home.join("camera/a.png")).unwrap();
    assert_eq!(heard(listener), rows(home));
    // The broker is gone for a while.
    assert_eq!(terminate(&mut first), Some(0));
    plate(51, true).save(home.join("camera/b.png")).unwrap();
    wait_for("the second result", || rows(home).len() == 2);
    let mut second = broker(&config).unwrap();
    wait_for("the broker", || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    assert_eq!(heard(listen()), rows(home)[1..]);
    watch.stop();
    second.kill().unwrap();
    second.wait().unwrap();
}

#[test]
fn a_broker_may_ask_for_tls_and_a_password() {
    let kept = tempfile::tempdir().unwrap();
    let folder = kept.path();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let own = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    std::fs::write(folder.join("cert.pem"), own.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), own.signing_key.serialize_pem()).unwrap();
    let at = folder.display();
    let text = format!(
        "listener {port} 127.0.0.1\ncertfile {at}/cert.pem\nkeyfile {at}/key.pem\nallow_anonymous false\n\
         password_file {at}/users\nuser root\n"
    );
    let config = folder.join("broker.conf");
    std::fs::write(&config, text).unwrap();
    let users = folder.join("users");
    let _ =
        tool("mosquitto_passwd").args(["-b", "-c"]).arg(&users).args(["li@ne", "p:ss"]).status();
    let Some(mut broker) = broker(&config) else { return };
    let home = enrolled();
    let home = home.path();
    let start = |address: &str, trusts: bool| {
        let mut command = process(home);
        command.args(["watch", "camera", "--profile", "plate.blemish", "--out", "out"]);
        command.args(["--every", "0.1", "--mqtt", address]);
        if trusts {
            command.env("SSL_CERT_FILE", folder.join("cert.pem"));
        }
        Watch(command.stderr(Stdio::piped()).spawn().unwrap())
    };
    let listen = |topic: &str| {
        let mut command = tool("mosquitto_sub");
        command.args([
            "-h",
            "localhost",
            "-p",
            &port,
            "-t",
            topic,
            "-q",
            "1",
            "-C",
            "1",
            "-W",
            "60",
        ]);
        command.args(["-u", "li@ne", "-P", "p:ss", "--cafile"]).arg(folder.join("cert.pem"));
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        child
    };
    wait_for("the broker", || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    let address = format!("mqtts://li%40ne:p%3Ass@localhost:{port}/line%203");
    std::fs::create_dir(home.join("camera")).unwrap();
    plate(50, true).save(home.join("camera/a.png")).unwrap();
    let stranger = start(&address, false);
    wait_for("the result", || rows(home).len() == 1);
    std::thread::sleep(Duration::from_secs(1));
    let said = stranger.stop();
    assert!(said.contains("warning: --mqtt") && said.contains("certificate"), "{said}");
    let listener = listen("line 3");
    let friend = start(&address, true);
    let heard = String::from_utf8(listener.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&heard).unwrap(), rows(home)[0]);
    friend.stop();
    broker.kill().unwrap();
    broker.wait().unwrap();
}
