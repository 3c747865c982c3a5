//! Downloads with the real hub client from a real HTTP server on this machine that has the hub's layout.
#![cfg(feature = "hub")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{blemish, copy_of, fixture, photo};
use predicates::str::contains;
use sha2::{Digest, Sha256};
use tempfile::{TempDir, tempdir};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS: &str = "model.safetensors";
const SERVED: &str = "clip/gelu/hf";

/// What is wrong with the server.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Every response with weights breaks off after some bytes; the number of times it does so.
    BreaksOff(usize),
    /// The weights' body is shorter than the size that was promised, and complete by its own header.
    Short,
    /// A byte of the weights is another.
    Damaged,
    /// The same, but only the first time.
    DamagedOnce,
    /// A byte of a small file is another.
    SmallDamaged,
    /// Only with the right token.
    Private,
    /// Says nothing after the first bytes of the weights.
    Stalls,
    /// What is known of the repository does not end.
    Endless,
    /// Weights go on after their promised end.
    TooLong,
    /// What is known of the repository comes byte by byte.
    Drips,
    /// A web page where data is due.
    Page,
    /// Names that lead out of the cache.
    OutsideEtag,
    OutsideCommit,
    /// Every file lies on another host.
    Elsewhere,
}

const OUTSIDE: &str = "../../../../outside";

struct Hub {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
    _repository: TempDir,
}

impl Hub {
    /// Serves the fixture as `maker/model`.
    fn start(fault: Fault) -> Self {
        Self::start_beside(fault, "")
    }

    /// `other`: the host that files lie on, if it is another.
    fn start_beside(fault: Fault, other: &str) -> Self {
        let other = other.to_string();
        let repository = copy_of(SERVED);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let broken = Arc::new(AtomicUsize::new(0));
        let (folder, log, base) =
            (repository.path().to_path_buf(), requests.clone(), endpoint.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (folder, log) = (folder.clone(), log.clone());
                let (base, broken) = (base.clone(), broken.clone());
                let base = if fault == Fault::Elsewhere { other.clone() } else { base };
                std::thread::spawn(move || {
                    let _ = answer(stream.unwrap(), &folder, &log, &base, fault, &broken);
                });
            }
        });
        Self { endpoint, requests, _repository: repository }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    folder: &Path,
    log: &Mutex<Vec<String>>,
    base: &str,
    fault: Fault,
    broken: &AtomicUsize,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_string();
    let (mut start, mut end, mut token) = (0usize, None, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "range" => {
                let (a, b) = value.trim_start_matches("bytes=").split_once('-').unwrap();
                (start, end) = (a.parse().unwrap(), b.parse::<usize>().ok());
            }
            "authorization" => token = value.to_string(),
            _ => {}
        }
    }
    log.lock().unwrap().push(format!("{path} {start}"));
    if !token.is_empty() {
        log.lock().unwrap().push(format!("token for {path}"));
    }
    let head = |status: &str, headers: &str, length: usize| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
        )
    };
    if fault == Fault::Private && token != "Bearer secret" {
        return write!(stream, "{}", head("401 Unauthorized", "", 0));
    }
    if path.starts_with("/api/models/maker/model/revision/") {
        if fault == Fault::Page {
            let page = "<!DOCTYPE html><html>Log in</html>";
            let headers = "Content-Type: text/html; charset=utf-8\r\n";
            return write!(stream, "{}{page}", head("200 OK", headers, page.len()));
        }
        if fault == Fault::Drips {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(b" ")?;
                std::thread::sleep(std::time::Duration::from_millis(300));
            }
        }
        if fault == Fault::Endless {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{{\"sha\": \"")?;
            loop {
                stream.write_all(&[b'a'; 1 << 16])?;
            }
        }
        let commit = if fault == Fault::OutsideCommit { OUTSIDE } else { COMMIT };
        let names = std::fs::read_dir(folder)?.map(|e| {
            let name = e.unwrap().file_name().into_string().unwrap();
            serde_json::json!({ "rfilename": name })
        });
        let json = serde_json::json!({ "sha": commit, "siblings": names.collect::<Vec<_>>() });
        let json = json.to_string();
        return write!(
            stream,
            "{}{json}",
            head("200 OK", "Content-Type: application/json\r\n", json.len())
        );
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let Ok(mut bytes) = std::fs::read(folder.join(name)) else {
        return write!(stream, "{}", head("404 Not Found", "", 0));
    };
    let is_weights = name == WEIGHTS;
    // Large files have their SHA-256 as etag and come from another place, others git's hash of a blob.
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let blob = [format!("blob {}\0", bytes.len()).as_bytes(), &bytes].concat();
    let etag = match fault {
        Fault::OutsideEtag => OUTSIDE.to_string(),
        _ if is_weights => hex(&Sha256::digest(&bytes)),
        _ => hex(&sha1::Sha1::digest(&blob)),
    };
    if (is_weights || fault == Fault::Elsewhere) && !path.starts_with("/cdn/") {
        let headers = format!(
            "Location: {base}/cdn/{name}\r\nx-linked-etag: \"{etag}\"\r\nx-repo-commit: {COMMIT}\r\n"
        );
        return write!(stream, "{}", head("302 Found", &headers, 0));
    }
    let total = bytes.len();
    if start >= total {
        return write!(stream, "{}", head("416 Range Not Satisfiable", "", 0));
    }
    let probe = end.is_some();
    let once = || broken.fetch_add(1, Ordering::SeqCst) == 0;
    let is_damaged = match fault {
        Fault::Damaged => is_weights,
        Fault::DamagedOnce => is_weights && !probe && once(),
        Fault::SmallDamaged => name == "config.json",
        _ => false,
    };
    if is_damaged && !probe {
        bytes[total / 2] ^= 1;
    }
    let short = is_weights && !probe && fault == Fault::Short;
    let last = end.map_or(total, |end| (end + 1).min(total)) - if short { 1000 } else { 0 };
    let body = &bytes[start..last];
    let headers = format!(
        "etag: \"{etag}\"\r\nx-repo-commit: {COMMIT}\r\nContent-Range: bytes {start}-{}/{total}\r\n",
        last - 1
    );
    if fault == Fault::TooLong && is_weights && !probe {
        let status = "HTTP/1.1 206 Partial Content";
        write!(stream, "{status}\r\nConnection: close\r\n{headers}\r\n")?;
        stream.write_all(body)?;
        loop {
            stream.write_all(&[0; 1 << 16])?;
        }
    }
    write!(stream, "{}", head("206 Partial Content", &headers, body.len()))?;
    match fault {
        Fault::Stalls if is_weights && !probe => {
            stream.write_all(&body[..1000])?;
            std::thread::sleep(std::time::Duration::from_secs(600));
            Ok(())
        }
        Fault::BreaksOff(times)
            if is_weights && !probe && broken.fetch_add(1, Ordering::SeqCst) < times =>
        {
            stream.write_all(&body[..body.len().min(100_000)])
        }
        _ => stream.write_all(body),
    }
}

