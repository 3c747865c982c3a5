//! `blemish serve` with real clients over HTTP.
#![cfg(feature = "serve")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::plates::{enroll, enrolled, plate};
use common::{blemish, process};
use image::ImageFormat;
use predicates::str::contains;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Response;

fn png(seed: u32, is_stained: bool) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    plate(seed, is_stained).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A server on a free port, ended with the test.
struct Server {
    process: Child,
    address: String,
    said: Arc<Mutex<String>>,
    agent: Agent,
}

impl Server {
    fn start(home: &Path, flags: &[&str]) -> Self {
        let mut command = process(home);
        command.arg("serve").args(flags);
        if !flags.contains(&"--port") {
            command.args(["--port", "0"]);
        }
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(String::new()));
        let mut address = None;
        while address.is_none() {
            let line = lines.next().expect("the server says its address").unwrap();
            address =
                line.split("http://").nth(1).map(|rest| rest.split(' ').next().unwrap().into());
        }
        let all = said.clone();
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| all.lock().unwrap().push_str(&(line + "\n")));
        });
        let agent = Agent::config_builder().http_status_as_error(false).build().into();
        Self { process, address: address.unwrap(), said, agent }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Status and JSON.
    fn get(&self, path: &str) -> (u16, Value) {
        json_of(self.agent.get(self.url(path)).call().unwrap())
    }

    fn text(&self, path: &str) -> String {
        self.agent.get(self.url(path)).call().unwrap().body_mut().read_to_string().unwrap()
    }

    fn post(&self, path: &str, kind: &str, body: &[u8]) -> Response<ureq::Body> {
        self.agent.post(self.url(path)).content_type(kind).send(body).unwrap()
    }

    /// Sends photos as a form. Status and one value for each.
    fn score(&self, photos: &[(&str, &[u8])]) -> (u16, Vec<Value>) {
        let mut answer = self.post("/score", "multipart/form-data; boundary=xx", &form(photos));
        let lines = answer.body_mut().read_to_string().unwrap();
        let values = lines.lines().map(|line| serde_json::from_str(line).unwrap());
        (answer.status().as_u16(), values.collect())
    }

    /// What was said matches within ten seconds.
    fn says(&self, what: &str) {
        let start = Instant::now();
        while !self.said.lock().unwrap().contains(what) {
            assert!(start.elapsed() < Duration::from_secs(10), "{}", self.said.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn json_of(mut answer: Response<ureq::Body>) -> (u16, Value) {
    let value = serde_json::from_reader(answer.body_mut().as_reader()).unwrap();
    (answer.status().as_u16(), value)
}

fn form(photos: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, photo) in photos {
        let head = format!(
            "--xx\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"{name}\"\r\n\r\n"
        );
        body.extend([head.as_bytes(), photo, b"\r\n"].concat());
    }
    body.extend(b"--xx--\r\n");
    body
}

/// A result without what differs from run to run.
fn same(mut row: Value) -> Value {
    let row_fields = row.as_object_mut().unwrap();
    for field in ["path", "milliseconds", "profile"] {
        row_fields.remove(field);
    }
    row
}

#[test]
fn a_form_and_a_body_get_what_score_prints() {
    let home = enrolled();
    plate(90, true).save(home.path().join("stained.png")).unwrap();
    let mut command = blemish(home.path());
    command.current_dir(home.path()).args([
        "score",
        "stained.png",
        "--profile",
        "plate.blemish",
        "-q",
    ]);
    let printed: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let server = Server::start(home.path(), &["--profile", "plate.blemish"]);
    let photo = png(90, true);
    let (status, rows) = server.score(&[
        ("stained.png", &photo),
        ("bad.png", b"no photo"),
        ("good.png", &png(91, false)),
    ]);
    assert_eq!((status, rows.len()), (200, 3));
    assert_eq!(rows[0]["path"], "stained.png");
    assert_eq!(same(rows[0].clone()), same(printed.clone()));
    assert!(rows[1]["error"].as_str().unwrap().starts_with("bad.png: not an image"), "{}", rows[1]);
    assert_eq!(rows[2]["verdict"], "ok");
    let (status, body) = json_of(server.post("/score", "image/png", &photo));
    assert_eq!((status, same(body)), (200, same(printed)));
    let (status, rows) = server.score(&[("bad.png", b"")]);
    assert_eq!(status, 400);
    assert!(rows[0]["error"].as_str().unwrap().contains("empty"));
    let mut answer = server.post("/score", "multipart/form-data; boundary=xx", b"--xx--\r\n");
    assert_eq!(answer.status(), 400);
    assert!(answer.body_mut().read_to_string().unwrap().contains("curl -F photo=@part.jpg"));
    assert_eq!(server.get("/nowhere").0, 404);
}

#[test]
fn clients_of_the_open_inference_protocol_are_understood() {
    let home = enrolled();
    let server =
        Server::start(home.path(), &["--profile", "plate.blemish", "--product", "plate x"]);
    assert_eq!(server.get("/v2").1["extensions"], json!(["binary_tensor_data"]));
    assert_eq!(server.get("/v2/health/live"), (200, json!({ "live": true })));
    assert_eq!(server.get("/v2/health/ready"), (200, json!({ "ready": true })));
    let (_, about) = server.get("/v2/models/plate");
    let version = about["versions"][0].as_str().unwrap().to_string();
    assert_eq!(about["inputs"][0]["datatype"], "BYTES");
    assert_eq!(server.get(&format!("/v2/models/plate/versions/{version}/ready")).0, 200);
    assert_eq!(server.get("/v2/models/plate/versions/1/ready").0, 404);
    assert_eq!(server.get("/v2/models/plate_x").1["outputs"].as_array().unwrap().len(), 6);
    for (path, why) in [("/history/x/map", "Cannot parse"), ("/v2/models/%ff", "UTF-8")] {
        let (status, error) = server.get(path);
        let error = error["error"].as_str().unwrap().to_string();
        assert!(status == 400 && error.contains(why), "{path}: {error}");
    }
    let (status, error) = server.get("/v2/models/nut");
    assert_eq!(status, 404);
    assert_eq!(error["error"], "there is no model nut; there is plate, plate_x");

    use base64::Engine;
    let photos = [png(90, true), png(91, false)];
    let data: Vec<String> =
        photos.iter().map(|p| base64::engine::general_purpose::STANDARD.encode(p)).collect();
    let input = json!({ "name": "image", "shape": [2], "datatype": "BYTES", "data": data });
    let infer = "/v2/models/plate/infer";
    let request = json!({ "id": "7", "inputs": [input] }).to_string();
    let (status, plain) = json_of(server.post(infer, "application/json", request.as_bytes()));
    assert_eq!(
        (status, &plain["id"], &plain["model_version"]),
        (200, &json!("7"), &json!(version))
    );
    let output = |name: &str| {
        let all = plain["outputs"].as_array().unwrap();
        all.iter().find(|output| output["name"] == name).unwrap()["data"].clone()
    };
    assert_eq!(output("verdict"), json!(["ng", "ok"]));
    assert_eq!(output("peak").as_array().unwrap().len(), 4);
    let (_, rows) = server.score(&[]);
    assert!(rows[0]["error"].as_str().unwrap().contains("/score?model=plate or plate_x"));

    // The same as binary tensors, with the map.
    let sizes: usize = photos.iter().map(|photo| photo.len() + 4).sum();
    let head = json!({
        "inputs": [{ "name": "image", "shape": [2], "datatype": "BYTES", "parameters": { "binary_data_size": sizes } }],
        "outputs": [{ "name": "score", "parameters": { "binary_data": true } },
                    { "name": "map", "parameters": { "binary_data": true } }, { "name": "overlay" }],
    });
    let head = head.to_string();
    let mut body = head.clone().into_bytes();
    for photo in &photos {
        body.extend([&(photo.len() as u32).to_le_bytes()[..], photo].concat());
    }
    let request = server.agent.post(server.url(infer));
    let request = request.header("Inference-Header-Content-Length", head.len().to_string());
    let mut answer = request.send(&body[..]).unwrap();
    let length = answer.headers()["inference-header-content-length"].to_str().unwrap();
    let length: usize = length.parse().unwrap();
    let bytes = answer.body_mut().read_to_vec().unwrap();
    let outputs: Value = serde_json::from_slice(&bytes[..length]).unwrap();
    assert_eq!(outputs["outputs"][1]["shape"], json!([2, 96, 96]));
    let floats: Vec<f32> = bytes[length..]
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect();
    assert_eq!(floats.len(), 2 + 2 * 96 * 96);
    let scores: Vec<f32> = serde_json::from_value(output("score")).unwrap();
    assert_eq!(floats[..2], scores);
    assert!(outputs["outputs"][2]["data"][0].as_str().unwrap().starts_with("iVBOR"));

    for (request, why) in [
        (json!({ "inputs": [] }), "give one, image"),
        (
            json!({ "inputs": [input], "outputs": [{ "name": "map" }, { "name": "map" }] }),
            "is named twice",
        ),
        (json!({ "inputs": [input], "outputs": [{ "name": "heat" }] }), "take score, p_value"),
        (
            json!({ "inputs": [{ "name": "image", "shape": [1], "datatype": "BYTES", "data": ["aGk="] }] }),
            "image 0: ",
        ),
    ] {
        let answer = server.post(infer, "application/json", request.to_string().as_bytes());
        let (status, error) = json_of(answer);
        assert!(status == 400 && error["error"].as_str().unwrap().contains(why), "{error}");
    }
}

/// Sends bytes, and reads what comes first. Empty if the server closes the connection.
fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut client = TcpStream::connect(&server.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(bytes).unwrap();
    let mut answer = [0; 4096];
    let length = client.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[test]
fn what_is_too_much_is_refused() {
    let home = enrolled();
    let server = Server::start(
        home.path(),
        &["--profile", "plate.blemish", "--queue", "1", "--max-body", "1", "--max-pixels", "1"],
    );
    let (photo, started) = (png(1, false), Instant::now());
    let ask = || -> (u16, bool) {
        let answer = server.post("/score", "image/png", &photo);
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    };
    let (mut full, mut scored) = (0, 0);
    while full == 0 || scored == 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "{full} {scored}");
        let found: Vec<(u16, bool)> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        full += found.iter().filter(|answer| **answer == (429, true)).count();
        scored += found.iter().filter(|answer| **answer == (200, false)).count();
        assert!(found.iter().all(|(status, _)| [200, 429].contains(status)), "{found:?}");
    }
    // It is refused before it is sent.
    let head =
        format!("POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", 2 << 20);
    assert!(raw(&server, head.as_bytes()).starts_with("HTTP/1.1 413"));
    let (status, _) = server.score(&[("a.png", &photo), ("b.png", &photo)]);
    assert_eq!(status, 413);
    let mut large = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(1500, 1000).write_to(&mut large, ImageFormat::Png).unwrap();
    let (status, error) = json_of(server.post("/score", "image/png", &large.into_inner()));
    assert!(
        status == 400 && error["error"].as_str().unwrap().contains("(--max-pixels)"),
        "{error}"
    );
    assert_eq!(server.score(&[("a.png", &photo)]).0, 200, "it still works");
}

#[test]
fn a_slow_client_is_not_waited_for() {
    let home = enrolled();
    let server = Server::start(home.path(), &["--profile", "plate.blemish", "--timeout", "1"]);
    let mut slow = TcpStream::connect(&server.address).unwrap();
    slow.write_all(b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
        .unwrap();
    let mut answer = String::new();
    slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("--timeout 1"), "{answer}");
    // Closed, with or without an answer.
    raw(&server, b"POST /sco");
}

#[test]
fn an_answer_that_is_not_read_is_given_up() {
    let home = enrolled();
    let server = Server::start(home.path(), &["--profile", "plate.blemish", "--timeout", "2"]);
    let mut photo = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(2500, 2500).write_to(&mut photo, ImageFormat::Png).unwrap();
    let photo = photo.into_inner();
    // The map needs 25 MB, more than a connection holds.
    let head = json!({
        "inputs": [{ "name": "image", "shape": [1], "datatype": "BYTES",
                     "parameters": { "binary_data_size": photo.len() + 4 } }],
        "outputs": [{ "name": "map", "parameters": { "binary_data": true } }],
    });
    let head = head.to_string();
    let length = head.len() + 4 + photo.len();
    let mut client = TcpStream::connect(&server.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let lines = format!(
        "POST /v2/models/plate/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\
         Inference-Header-Content-Length: {}\r\n\r\n{head}",
        head.len()
    );
    client.write_all(lines.as_bytes()).unwrap();
    client.write_all(&[&(photo.len() as u32).to_le_bytes()[..], &photo].concat()).unwrap();
    let mut first = [0; 12];
    client.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    std::thread::sleep(Duration::from_secs(4));
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(rest.len() < 25_000_000, "the connection was kept: {}", rest.len());
}

#[test]
fn a_request_may_be_compressed() {
    let home = enrolled();
    let server = Server::start(home.path(), &["--profile", "plate.blemish", "--max-body", "1"]);
    let photo = png(4, true);
    let plain = json_of(server.post("/score", "image/png", &photo)).1;
    let packed = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    let send = |how: &str, body: &[u8]| {
        let request = server.agent.post(server.url("/score")).header("Content-Encoding", how);
        json_of(request.send(body).unwrap())
    };
    let (status, row) = send("gzip", &packed(&photo));
    assert_eq!((status, same(row)), (200, same(plain)));
    let (status, error) = send("br", &photo);
    assert!(status == 415 && error["error"].as_str().unwrap().contains("gzip"), "{error}");
    // A bomb: its content counts.
    let (status, error) = send("gzip", &packed(&vec![0; 8 << 20]));
    assert!(status == 413 && error["error"].is_string(), "{status} {error}");
    assert_eq!(send("gzip", b"not packed").0, 400);
}

#[test]
fn only_who_may_ask_is_answered() {
    let home = enrolled();
    let profile = ["--profile", "plate.blemish"];
    let server = Server::start(home.path(), &profile);
    let with = |server: &Server, name: &str, value: &str, path: &str| {
        let request = server.agent.get(server.url(path)).header(name, value);
        request.call().unwrap().status().as_u16()
    };
    assert_eq!(with(&server, "Host", "example.org", "/v2"), 403);
    assert_eq!(with(&server, "Host", "localhost:80", "/v2"), 200);
    assert_eq!(with(&server, "Origin", "http://example.org", "/v2"), 403);
    assert_eq!(with(&server, "Origin", &format!("http://{}", server.address), "/v2"), 200);
    drop(server);
    std::fs::write(home.path().join("token"), "secret\n").unwrap();
    let flags = [&profile[..], &["--token-file", "token", "--host", "0.0.0.0"]].concat();
    let server = Server::start(home.path(), &flags);
    assert_eq!(server.get("/v2/health/ready").0, 200);
    assert_eq!(server.get("/v2").0, 401);
    assert_eq!(with(&server, "Authorization", "Bearer wrong", "/"), 401);
    assert_eq!(with(&server, "Authorization", "Bearer secret", "/"), 200);
    // A browser sends "any:secret".
    assert_eq!(with(&server, "Authorization", "Basic YW55OnNlY3JldA==", "/"), 200);
    drop(server);
    let refused = |flags: &[&str], why: &'static str| {
        let mut command = blemish(home.path());
        command.current_dir(home.path()).arg("serve").args(flags);
        command.assert().code(2).stdout("").stderr(contains(why));
    };
    refused(
        &[&profile[..], &["--host", "0.0.0.0"]].concat(),
        "--host 0.0.0.0: other machines could",
    );
    refused(&[], "--profile: give a profile");
    refused(&[&profile[..], &["--queue", "0"]].concat(), "--queue 0: give a number from 1");
    refused(&[&profile[..], &profile[..]].concat(), "another profile is served as plate");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refused(&[&profile[..], &["--port", &port]].concat(), "cannot listen on 127.0.0.1");
}

#[test]
#[cfg(unix)]
fn what_was_accepted_is_answered_at_the_end() {
    let home = enrolled();
    let mut server = Server::start(home.path(), &["--profile", "plate.blemish"]);
    let (url, photo) = (server.url("/score"), png(5, true));
    let agent = server.agent.clone();
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let (agent, url, photo) = (agent.clone(), url.clone(), photo.clone());
            std::thread::spawn(move || {
                let answer = agent.post(url).content_type("image/png").send(&photo[..]);
                answer.map(|answer| answer.status().as_u16())
            })
        })
        .collect();
    use common::terminate;
    // All are connected, and few are done.
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(terminate(&mut server.process), Some(0));
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| matches!(answer, Ok(200))), "{answers:?}");
}

