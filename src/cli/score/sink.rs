//! Draws, prints and counts the results, photo by photo.

use std::io::{IsTerminal, StdoutLock};
use std::path::Path;
use std::process::ExitCode;

use blemish::report::Record;
use blemish::{Finding, Photo};
use indicatif::ProgressBar;

use super::context::ScoreContext;
use super::plan::Plan;
use crate::cli::printer::{Format, Printer};
use crate::cli::progress::{Notes, progress_bar};
use crate::cli::terminal::{STOPPED, is_stopped, printed};

/// Takes the results photo by photo, and counts the errors.
pub struct ResultSink<'a> {
    pub context: &'a ScoreContext,
    pub plan: &'a Plan,
    pub bar: ProgressBar,
    printer: Printer<StdoutLock<'static>>,
    failed: usize,
    scored: usize,
    notes: Notes,
}

impl<'a> ResultSink<'a> {
    pub fn new(context: &'a ScoreContext, plan: &'a Plan) -> Self {
        let stdout = std::io::stdout().lock();
        let default = if stdout.is_terminal() { Format::Table } else { Format::Jsonl };
        let printer = Printer::new(stdout, plan.format.unwrap_or(default));
        Self {
            printer: if plan.has_header { printer } else { printer.without_header() },
            bar: progress_bar(plan.photos.len(), plan.quiet),
            notes: Notes::new(plan.quiet),
            failed: plan.failed,
            scored: 0,
            context,
            plan,
        }
    }

    /// Draws and prints the result of a photo. Opens the photo if it is not given. False if nobody reads the output any
    /// more.
    pub fn keep(
        &mut self,
        photo: usize,
        mut record: Record,
        finding: &Finding,
        opened: Option<Photo>,
    ) -> anyhow::Result<bool> {
        let plan = self.plan;
        if let Some(target) = &plan.targets[photo] {
            let opened = opened.map_or_else(|| Photo::open(&plan.photos[photo], plan.depth), Ok);
            let drawn = opened.and_then(|photo| {
                self.context.draw(&photo, finding, (target, &plan.drawing), &mut record)
            });
            // A result that cannot be drawn is still valid.
            if let Err(error) = drawn {
                self.fail(&error);
            }
        }
        self.scored += 1;
        self.bar.suspend(|| printed(self.printer.print(&record)))
    }

    /// Reports an error and counts it.
    pub fn fail(&mut self, error: &dyn std::fmt::Display) {
        self.failed += 1;
        self.bar.suspend(|| say!("{error}"));
    }

    /// Prints a message, unless `--quiet` is given.
    pub fn say(&self, text: &str) {
        if !self.plan.quiet {
            self.bar.suspend(|| say!("{text}"));
        }
    }

    /// Prints a note about the reading of photos, but only the first one.
    pub fn note(&mut self, note: &str) {
        self.notes.once(&self.bar, note);
    }

    /// The same for the note of a photo.
    pub fn note_photo(&mut self, path: &Path, photo: &Photo) {
        self.notes.say(&self.bar, path, photo);
    }

    pub fn finish(self) -> ExitCode {
        self.bar.finish_and_clear();
        if is_stopped() {
            return ExitCode::from(STOPPED);
        }
        let failed = self.failed;
        if failed > 0 && !self.plan.quiet {
            say!(
                "{failed} {} above; {} of {} photos were scored",
                if failed == 1 { "problem" } else { "problems" },
                self.scored,
                self.plan.photos.len()
            );
        }
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