fn blemish_with(home: &Path, hub: &Hub) -> assert_cmd::Command {
    let mut command = blemish(home);
    command.env("HF_ENDPOINT", &hub.endpoint);
    command
}

/// Files of the cache that are neither whole blobs nor references to them.
fn leftovers(home: &Path) -> Vec<String> {
    walkdir::WalkDir::new(home.join("hf"))
        .into_iter()
        .filter_map(|e| e.unwrap().file_name().to_str().map(String::from))
        .filter(|name| name.ends_with(".part"))
        .collect()
}

#[test]
fn downloads_once_and_then_scores_from_the_cache_without_a_network() {
    let home = tempdir().unwrap();
    let hub = Hub::start(Fault::None);
    let image = home.path().join("p.png");
    photo(&image, 120, 120);
    let score = |command: &mut assert_cmd::Command| {
        let arguments = ["score", "--product", "nut", "--model", "maker/model"];
        let assert = command.args(arguments).arg(&image).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    let first = score(&mut blemish_with(home.path(), &hub));
    let requests = hub.requests().len();
    assert!(requests > 4, "{:?}", hub.requests());
    let second = score(&mut blemish_with(home.path(), &hub));
    assert_eq!(hub.requests().len(), requests, "the second run asks for nothing");
    let third = score(
        blemish(home.path()).env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HUB_OFFLINE", "1"),
    );
    let result = |text: &str| {
        let row: serde_json::Value = serde_json::from_str(text).unwrap();
        (row["score"].clone(), row["model_sha256"].clone(), row["model"].clone())
    };
    assert_eq!(result(&first), result(&second));
    assert_eq!(result(&first), result(&third));
    // The layout that Python's huggingface_hub reads.
    let snapshot = home.path().join("hf/hub/models--maker--model/snapshots").join(COMMIT);
    assert!(snapshot.join("tokenizer.json").is_file() && snapshot.join(WEIGHTS).is_file());
    let main = home.path().join("hf/hub/models--maker--model/refs/main");
    assert_eq!(std::fs::read_to_string(main).unwrap(), COMMIT);
    // A pinned revision is the same snapshot.
    let arguments = ["score", "--product", "nut", "--model", &format!("maker/model@{COMMIT}")];
    blemish(home.path()).env("HF_HUB_OFFLINE", "1").args(arguments).arg(&image).assert().success();
}

#[test]
fn a_commit_that_was_fetched_serves_the_branch_that_points_to_it() {
    let home = tempdir().unwrap();
    let hub = Hub::start(Fault::None);
    let pull = |command: &mut assert_cmd::Command, model: &str| {
        command.args(["models", "pull", model, "--quiet"]).assert()
    };
    pull(&mut blemish_with(home.path(), &hub), &format!("maker/model@{COMMIT}")).success();
    let offline = |model: &str| pull(blemish(home.path()).env("HF_HUB_OFFLINE", "1"), model);
    offline(&format!("maker/model@{COMMIT}")).success();
    offline("maker/model").code(1);
    let weights = |hub: &Hub| hub.requests().iter().filter(|r| r.starts_with("/cdn/")).count();
    let before = weights(&hub);
    pull(&mut blemish_with(home.path(), &hub), "maker/model").success();
    assert_eq!(weights(&hub), before, "only the name is asked for");
    offline("maker/model").success();

    // Files that stay the same in a newer commit are not fetched again.
    #[cfg(unix)]
    {
        let folder = home.path().join("hf/hub/models--maker--model");
        let older = folder.join("snapshots").join("f".repeat(40));
        std::fs::rename(folder.join("snapshots").join(COMMIT), older).unwrap();
        pull(&mut blemish_with(home.path(), &hub), "maker/model").success();
        assert!(
            hub.requests()[before..].iter().all(|r| !r.starts_with("/cdn/") || r.ends_with(" 0"))
        );
        assert!(folder.join("snapshots").join(COMMIT).join(WEIGHTS).is_file());
    }
}

#[test]
fn what_arrived_before_is_checked_too() {
    let home = tempdir().unwrap();
    let pull = ["models", "pull", "maker/model", "--quiet"];
    blemish_with(home.path(), &Hub::start(Fault::None)).args(pull).assert().success();
    // As a run leaves it that is killed between the download and the check; here it is damaged.
    let snapshot = home.path().join("hf/hub/models--maker--model/snapshots").join(COMMIT);
    let blob = snapshot.join(WEIGHTS).canonicalize().unwrap();
    let length = blob.metadata().unwrap().len() as usize;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(blob.with_extension("part"), vec![0; length]).unwrap();
    blemish(home.path()).env("HF_HUB_OFFLINE", "1").args(pull).assert().code(1);
    blemish_with(home.path(), &Hub::start(Fault::None)).args(pull).assert().success();
    assert_eq!(
        std::fs::read(&blob).unwrap(),
        std::fs::read(fixture(SERVED).join(WEIGHTS)).unwrap()
    );
    assert!(leftovers(home.path()).is_empty());
}

/// What the cache holds may have been damaged, or come from another program.
#[test]
fn pulling_again_mends_the_cache() {
    let home = tempdir().unwrap();
    let hub = Hub::start(Fault::None);
    let pull = ["models", "pull", "maker/model", "--quiet"];
    blemish_with(home.path(), &hub).args(pull).assert().success();
    let snapshot = home.path().join("hf/hub/models--maker--model/snapshots").join(COMMIT);
    for name in [WEIGHTS, "config.json"] {
        let blob = snapshot.join(name).canonicalize().unwrap();
        let whole = std::fs::read(&blob).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        std::fs::write(&blob, damaged).unwrap();
        blemish_with(home.path(), &hub).args(pull).assert().success();
        assert!(std::fs::read(&blob).unwrap() == whole, "{name}");
    }
}

#[test]
fn settings_that_cannot_be_followed_are_named() {
    let home = tempdir().unwrap();
    let hub = Hub::start(Fault::None);
    let pull = |name: &str, value: &str| {
        let mut command = blemish_with(home.path(), &hub);
        command.env(name, value).args(["models", "pull", "maker/model", "--quiet"]).assert()
    };
    for value in ["soon", "-1", "NaN"] {
        pull("HF_HUB_DOWNLOAD_TIMEOUT", value).code(1).stderr(contains("is no number of seconds"));
    }
    pull("SSL_CERT_FILE", "/no/such/file.pem")
        .code(1)
        .stderr(contains("SSL_CERT_FILE cannot be used"));
    pull("HF_HUB_DOWNLOAD_TIMEOUT", "18446744073709551615").success();
    pull("HF_HUB_DOWNLOAD_TIMEOUT", "1.5").success();
}

#[test]
fn small_files_are_checked_and_what_is_damaged_is_fetched_again_once() {
    let pull = ["models", "pull", "maker/model", "--quiet"];
    let home = tempdir().unwrap();
    blemish_with(home.path(), &Hub::start(Fault::SmallDamaged))
        .args(pull)
        .assert()
        .code(1)
        .stderr(contains("config.json: arrived damaged (git hash"));
    let home = tempdir().unwrap();
    let hub = Hub::start(Fault::DamagedOnce);
    blemish_with(home.path(), &hub).args(pull).assert().success();
    let whole = |r: &&String| r.starts_with("/cdn/");
    // A probe, a damaged body and a right one.
    assert_eq!(hub.requests().iter().filter(whole).count(), 3, "{:?}", hub.requests());
}

#[test]
fn a_hub_that_stalls_or_does_not_end_is_left() {
    for (fault, message) in [
        (Fault::Stalls, "broke off"),
        (Fault::Endless, "does not end"),
        (Fault::TooLong, "were promised"),
        (Fault::Page, "a web page where data is due"),
        (Fault::Drips, "comes too slowly"),
    ] {
        let home = tempdir().unwrap();
        let start = std::time::Instant::now();
        let assert = blemish_with(home.path(), &Hub::start(fault))
            .env("HF_HUB_DOWNLOAD_TIMEOUT", "1")
            .args(["models", "pull", "maker/model", "--quiet"])
            .timeout(std::time::Duration::from_secs(60))
            .assert()
            .code(1)
            .stderr(contains(message));
        let stderr = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(start.elapsed().as_secs() < 50, "{message}");
        // No more than was promised lies on the disk.
        let files = walkdir::WalkDir::new(home.path()).into_iter().map(Result::unwrap);
        let bytes: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
        assert!(bytes < 20_000_000, "{message}: {bytes}");
    }
}

#[test]
fn names_of_a_hub_stay_in_the_cache() {
    for (fault, message) in
        [(Fault::OutsideEtag, "which is none"), (Fault::OutsideCommit, "which is no hash")]
    {
        let home = tempdir().unwrap();
        blemish_with(home.path(), &Hub::start(fault))
            .args(["models", "pull", "maker/model", "--quiet"])
            .assert()
            .code(1)
            .stderr(contains(message));
        let names = walkdir::WalkDir::new(home.path()).into_iter().map(Result::unwrap);
        let outside = |e: &walkdir::DirEntry| e.file_name().to_string_lossy().contains("outside");
        assert_eq!(names.filter(outside).count(), 0, "{message}");
    }
}

#[test]
fn the_token_is_for_the_hub_alone() {
    let other = Hub::start(Fault::None);
    let hub = Hub::start_beside(Fault::Elsewhere, &other.endpoint);
    let home = tempdir().unwrap();
    blemish_with(home.path(), &hub)
        .env("HF_TOKEN", "secret")
        .args(["models", "pull", "maker/model", "--quiet"])
        .assert()
        .success();
    let with_token = |hub: &Hub| hub.requests().iter().filter(|r| r.starts_with("token")).count();
    assert!(with_token(&hub) > 2, "{:?}", hub.requests());
    assert_eq!(with_token(&other), 0, "{:?}", other.requests());
    assert!(other.requests().iter().any(|r| r.starts_with("/cdn/config.json")));
}

/// Behind a proxy that opens TLS: its certificate is no public one.
#[test]
fn the_machine_says_which_certificates_are_trusted() {
    let home = tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let ca = home.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = stream.unwrap();
            let mut tls = rustls::Stream::new(&mut connection, &mut stream);
            let mut line = String::new();
            if BufReader::new(&mut tls).read_line(&mut line).is_ok() {
                let _ = tls.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
                let _ = tls.flush();
            }
        }
    });
    let pull = |certificates: Option<&Path>| {
        let mut command = blemish(home.path());
        command.env("HF_ENDPOINT", format!("https://localhost:{port}"));
        command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
        if let Some(file) = certificates {
            command.env("SSL_CERT_FILE", file);
        }
        let assert = command.args(["models", "pull", "a/b", "--quiet"]).assert().code(1);
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    let unknown = pull(None);
    assert!(unknown.contains("name its certificate with SSL_CERT_FILE"), "{unknown}");
    let known = pull(Some(&ca));
    assert!(known.contains("not found on the hub (404)"), "{known}");
}

