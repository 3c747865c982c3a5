//! Photos that judge each other: how `score` and `eval` come to results.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use blemish::data::Sample;
use blemish::report::FolderRow;
use blemish::{BitDepth, Folder, Judged};
use indicatif::ProgressBar;

use super::early::{Early, Hashing};
use super::folder::{Contents, Gathered, named};
use super::results::Results;
use super::score::Args;
use super::setup::{Judges, Model, Notes, progress_bar};

/// Scores the photos of a folder by each other. False where these are too few to be compared, and nothing was done.
pub fn score(
    results: &mut Results,
    hashing: Hashing,
    model: &Model,
    judges: Judges,
) -> anyhow::Result<bool> {
    let photos = results.photos.clone();
    let mut together = Together { results, photos, model, with_words: judges == Judges::Auto };
    super::note_stop();
    let (contents, early) = match together.read(hashing)? {
        ControlFlow::Continue(read) => read,
        ControlFlow::Break(is_done) => return Ok(is_done),
    };
    together.say_copies(&contents);
    let bar = together.results.bar.clone();
    let (folder, gathered) = together.look(&contents, (&|_| true, early), &bar)?;
    together.say_what_came(&contents, &folder, &gathered);
    if folder.photos() < 2 && !together.with_words {
        let why = "--method mutual: fewer than two photos can be read, and they are compared with each other";
        together.results.fail(&why);
        return Ok(true);
    }
    let groups = folder.two_products()?;
    let group = |photo: usize| Some(groups.as_ref()?[gathered.index(&contents, photo)?.ok()?]);
    let group_of: Vec<Option<bool>> = (0..together.photos.len()).map(group).collect();
    let mut parts = match &groups {
        Some(groups) => {
            together.say_products(&group_of);
            together.apart(&contents, &gathered, groups)?
        }
        None => vec![],
    };
    if parts.is_empty() {
        let few = groups.is_some() || folder.photos() < Folder::ENOUGH || super::is_stopped();
        let judged =
            if together.with_words && few { folder.by_words() } else { folder.finish()? };
        parts.push((judged, gathered));
    }
    // What comes now is quick, and each result is kept at once.
    super::end_at_stop();
    together.keep(&contents, &parts, &group_of)?;
    Ok(true)
}

/// A folder that is scored.
struct Together<'a, 'b> {
    results: &'a mut Results<'b>,
    photos: Vec<PathBuf>,
    model: &'a Model,
    with_words: bool,
}

impl Together<'_, '_> {
    fn say(&self, text: &str) {
        if !self.results.scorer.args.method.model.quiet {
            self.results.bar.suspend(|| say!("{text}"));
        }
    }

    /// For so many photos.
    fn empty(&self, count: usize) -> anyhow::Result<Folder> {
        let scorer = self.results.scorer;
        let (args, words) = (scorer.args, (self.with_words, count));
        args.folder.folder(&args.method, self.model, &scorer.product, scorer.region.clone(), words)
    }

    /// All photos' contents, and what was looked at meanwhile; or else whether there is nothing more to do.
    fn read(&self, hashing: Hashing) -> anyhow::Result<ControlFlow<bool, (Contents, Early)>> {
        let (count, bar) = (self.photos.len(), &self.results.bar);
        let folder = self.empty(count)?;
        let early = Early::look(&folder, &self.photos, self.results.depth, &hashing, bar);
        let seed = self.results.scorer.args.folder.seed();
        let contents = match hashing.is_done() {
            true => Contents::new(hashing.wait(&ProgressBar::hidden()), seed),
            false if self.with_words => Contents::unread(count),
            false => {
                self.say("warning: stopped before all photos were read: --method mutual has compared none");
                return Ok(ControlFlow::Break(true));
            }
        };
        if self.with_words && contents.count() < Folder::ENOUGH && !super::is_stopped() {
            super::end_at_stop();
            bar.reset();
            return Ok(ControlFlow::Break(false));
        }
        if !self.with_words && contents.count() < 2 && contents.are_readable() {
            return Err(blemish::Mutual::too_few().into());
        }
        Ok(ControlFlow::Continue((contents, early)))
    }

    fn look(
        &self,
        contents: &Contents,
        wanted: (&dyn Fn(usize) -> bool, Early),
        bar: &ProgressBar,
    ) -> anyhow::Result<(Folder, Gathered)> {
        let mut folder = self.empty(contents.count())?;
        let gathered = contents.look(&mut folder, &self.photos, self.results.depth, wanted, bar);
        Ok((folder, gathered))
    }

    fn say_copies(&self, contents: &Contents) {
        if let [(copy, of), others @ ..] = &contents.copies(&self.photos)[..] {
            let others = match others.len() {
                0 => String::new(),
                count => format!(" ({count} more files are copies)"),
            };
            let (copy, of) = (copy.display(), of.display());
            self.say(&format!(
                "note: {copy} has the same content as {of}{others}: each counts once"
            ));
        }
    }

    fn say_what_came(&mut self, contents: &Contents, folder: &Folder, gathered: &Gathered) {
        gathered.note.iter().for_each(|note| self.results.note(note));
        for (photo, path) in self.photos.iter().enumerate() {
            if let Some(Err(error)) = gathered.index(contents, photo) {
                self.results.fail(&named(path, error));
            }
        }
        if super::is_stopped() {
            let (done, of) = (folder.photos(), contents.count());
            let how = if self.with_words { "by words alone" } else { "by each other" };
            self.say(&format!(
                "warning: stopped: {done} of {of} photos were looked at; they are scored {how}"
            ));
        }
    }