/// Clients that ask again, as clients of a server that may fail have to.
#[test]
#[cfg(unix)]
fn a_server_that_is_killed_and_started_again_loses_no_photo_of_clients_that_ask_again() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let home = enrolled();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = port.to_string();
    let flags = ["--profile", "plate.blemish", "--port", &port];
    let mut first = Server::start(home.path(), &flags);
    let photos: Vec<Vec<u8>> = (0..24).map(|i| png(200 + i, i % 3 == 0)).collect();
    let ask = |agent: &Agent, url: &str, photo: &[u8]| {
        let mut answer = agent.post(url).content_type("image/png").send(photo).ok()?;
        (answer.status() == 200).then_some(())?;
        serde_json::from_reader::<_, Value>(answer.body_mut().as_reader()).ok()
    };
    let url = first.url("/score");
    let wanted: Vec<Value> =
        photos.iter().map(|photo| same(ask(&first.agent, &url, photo).unwrap())).collect();
    let (done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let answers: Vec<(usize, Value)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (photos, url, done, failed) = (&photos, &url, &done, &failed);
                let agent = first.agent.clone();
                scope.spawn(move || {
                    let own = (client..photos.len()).step_by(4);
                    own.map(|i| {
                        let start = Instant::now();
                        loop {
                            assert!(start.elapsed() < Duration::from_secs(60), "no answer");
                            if let Some(row) = ask(&agent, url, &photos[i]) {
                                done.fetch_add(1, Ordering::Relaxed);
                                return (i, same(row));
                            }
                            failed.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(Duration::from_millis(50));
                        }
                    })
                    .collect::<Vec<_>>()
                })
            })
            .collect();
        while done.load(Ordering::Relaxed) < 6 {
            std::thread::sleep(Duration::from_millis(5));
        }
        // SIGKILL.
        first.process.kill().unwrap();
        first.process.wait().unwrap();
        let _second = Server::start(home.path(), &flags);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!(failed.load(Ordering::Relaxed) > 0, "it was not killed under load");
    assert_eq!(answers.len(), photos.len());
    assert!(answers.iter().all(|(i, row)| *row == wanted[*i]));
}