#[test]
fn hf_hub_cache_decides_where_models_are_kept() {
    let home = tempdir().unwrap();
    let hub = Hub::start(Fault::None);
    blemish_with(home.path(), &hub)
        .env("HF_HUB_CACHE", home.path().join("elsewhere"))
        .args(["models", "pull", "maker/model", "--quiet"])
        .assert()
        .success()
        .stderr("");
    assert!(home.path().join("elsewhere/models--maker--model/blobs").is_dir());
    assert!(!home.path().join("hf").exists());
}

#[test]
fn offline_without_a_cache_says_so() {
    let home = tempdir().unwrap();
    let hub = Hub::start(Fault::None);
    blemish_with(home.path(), &hub)
        .env("HF_HUB_OFFLINE", "1")
        .args(["models", "pull", "maker/model"])
        .assert()
        .code(1)
        .stderr(contains("downloads are off"));
    assert!(hub.requests().is_empty());
}

#[test]
fn no_network_and_unknown_repositories_are_said_in_one_line() {
    let home = tempdir().unwrap();
    let hub = Hub::start(Fault::None);
    let pull = |endpoint: &str, model: &str| {
        let assert = blemish(home.path())
            .env("HF_ENDPOINT", endpoint)
            .args(["models", "pull", model])
            .assert()
            .code(1);
        let stderr = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        stderr
    };
    assert!(pull("http://127.0.0.1:9", "maker/model").contains("cannot be reached"));
    assert!(pull(&hub.endpoint, "maker/nothing").contains("not found on the hub (404)"));
}

