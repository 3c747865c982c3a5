//! Draws, prints and counts the results, photo by photo.

use std::collections::BTreeSet;
use std::io::StdoutLock;
use std::path::Path;
use std::process::ExitCode;

use blemish::report::Record;
use blemish::{Finding, Photo};
use indicatif::ProgressBar;

use super::args::FailOn;
use super::context::ScoreContext;
use super::ignoring::Ignoring;
use super::plan::Plan;
use super::table::Table;
use crate::cli::printer::{Format, Printer};
use crate::cli::progress::{Notes, progress_bar};
use crate::cli::terminal::{STOPPED, is_stopped, note_stop, printed};

/// The exit code of `--fail-on`.
const FOUND: u8 = 3;

/// Takes the results photo by photo, and counts the errors.
pub struct ResultSink<'a> {
    pub context: &'a ScoreContext,
    pub plan: &'a Plan,
    pub bar: ProgressBar,
    output: Output,
    failed: usize,
    counts: Counts,
    notes: Notes,
    ignoring: Ignoring,
    /// Whether Ctrl-C came before the first result.
    was_stopped: bool,
    /// Whether nobody reads the output any more.
    is_unread: bool,
}

/// Where results go.
enum Output {
    /// Each at once, so a run that is interrupted loses none.
    Stream(Printer<StdoutLock<'static>>),
    /// All at the end.
    Table(Box<Table>),
    Done,
}

impl<'a> ResultSink<'a> {
    pub fn new(context: &'a ScoreContext, plan: &'a Plan) -> Self {
        let has_verdict = context.has_profile();
        let output = match plan.format {
            Format::Table => {
                Output::Table(Box::new(Table::new(plan.table, has_verdict, &context.product)))
            }
            format => {
                let has_header = plan.table.has_header;
                Output::Stream(Printer::new(
                    std::io::stdout().lock(),
                    format == Format::Csv,
                    has_header,
                ))
            }
        };
        Self {
            output,
            bar: progress_bar(plan.photos.len(), plan.quiet),
            notes: Notes::new(plan.quiet),
            ignoring: Ignoring::default(),
            was_stopped: false,
            is_unread: false,
            failed: plan.failed,
            counts: Counts::default(),
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
        self.counts.add(&record);
        self.ignoring.add(finding);
        match &mut self.output {
            Output::Stream(printer) => {
                self.is_unread = !self.bar.suspend(|| printed(printer.print(&record)))?;
            }
            Output::Table(table) => table.add(&record),
            Output::Done => {}
        }
        Ok(self.goes_on())
    }

    /// From now on results come. A table is printed at the end, so the first Ctrl-C must not lose it.
    pub fn begin(&mut self) {
        self.was_stopped = is_stopped();
        if matches!(self.output, Output::Table(_)) {
            note_stop();
        }
    }

    /// False after Ctrl-C, and if nobody reads the output any more.
    pub fn goes_on(&self) -> bool {
        !self.is_unread && (self.was_stopped || !is_stopped())
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

    /// Prints what is printed at the end. Returns the exit code.
    pub fn finish(mut self) -> anyhow::Result<ExitCode> {
        self.bar.finish_and_clear();
        if let Output::Table(table) = std::mem::replace(&mut self.output, Output::Done) {
            printed(table.print(&mut std::io::stdout().lock()))?;
        }
        if is_stopped() {
            return Ok(ExitCode::from(STOPPED));
        }
        self.ignoring.warnings().iter().for_each(|warning| self.say(warning));
        let (failed, counts) = (self.failed, &self.counts);
        self.say(&counts.summary(self.plan.photos.len(), failed));
        if self.plan.format == Format::Table && !self.context.has_profile() && counts.scored > 0 {
            self.say("next: photos of good parts add verdicts; see blemish enroll --help");
        }
        let found = match self.plan.fail_on {
            Some(FailOn::Ng) => counts.ng,
            Some(FailOn::Uncertain) => counts.ng + counts.uncertain,
            None => 0,
        };
        Ok(match failed {
            // What was not scored may be ng.
            0 if self.is_unread && self.plan.fail_on.is_some() => ExitCode::FAILURE,
            0 if found > 0 => ExitCode::from(FOUND),
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}

/// What the closing line says.
#[derive(Default)]
struct Counts {
    scored: usize,
    ok: usize,
    ng: usize,
    uncertain: usize,
    methods: BTreeSet<String>,
}

impl Counts {
    fn add(&mut self, record: &Record) {
        self.scored += 1;
        match record.verdict {
            Some("ok") => self.ok += 1,
            Some("ng") => self.ng += 1,
            Some(_) => self.uncertain += 1,
            None => {}
        }
        if !self.methods.contains(&record.method) {
            self.methods.insert(record.method.clone());
        }
    }

    fn summary(&self, photos: usize, failed: usize) -> String {
        let Self { scored, ok, ng, uncertain, methods } = self;
        let methods: Vec<&str> = methods.iter().map(|method| &**method).collect();
        let by =
            if methods.is_empty() { String::new() } else { format!(" by {}", methods.join(", ")) };
        let verdicts = match ok + ng + uncertain {
            0 => String::new(),
            _ => format!(": {ok} ok, {ng} ng, {uncertain} uncertain"),
        };
        let problems = match failed {
            0 => String::new(),
            1 => "; 1 problem above".into(),
            _ => format!("; {failed} problems above"),
        };
        format!("{scored} of {photos} photos were scored{by}{verdicts}{problems}")
    }
}