#[test]
fn a_profile_that_is_replaced_is_taken_up_and_a_broken_one_is_not() {
    let home = enrolled();
    let server = Server::start(home.path(), &["--profile", "plate.blemish"]);
    let version = || server.get("/v2/models/plate").1["versions"][0].as_str().unwrap().to_string();
    let first = version();
    let file = home.path().join("plate.blemish");
    std::fs::write(&file, "no profile").unwrap();
    server.says("the old plate stays");
    assert_eq!(version(), first);
    assert_eq!(server.score(&[("a.png", &png(3, false))]).0, 200);
    enroll(home.path(), "other.blemish", &["--false-alarm", "10%"]);
    std::fs::rename(home.path().join("other.blemish"), &file).unwrap();
    server.says("was replaced: now version");
    assert_ne!(version(), first);
    assert_eq!(server.score(&[("a.png", &png(3, false))]).1[0]["false_alarm"], 0.1);
    // Its model comes later.
    let (model, late) = (home.path().join("late"), home.path().join("away"));
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(common::fixture("clip/gelu/hf")).unwrap() {
        let from = entry.unwrap().path();
        std::fs::copy(&from, model.join(from.file_name().unwrap())).unwrap();
    }
    enroll(home.path(), "other.blemish", &["--model", "late", "--method", "winclip"]);
    std::fs::rename(&model, &late).unwrap();
    let (before, kept) = (version(), server.said.lock().unwrap().len());
    std::fs::rename(home.path().join("other.blemish"), &file).unwrap();
    let news = || server.said.lock().unwrap()[kept..].to_string();
    let wait = |what: &str| {
        let start = Instant::now();
        while !news().contains(what) {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", news());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait("the old plate stays");
    assert_eq!(version(), before);
    std::fs::rename(&late, &model).unwrap();
    wait("was replaced: now version");
    assert_eq!(news().matches("stays").count(), 1, "said once");
}

#[test]
fn the_page_shows_the_last_photos_and_metrics_count_them() {
    let home = enrolled();
    let server = Server::start(home.path(), &["--profile", "plate.blemish", "--history", "2"]);
    for (name, is_stained) in [("first.png", false), ("second.png", true), ("third.png", false)] {
        assert_eq!(server.score(&[(name, &png(7, is_stained))]).0, 200);
    }
    let page = server.text("/");
    assert!(!page.contains("first.png"), "only the last two are kept");
    let (second, third) = (page.find("second.png").unwrap(), page.find("third.png").unwrap());
    assert!(third < second, "the newest first");
    let picture =
        |what: &str| server.agent.get(server.url(&format!("/history/3/{what}"))).call().unwrap();
    assert_eq!(picture("photo").body_mut().read_to_vec().unwrap(), png(7, false));
    assert_eq!(picture("thumb").headers()["content-type"], "image/jpeg");
    assert_eq!(picture("map").headers()["content-type"], "image/png");
    assert_eq!(server.get("/history/1/photo").0, 404);
    // A screen on the line.
    let header = |path: &str| {
        let answer = server.agent.get(server.url(path)).call().unwrap();
        answer.headers().get("refresh").map(|value| value.to_str().unwrap().to_string())
    };
    assert_eq!(header("/"), None);
    assert_eq!(header("/?refresh=5").as_deref(), Some("5"));
    assert_eq!(header("/models/plate?refresh=0").as_deref(), Some("1"));
    let metrics = server.text("/metrics");
    for line in [
        "blemish_requests_total{route=\"/score\",status=\"200\"} 3",
        "blemish_photos_total{model=\"plate\",verdict=\"ng\"} 1",
        "blemish_stage_seconds_count{stage=\"score\"} 3",
        "blemish_score_count{model=\"plate\"} 3",
        "blemish_queue_photos 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    drop(server);
    let server = Server::start(home.path(), &["--profile", "plate.blemish", "--no-page"]);
    server.score(&[("first.png", &png(7, false))]);
    assert!(!server.text("/").contains("first.png"));
    assert_eq!(server.get("/models/plate").0, 404);
}
