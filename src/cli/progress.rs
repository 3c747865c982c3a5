//! Progress bars and notes on standard error.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use blemish::Photo;
use indicatif::{ProgressBar, ProgressStyle};

/// A spinner for work of unknown length.
pub fn spinner(what: &'static str, quiet: bool) -> ProgressBar {
    let spinner = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.set_message(what);
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}

/// A bar with the photos done, photos per second and the time left.
pub fn progress_bar(photos: usize, quiet: bool) -> ProgressBar {
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(photos as u64) };
    let style =
        ProgressStyle::with_template("[{bar:30}] {pos}/{len} photos{msg}, {per_sec}, {eta} left");
    bar.set_style(style.expect("a template that every run tests"));
    bar
}

/// Notes about the reading of photos. Only the first one is printed, because it is often true for many photos.
pub struct Notes {
    said: bool,
}

impl Notes {
    pub fn new(quiet: bool) -> Self {
        Self { said: quiet }
    }

    /// Prints the note of a photo, if it has one.
    pub fn say(&mut self, bar: &ProgressBar, path: &Path, photo: &Photo) {
        if let Some(note) = photo.note() {
            self.once(bar, &format!("{}: {note}", path.display()));
        }
    }

    pub fn once(&mut self, bar: &ProgressBar, note: &str) {
        if !std::mem::replace(&mut self.said, true) {
            bar.suspend(|| say!("note: {note} (shown once)"));
        }
    }
}

/// A bar for the current step of the work.
pub struct StepBar(Mutex<(String, ProgressBar)>, bool);

impl StepBar {
    pub fn new(quiet: bool) -> Self {
        Self(Mutex::new((String::new(), ProgressBar::hidden())), quiet)
    }

    pub fn show(&self, what: &str, share: f64) {
        const STEPS: u64 = 1000;
        let Ok(mut state) = self.0.lock() else { return };
        if state.0 != what {
            state.1.finish_and_clear();
            let bar = if self.1 { ProgressBar::hidden() } else { ProgressBar::new(STEPS) };
            let style = ProgressStyle::with_template("[{bar:30}] {percent} % {msg}, {eta} left");
            *state = (what.to_string(), bar.with_style(style.expect("a template of our own")));
            state.1.set_message(what.to_string());
        }
        state.1.set_position((share * STEPS as f64) as u64);
    }

    pub fn finish(&self) {
        if let Ok(state) = self.0.lock() {
            state.1.finish_and_clear();
        }
    }
}
