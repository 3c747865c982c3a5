//! Prints and counts the results, photo by photo, and writes the page at the end.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::StdoutLock;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use blemish::page::Pictures;
use blemish::reference::RegionAbout;
use blemish::report::{Record, is_other_product};
use blemish::scorer::Context;
use blemish::{Error, Finding, Photo};
use indicatif::ProgressBar;
use serde_json::Value;

use super::args::FailOn;
use super::pictures::{self, Drawn, ScorePage};
use super::plan::Plan;
use super::resume::Settings;
use super::table::Table;
use crate::cli::ignoring::Ignoring;
use crate::cli::inputs::named;
use crate::cli::printer::{Format, Printer};
use crate::cli::progress::{Notes, progress_bar};
use crate::cli::terminal::{STOPPED, is_stopped, message, note_stop, printed};

/// The exit code of `--fail-on`.
pub const FOUND: u8 = 3;

/// Takes the results photo by photo, and counts the errors.
pub struct ResultSink<'a> {
    pub context: &'a Context,
    pub plan: &'a Plan,
    pub bar: ProgressBar,
    output: Output,
    /// How many photos it should get results of.
    photos: usize,
    failed: usize,
    /// How many photos do not fit the region of interest.
    misfits: usize,
    counts: Counts,
    notes: Notes,
    ignoring: Ignoring,
    page: Option<ScorePage>,
    /// What the page has to tell besides the photos.
    page_warnings: Vec<String>,
    /// Whether Ctrl-C came before the first result.
    was_stopped: bool,
    /// Whether nobody reads the output any more.
    is_unread: bool,
}

/// The result of a photo, and its pictures.
pub struct PhotoResult {
    /// Its place in the plan.
    photo: usize,
    record: Record,
    finding: Finding,
    drawn: blemish::Result<Option<Pictures>>,
}

impl PhotoResult {
    /// Draws the pictures, if some are wanted. Opens the photo if it is not given.
    pub fn draw(
        (context, plan): (&Context, &Plan),
        photo: usize,
        (mut record, finding): (Record, Finding),
        opened: Option<Photo>,
    ) -> Self {
        let path = &plan.photos[photo];
        let drawn = plan.targets[photo].as_ref().map(|target| {
            let opened = opened.map_or_else(|| Photo::open(path, plan.depth), Ok)?;
            let drawn = Drawn { path, photo: &opened, target };
            pictures::draw(context, &plan.drawing, &drawn, &finding, &mut record)
        });
        let drawn = drawn.transpose().map(Option::flatten);
        Self { photo, record, finding, drawn }
    }
}

/// Where results go.
enum Output {
    /// Each at once, so a run that is interrupted loses none.
    Stream(Printer<StdoutLock<'static>>),
    /// The same, at the end of a file.
    File(PathBuf, Printer<File>),
    /// All at the end.
    Table(Box<Table>),
    Done,
}

impl<'a> ResultSink<'a> {
    /// `method`: the name of the method if each photo is scored by itself.
    ///
    /// # Errors
    /// If the file of `--resume` holds results that were made otherwise.
    pub fn new(context: &'a Context, plan: &'a Plan, method: &str) -> anyhow::Result<Self> {
        let has_verdict = context.profile().is_some();
        let output = match (&plan.resume, plan.format) {
            (Some(resume), _) => {
                let out = plan.drawing.page.as_deref().and_then(Path::parent);
                let fuse = plan.lights.as_ref().map(|(_, fuse)| fuse.name());
                resume.check(&Settings::of(context, (method, fuse), out))?;
                let printer = Printer::new(resume.file.try_clone()?, false, true);
                Output::File(resume.path.clone(), printer)
            }
            (None, Format::Table) => {
                Output::Table(Box::new(Table::new(plan.table, has_verdict, context.product())))
            }
            (None, format) => {
                let has_header = plan.table.has_header;
                let stdout = std::io::stdout().lock();
                Output::Stream(Printer::new(stdout, format == Format::Csv, has_header))
            }
        };
        let mut sink = Self {
            output,
            bar: progress_bar(plan.photos.len(), plan.quiet),
            notes: Notes::new(plan.quiet),
            ignoring: Ignoring::default(),
            page: plan
                .drawing
                .page
                .clone()
                .map(|file| ScorePage::new(file, context, &plan.drawing)),
            page_warnings: vec![],
            was_stopped: false,
            is_unread: false,
            photos: plan.photos.len(),
            failed: plan.failed,
            misfits: 0,
            counts: Counts::default(),
            context,
            plan,
        };
        for row in plan.resume.iter().flat_map(|resume| &resume.results) {
            sink.keep_earlier(row);
        }
        Ok(sink)
    }

