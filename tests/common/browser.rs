//! Debian's Chromium through ChromeDriver, by the WebDriver protocol (W3C) over HTTP.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub struct Browser {
    driver: Child,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// None where Chromium is not installed, which is said. With `BLEMISH_NEEDS_BROWSER` that is an error.
    pub fn start(downloads: &Path) -> Option<Self> {
        let driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn();
        let Ok(mut driver) = driver else {
            assert!(std::env::var_os("BLEMISH_NEEDS_BROWSER").is_none(), "no chromedriver here");
            eprintln!(
                "not tested: chromedriver is not installed (Debian: apt-get install chromium-driver)"
            );
            return None;
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_string())
        });
        let address = format!("http://127.0.0.1:{}", port.expect("the driver says its port"));
        let profile = tempfile::tempdir().unwrap();
        let folder = format!("--user-data-dir={}", profile.path().display());
        let flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
                     --disable-background-networking --disable-component-update --disable-sync \
                     --disable-dev-shm-usage \
                     --window-size=1240,900 --lang=en";
        let flags: Vec<&str> = flags.split_whitespace().chain([&*folder]).collect();
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": flags, "prefs": { "download.default_directory": downloads } },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let session = call("POST", &format!("{address}/session"), Some(&wanted));
        let id = session["sessionId"].as_str().expect("a session").to_string();
        let session = format!("{address}/session/{id}");
        Some(Self { driver, session, _profile: profile })
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        call("POST", &format!("{}/{path}", self.session), Some(body))
    }

    /// Opens a file of this machine.
    pub fn open(&self, file: &Path) {
        self.post("url", &json!({ "url": format!("file://{}", file.display()) }));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true.
    pub fn wait(&self, expression: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.run(&format!("return Boolean({expression})")) != true {
            assert!(Instant::now() < end, "never came true: {expression}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses keys, one after another. Special keys have WebDriver's codes, such as `\u{e015}` (arrow down).
    pub fn press(&self, keys: &str) {
        let events = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
        });
        let actions =
            json!([{ "type": "key", "id": "keys", "actions": events.collect::<Vec<_>>() }]);
        self.post("actions", &json!({ "actions": actions }));
    }

    /// Drags the mouse between two points of the window.
    pub fn drag(&self, from: (f64, f64), to: (f64, f64)) {
        let go = |(x, y): (f64, f64)| json!({ "type": "pointerMove", "duration": 50, "x": x as i64, "y": y as i64 });
        let button = |kind: &str| json!({ "type": kind, "button": 0 });
        let moves = [go(from), button("pointerDown"), go(to), button("pointerUp")];
        let mouse = json!({ "type": "pointer", "id": "mouse", "actions": moves });
        self.post("actions", &json!({ "actions": [mouse] }));
    }

    /// The messages of the console, and the addresses that were requested, since the last call.
    pub fn logs(&self) -> (Vec<String>, Vec<String>) {
        let of = |kind: &str| {
            let log = self.post("se/log", &json!({ "type": kind }));
            let entries = log.as_array().expect("a list").clone();
            entries.into_iter().map(|entry| entry["message"].as_str().unwrap().to_string())
        };
        let console = of("browser").collect();
        let request = |entry: String| {
            let message = &serde_json::from_str::<Value>(&entry).unwrap()["message"];
            let is_request = message["method"] == "Network.requestWillBeSent";
            is_request.then(|| message["params"]["request"]["url"].as_str().unwrap().to_string())
        };
        (console, of("performance").filter_map(request).collect())
    }

    /// A picture of the window, for a person.
    pub fn screenshot(&self, file: &Path) {
        use base64::Engine;
        let picture = call("GET", &format!("{}/screenshot", self.session), None);
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap());
        std::fs::write(file, bytes.unwrap()).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session.
        let _ = ureq::delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn call(method: &str, address: &str, body: Option<&Value>) -> Value {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = ureq::http::Request::builder().method(method).uri(address);
    let request = request.header("content-type", "application/json");
    let text = body.map_or(String::new(), Value::to_string);
    let mut answer = agent.run(request.body(text).unwrap()).unwrap();
    let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    assert!(answer["value"]["error"].is_null(), "{method} {address}: {}", answer["value"]);
    answer["value"].clone()
}
