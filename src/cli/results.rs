//! Results photo by photo: drawn, printed, counted.

use std::io::{IsTerminal, StdoutLock};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;

use blemish::report::{Format, Printer, Record};
use blemish::{BitDepth, Finding, Photo};
use indicatif::ProgressBar;

use super::folder::named;
use super::scorer::Scorer;
use super::setup::{Model, Notes, progress_bar};

/// Where results go, photo by photo, and what went wrong.
pub struct Results<'a> {
    pub scorer: &'a Scorer<'a>,
    pub photos: Vec<PathBuf>,
    pub depth: BitDepth,
    targets: Vec<Option<PathBuf>>,
    printer: Printer<StdoutLock<'static>>,
    pub bar: ProgressBar,
    failed: usize,
    scored: usize,
    notes: Notes,
}

impl<'a> Results<'a> {
    pub fn new(
        scorer: &'a Scorer<'a>,
        photos: Vec<PathBuf>,
        targets: Vec<Option<PathBuf>>,
        depth: BitDepth,
        failed: usize,
    ) -> Self {
        let stdout = std::io::stdout().lock();
        let default = if stdout.is_terminal() { Format::Table } else { Format::Jsonl };
        let quiet = scorer.args.method.model.quiet;
        let printer = Printer::new(stdout, scorer.args.format.unwrap_or(default));
        // The first part's header is all parts'.
        let is_first = scorer.args.shard.is_none_or(|(shard, _)| shard == 0);
        Self {
            printer: if is_first { printer } else { printer.without_header() },
            bar: progress_bar(photos.len(), quiet),
            notes: Notes::new(quiet),
            scored: 0,
            scorer,
            photos,
            depth,
            targets,
            failed,
        }
    }

    /// Each photo by itself.
    pub fn one_by_one(&mut self, model: Option<&Model>) -> anyhow::Result<()> {
        let scorer = self.scorer;
        let detector = scorer.detector(model)?;
        let (photos, depth) = (self.photos.clone(), self.depth);
        std::thread::scope(|scope| {
            // The next photo is read while this one is inspected.
            let (sender, receiver) = sync_channel(1);
            let (reader, photos) = (&detector, &photos);
            scope.spawn(move || {
                for path in photos {
                    let read = Photo::open(path, depth);
                    let ready = read.map(|photo| {
                        let prepared = reader.prepare(&photo);
                        (photo, prepared)
                    });
                    if sender.send(ready).is_err() {
                        return;
                    }
                }
            });
            for (i, ready) in receiver.into_iter().enumerate() {
                let found = ready.and_then(|(photo, prepared)| {
                    self.notes.say(&self.bar, &photos[i], &photo);
                    let (record, finding) = scorer.score(&detector, &photos[i], &prepared)?;
                    Ok((record, finding, Some(photo)))
                });
                let goes_on = match found {
                    Ok((record, finding, photo)) => self.keep(i, record, &finding, photo)?,
                    Err(error) => {
                        self.fail(&named(&photos[i], &error));
                        true
                    }
                };
                self.bar.inc(1);
                if !goes_on {
                    return Ok(());
                }
            }
            anyhow::Ok(())
        })
    }

    /// Draws what was found in a photo (opening it where it is not given) and prints it. False when nobody reads on.
    pub fn keep(
        &mut self,
        photo: usize,
        mut record: Record,
        finding: &Finding,
        opened: Option<Photo>,
    ) -> anyhow::Result<bool> {
        if let Some(target) = &self.targets[photo] {
            let opened = opened.map_or_else(|| Photo::open(&self.photos[photo], self.depth), Ok);
            let drawn =
                opened.and_then(|photo| self.scorer.draw(&photo, finding, target, &mut record));
            // A result that cannot be drawn is still a result.
            if let Err(error) = drawn {
                self.fail(&error);
            }
        }
        self.scored += 1;
        self.bar.suspend(|| super::printed(self.printer.print(&record)))
    }

    /// Says what is wrong with a photo.
    pub fn fail(&mut self, error: &dyn std::fmt::Display) {
        self.failed += 1;
        self.bar.suspend(|| say!("{error}"));
    }

    /// Says what is notable about a photo.
    pub fn note(&mut self, note: &str) {
        self.notes.once(&self.bar, note);
    }

    pub fn finish(self) -> ExitCode {
        self.bar.finish_and_clear();
        if super::is_stopped() {
            return ExitCode::from(super::STOPPED);
        }
        let failed = self.failed;
        if failed > 0 && !self.scorer.args.method.model.quiet {
            say!(
                "{failed} {} above; {} of {} photos were scored",
                if failed == 1 { "problem" } else { "problems" },
                self.scored,
                self.photos.len()
            );
        }
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
