//! Sends each result on: again and again until it has arrived, also after a restart.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blemish::files::write_whole;

use super::log::RESULTS;
use crate::cli::terminal::is_stopped;

/// How often new results are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The pause after a failure. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where results are sent.
pub trait Receiver: Send + 'static {
    /// For messages.
    fn name(&self) -> &str;

    /// Sends a result. Ok means that it has arrived.
    fn send(&mut self, row: &str) -> Result<(), String>;
}

/// Starts a thread that sends all results of a folder in order. `name`: of the file that remembers how far it came. After a
/// stop, the thread sends what it can at once, and ends.
pub fn start(
    out: &Path,
    name: &str,
    receiver: Box<dyn Receiver>,
) -> std::io::Result<JoinHandle<()>> {
    let sender =
        Sender { results: out.join(RESULTS), mark: out.join(format!("{name}.sent")), receiver };
    std::thread::Builder::new().name(name.into()).spawn(move || sender.run())
}

struct Sender {
    results: PathBuf,
    /// Its file holds how many bytes of the results have arrived.
    mark: PathBuf,
    receiver: Box<dyn Receiver>,
}

impl Sender {
    fn run(mut self) {
        let mut sent = self.sent();
        loop {
            match self.next(sent) {
                Some(row) => {
                    if !self.deliver(row.trim_end()) {
                        return;
                    }
                    sent += row.len() as u64;
                    if let Err(error) = write_whole(&self.mark, sent.to_string().as_bytes()) {
                        say!("{error}; after a restart, results are sent again");
                    }
                }
                None if is_stopped() => return,
                None => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// How many bytes have arrived. 0 if the results were removed.
    fn sent(&self) -> u64 {
        let text = blemish::files::read_text(&self.mark, 64).unwrap_or_default();
        let sent = String::from_utf8_lossy(&text).trim().parse().unwrap_or(0);
        let length = std::fs::metadata(&self.results).map_or(0, |about| about.len());
        if sent > length { 0 } else { sent }
    }

    /// The whole line at a place.
    fn next(&self, at: u64) -> Option<String> {
        let mut file = File::open(&self.results).ok()?;
        file.seek(SeekFrom::Start(at)).ok()?;
        let mut line = String::new();
        BufReader::new(file).read_line(&mut line).ok()?;
        line.ends_with('\n').then_some(line)
    }

    /// False if the program is stopped before it could be sent.
    fn deliver(&mut self, row: &str) -> bool {
        let (mut pause, mut has_failed) = (FIRST_PAUSE, false);
        loop {
            let Err(why) = self.receiver.send(row) else {
                if has_failed {
                    say!("{} takes results again", self.receiver.name());
                }
                return true;
            };
            if is_stopped() {
                let name = self.receiver.name();
                say!("{name}: {why}; what was not sent will be sent at the next start");
                return false;
            }
            if !has_failed {
                say!("warning: {}: {why}; it is tried again", self.receiver.name());
            }
            has_failed = true;
            let start = Instant::now();
            while start.elapsed() < pause && !is_stopped() {
                std::thread::sleep(LOOK_EVERY);
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }
}