    /// Counts a result of an earlier run, and shows it on the page.
    fn keep_earlier(&mut self, row: &Value) {
        self.counts.earlier += 1;
        self.counts.add_verdict(row["verdict"].as_str());
        if is_other_product(row["unlike_references"].as_f64()) {
            self.counts.add_other(row["path"].as_str().unwrap_or_default());
        }
        if let Some(page) = &mut self.page {
            page.add_earlier(row);
        }
    }

    /// Prints the result of a photo. False if nobody reads the output any more.
    pub fn keep(&mut self, result: PhotoResult) -> anyhow::Result<bool> {
        let PhotoResult { photo, record, finding, drawn } = result;
        let plan = self.plan;
        let path = &plan.photos[photo];
        match (drawn, &mut self.page) {
            (Ok(Some(pictures)), Some(page)) => page.add(&record, pictures),
            (Ok(_), _) => {}
            // A result that cannot be drawn is still valid.
            (Err(error), _) => self.fail(&error),
        }
        if let (Some(copies), Some(verdict)) = (&plan.copies, record.verdict) {
            copies.keep(photo, path, verdict).unwrap_or_else(|error| self.fail(&error));
        }
        self.counts.add(&record);
        self.ignoring.add(&finding);
        match &mut self.output {
            Output::Stream(printer) => {
                self.is_unread = !self.bar.suspend(|| printed(printer.print(&record)))?;
            }
            Output::File(path, printer) => {
                let failed = |source| Error::Write { path: path.clone(), source };
                printer.print(&record).map_err(failed)?;
            }
            Output::Table(table) => table.add(&record),
            Output::Done => {}
        }
        Ok(self.goes_on())
    }

    /// From now on results come. A table and a page are written at the end, so the first Ctrl-C must not lose them.
    pub fn begin(&mut self) {
        self.was_stopped = is_stopped();
        if matches!(self.output, Output::Table(_)) || self.page.is_some() {
            note_stop();
        }
    }

    /// False after Ctrl-C, and if nobody reads the output any more.
    pub fn goes_on(&self) -> bool {
        !self.is_unread && (self.was_stopped || !is_stopped())
    }

    /// Reports the error of a photo. Photos that do not fit the region of interest are often many, so only the first one
    /// is reported at once.
    pub fn fail_photo(&mut self, path: &Path, error: &Error) {
        if RegionAbout::is_misfit(error) {
            self.misfits += 1;
            if self.misfits > 1 {
                self.failed += 1;
                return;
            }
        }
        self.fail(&named(path, error));
    }

    /// Reports the error of a part, which names the part or one of its photos.
    pub fn fail_part(&mut self, error: &Error) {
        self.fail(&message(error));
    }

    /// Reports an error and counts it.
    pub fn fail(&mut self, error: &dyn std::fmt::Display) {
        self.failed += 1;
        self.page_warnings.push(error.to_string());
        self.bar.suspend(|| say!("{error}"));
    }