    fn say_products(&self, group_of: &[Option<bool>]) {
        let of = |group: bool| {
            let own: Vec<usize> =
                (0..group_of.len()).filter(|photo| group_of[*photo] == Some(group)).collect();
            format!("{} photos like {}", own.len(), self.photos[own[0]].display())
        };
        let done = match (self.results.scorer.args.apart, self.with_words) {
            _ if super::is_stopped() => "that was stopped, and they are not told apart",
            (true, _) => "each is scored by itself",
            (false, true) => {
                "they are scored by words alone; --apart scores each by itself, --method mutual all together"
            }
            (false, false) => "--apart scores each by itself",
        };
        let (first, second) = (of(false), of(true));
        self.say(&format!(
            "warning: the folder seems to hold two products, {first} and {second}: {done}"
        ));
    }

    /// Each product by itself, if that is wanted; nothing once stopped.
    fn apart(
        &mut self,
        contents: &Contents,
        gathered: &Gathered,
        groups: &[bool],
    ) -> anyhow::Result<Vec<(Judged, Gathered)>> {
        let args = self.results.scorer.args;
        let mut parts = Vec::new();
        for group in [false, true].into_iter().filter(|_| args.apart && !super::is_stopped()) {
            let own = |place: usize| gathered.at(place).is_some_and(|i| groups[i] == group);
            let count = groups.iter().filter(|g| **g == group).count();
            let bar = progress_bar(count, args.method.model.quiet);
            let (folder, again) = self.look(contents, (&own, Early::default()), &bar)?;
            bar.finish_and_clear();
            // A photo may have changed since it was looked at first.
            for (photo, path) in self.photos.iter().enumerate() {
                if let (Some(Err(error)), Some(Ok(_))) =
                    (again.index(contents, photo), gathered.index(contents, photo))
                {
                    self.results.fail(&named(path, error));
                }
            }
            let judged = if folder.photos() < 2 { folder.by_words() } else { folder.finish()? };
            parts.push((judged, again));
        }
        if args.apart && super::is_stopped() {
            parts.clear();
            self.say("warning: stopped: the photos are not scored apart");
        }
        Ok(parts)
    }

    /// Prints and draws the photos of folders that were judged.
    fn keep(
        &mut self,
        contents: &Contents,
        parts: &[(Judged, Gathered)],
        group_of: &[Option<bool>],
    ) -> anyhow::Result<()> {
        for (judged, gathered) in parts {
            self.say_what_it_rests_on(judged, gathered);
        }
        let scorer = self.results.scorer;
        let words = scorer.args.method.words()?.name;
        // Once more, as pictures.
        self.results.bar.reset();
        for (photo, path) in self.photos.iter().enumerate() {
            let found = parts.iter().find_map(|(judged, gathered)| {
                Some((judged, gathered, gathered.index(contents, photo)?.ok()?))
            });
            let Some((judged, gathered, i)) = found else { continue };
            let row = judged
                .mutual_score(i)
                .map(|score| folder_row(scorer.args, judged, gathered, score, group_of[photo]));
            let method = match (&row, self.with_words) {
                (None, _) => words.to_string(),
                (Some(_), true) => format!("{words}+mutual"),
                (Some(_), false) => "mutual".into(),
            };
            let finding = judged.finding(i);
            let mut record = scorer.record(path, &finding, &method, gathered.milliseconds[i], row);
            if !judged.has_words() {
                record.adapter = None;
            }
            if !self.results.keep(photo, record, &finding, None)? {
                break;
            }
            self.results.bar.inc(1);
        }
        Ok(())
    }

    fn say_what_it_rests_on(&self, judged: &Judged, gathered: &Gathered) {
        let photos = judged.photos();
        if let Some(upper) = judged.without_bulk() {
            self.say(&format!(
                "warning: the scores of {photos} photos fall into two groups, {upper} in the upper one: it is open which is \
                 normal. What most photos share counts as normal, a defect too"
            ));
        }
        if judged.is_mutual() {
            self.say(&format!(
                "note: each score depends on the others of these {photos} photos (transductive; set {})",
                &gathered.sha256[..12]
            ));
        }
    }
}

fn folder_row(
    args: &Args,
    judged: &Judged,
    gathered: &Gathered,
    score: f32,
    group: Option<bool>,
) -> FolderRow {
    FolderRow {
        photos: judged.photos(),
        sha256: gathered.sha256.clone(),
        against: args.folder.others(judged.photos()),
        blocks: judged.blocks().to_vec(),
        degrees: args.folder.options().degrees,
        align: args.folder.align,
        rescored: args.folder.rescore,
        seed: args.folder.seed(),
        score,
        group: group.map(u8::from),
    }
}

pub fn photos(samples: &[&Sample]) -> Vec<PathBuf> {
    samples.iter().map(|sample| sample.photo.clone()).collect()
}

/// By its path each photo's index in what was judged, and its hash.
type Places<'a> = HashMap<&'a Path, (usize, String)>;

/// The photos of a product, judged by each other.
pub fn judge<'a>(
    mut folder: Folder,
    contents: &Contents,
    samples: &[&'a Sample],
    depth: BitDepth,
    (bar, notes): (&ProgressBar, &mut Notes),
) -> anyhow::Result<(Judged, Places<'a>)> {
    let seen =
        contents.look(&mut folder, &photos(samples), depth, (&|_| true, Early::default()), bar);
    seen.note.iter().for_each(|note| notes.once(bar, note));
    let mut index = HashMap::new();
    for (photo, sample) in samples.iter().enumerate() {
        match seen.index(contents, photo) {
            Some(Ok(i)) => {
                index.insert(&*sample.photo, (i, contents.sha256_of(photo).to_string()));
            }
            Some(Err(error)) => anyhow::bail!("{error}"),
            None => unreachable!("all are wanted"),
        }
    }
    Ok((folder.finish()?, index))
}