#[test]
fn a_broken_download_goes_on_where_it_broke_off() {
    let home = tempdir().unwrap();
    let hub = Hub::start(Fault::BreaksOff(2));
    let pull = ["models", "pull", "maker/model", "--quiet"];
    blemish_with(home.path(), &hub).args(pull).assert().success();
    let starts: Vec<String> = hub
        .requests()
        .into_iter()
        .filter(|r| r.starts_with("/cdn/") && !r.ends_with(" 0"))
        .collect();
    assert_eq!(starts, ["/cdn/model.safetensors 100000", "/cdn/model.safetensors 200000"]);
    assert!(leftovers(home.path()).is_empty());
}

#[test]
fn a_download_that_keeps_breaking_is_kept_for_the_next_run() {
    let home = tempdir().unwrap();
    let pull = ["models", "pull", "maker/model", "--quiet"];
    blemish_with(home.path(), &Hub::start(Fault::BreaksOff(usize::MAX)))
        .args(pull)
        .assert()
        .code(1)
        .stderr(contains("what has arrived is kept"));
    assert_eq!(leftovers(home.path()).len(), 1);
    let hub = Hub::start(Fault::None);
    blemish_with(home.path(), &hub).args(pull).assert().success();
    let resumed = |r: &String| r.starts_with("/cdn/") && !r.ends_with(" 0");
    assert!(hub.requests().iter().any(resumed), "{:?}", hub.requests());
    assert!(leftovers(home.path()).is_empty());
}

