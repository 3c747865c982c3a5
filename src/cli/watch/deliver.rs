//! Sends each result on: again and again until it has arrived, also after a restart.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blemish::files::{open, write_whole};

use super::log::RESULTS;
use crate::cli::terminal::is_stopped;

/// How often new results are looked for.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The pause after a failure. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long results are still sent after a stop.
const AFTER_STOP: Duration = Duration::from_secs(5);

/// Where results are sent.
pub trait Receiver: Send + 'static {
    /// For messages.
    fn name(&self) -> &str;

    /// Sends a result. Ok means that it has arrived.
    fn send(&mut self, row: &str) -> Result<(), String>;

    /// Called while there is nothing to send.
    fn idle(&mut self) {}
}

/// Starts a thread that sends all results of a folder in order. `name`: of the file that remembers how far it came. After a
/// stop, it goes on for some seconds. The rest is sent after the next start.
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
        let (mut sent, mut stopped) = (self.sent(), None);
        loop {
            if is_stopped() && stopped.get_or_insert_with(Instant::now).elapsed() > AFTER_STOP {
                say!("{}: the rest will be sent after the next start", self.receiver.name());
                return;
            }
            sent = self.checked(sent);
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
                None => {
                    self.receiver.idle();
                    std::thread::sleep(LOOK_EVERY);
                }
            }
        }
    }

    /// How many bytes have arrived.
    fn sent(&self) -> u64 {
        let text = blemish::files::read_text(&self.mark, 64).unwrap_or_default();
        String::from_utf8_lossy(&text).trim().parse().unwrap_or(0)
    }

    /// The same place, or 0 if the results were moved away: if no line ends there.
    fn checked(&self, sent: u64) -> u64 {
        let ends = || -> std::io::Result<bool> {
            let mut file = open(&self.results, u64::MAX)?;
            let mut last = [0];
            file.seek(SeekFrom::Start(sent - 1))?;
            Ok(file.read(&mut last)? == 1 && last == *b"\n")
        };
        if sent == 0 || ends().unwrap_or(false) { sent } else { 0 }
    }

    /// The whole line at a place.
    fn next(&self, at: u64) -> Option<String> {
        let mut file = open(&self.results, u64::MAX).ok()?;
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