    /// Prints a warning about the whole run, unless `--quiet` is given. The page has it, too.
    pub fn warn(&mut self, text: &str) {
        self.page_warnings.push(text.to_string());
        self.say(&format!("warning: {text}"));
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

    /// Tells something on the page alone.
    pub fn tell_page(&mut self, text: String) {
        self.page_warnings.push(text);
    }

    /// Photos that no result was kept of are somebody else's: with several profiles, each has a sink.
    pub fn only_own(&mut self) {
        self.photos = self.counts.scored + self.failed;
    }

    /// Prints what is printed at the end. Returns the exit code.
    pub fn finish(self) -> anyhow::Result<ExitCode> {
        Ok(ExitCode::from(self.finished()?))
    }

    /// As [`Self::finish`], with the exit code as a number.
    pub fn finished(mut self) -> anyhow::Result<u8> {
        self.bar.finish_and_clear();
        if let Output::Table(table) = std::mem::replace(&mut self.output, Output::Done) {
            printed(table.print(&mut std::io::stdout().lock()))?;
        }
        let all = self.ignoring.warnings().into_iter().chain(self.counts.others());
        all.collect::<Vec<_>>().iter().for_each(|warning| self.warn(warning));
        let unfinished = self.photos.saturating_sub(self.counts.scored + self.failed);
        if is_stopped() && unfinished > 0 {
            self.warn(&format!("stopped: {unfinished} photos were not scored"));
        }
        if let Some(page) = self.page.take() {
            match page.write(std::mem::take(&mut self.page_warnings)) {
                Ok(Some(file)) => self.say(&format!("see {}", file.display())),
                Ok(None) => {}
                Err(error) => self.fail(&error),
            }
        }
        if self.misfits > 1 {
            self.say(&format!(
                "{} more photos do not fit the region of interest",
                self.misfits - 1
            ));
        }
        let (failed, counts) = (self.failed, &self.counts);
        let what = if self.plan.parts.is_empty() { "photos" } else { "parts" };
        self.say(&counts.summary((self.photos, what), failed));
        if is_stopped() {
            return Ok(STOPPED);
        }
        if self.plan.format == Format::Table
            && self.context.profile().is_none()
            && counts.scored > 0
        {
            self.say("next: photos of good parts add verdicts; see blemish enroll --help");
        }
        let found = match self.plan.fail_on {
            Some(FailOn::Ng) => counts.ng,
            Some(FailOn::Uncertain) => counts.ng + counts.uncertain,
            None => 0,
        };
        Ok(match failed {
            // What was not scored may be ng.
            0 if self.is_unread && self.plan.fail_on.is_some() => 1,
            0 if found > 0 => FOUND,
            0 => 0,
            _ => 1,
        })
    }
}

/// What the closing line says.
#[derive(Default)]
struct Counts {
    scored: usize,
    /// Results of an earlier run, which are counted in the verdicts.
    earlier: usize,
    ok: usize,
    ng: usize,
    uncertain: usize,
    /// Photos that resemble no reference, and the first of them.
    others: usize,
    first_other: Option<String>,
    methods: BTreeSet<String>,
}

impl Counts {
    fn add(&mut self, record: &Record) {
        self.scored += 1;
        self.add_verdict(record.verdict);
        if is_other_product(record.unlike_references) {
            self.add_other(&record.path);
        }
        if !self.methods.contains(&record.method) {
            self.methods.insert(record.method.clone());
        }
    }

    fn add_other(&mut self, path: &str) {
        self.others += 1;
        self.first_other.get_or_insert_with(|| path.to_string());
    }

    fn add_verdict(&mut self, verdict: Option<&str>) {
        match verdict {
            Some("ok") => self.ok += 1,
            Some("ng") => self.ng += 1,
            Some(_) => self.uncertain += 1,
            None => {}
        }
    }

    /// A warning about photos that resemble no reference.
    fn others(&self) -> Option<String> {
        let first = self.first_other.as_ref()?;
        let what = match self.others {
            1 => format!("{first} resembles no reference photo"),
            count => format!("{count} photos resemble no reference photo, {first} first"),
        };
        Some(format!("{what}: is it another product, view or light?"))
    }

    fn summary(&self, (all, what): (usize, &str), failed: usize) -> String {
        let Self { scored, earlier, ok, ng, uncertain, methods, .. } = self;
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
        let before = match earlier {
            0 => String::new(),
            _ => format!(", {earlier} were scored before"),
        };
        format!("{scored} of {all} {what} were scored{by}{before}{verdicts}{problems}")
    }
}