#[test]
fn a_file_of_the_wrong_size_or_content_is_thrown_away() {
    for (fault, message) in [(Fault::Short, "were promised"), (Fault::Damaged, "arrived damaged")] {
        let home = tempdir().unwrap();
        let pull = ["models", "pull", "maker/model", "--quiet"];
        blemish_with(home.path(), &Hub::start(fault))
            .args(pull)
            .assert()
            .code(1)
            .stderr(contains(message));
        // Nothing of it is taken for the model afterwards.
        let snapshot = home.path().join("hf/hub/models--maker--model/snapshots").join(COMMIT);
        assert!(std::fs::symlink_metadata(snapshot.join(WEIGHTS)).is_err());
        blemish_with(home.path(), &Hub::start(Fault::None)).args(pull).assert().success();
        let read = |folder: &Path| std::fs::read(folder.join(WEIGHTS)).unwrap();
        assert_eq!(read(&snapshot), read(&fixture(SERVED)));
    }
}

#[test]
fn a_private_repository_needs_the_token() {
    let home = tempdir().unwrap();
    let hub = Hub::start(Fault::Private);
    let pull = ["models", "pull", "maker/model", "--quiet"];
    blemish_with(home.path(), &hub).args(pull).assert().code(1).stderr(contains("set HF_TOKEN"));
    blemish_with(home.path(), &hub).env("HF_TOKEN", "secret").args(pull).assert().success();
}
