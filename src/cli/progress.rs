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
pub struct StepBar {
    step: Mutex<(String, ProgressBar)>,
    quiet: bool,
}

impl StepBar {
    pub fn new(quiet: bool) -> Self {
        Self { step: Mutex::new((String::new(), ProgressBar::hidden())), quiet }
    }

    /// Shows a step, and which share of it is done, 0..1.
    pub fn show(&self, what: &str, share: f64) {
        const PARTS: u64 = 1000;
        let Ok(mut step) = self.step.lock() else { return };
        let (name, bar) = &mut *step;
        if name != what {
            bar.finish_and_clear();
            let next = if self.quiet { ProgressBar::hidden() } else { ProgressBar::new(PARTS) };
            let style = ProgressStyle::with_template("[{bar:30}] {percent} % {msg}, {eta} left");
            *bar = next.with_style(style.expect("a template of our own"));
            *name = what.to_string();
            bar.set_message(what.to_string());
        }
        bar.set_position((share * PARTS as f64) as u64);
    }

    pub fn finish(&self) {
        if let Ok(step) = self.step.lock() {
            step.1.finish_and_clear();
        }
    }
}
