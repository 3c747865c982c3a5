//! Photos that judge each other: how `score` and `eval` come to results.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use blemish::data::Sample;
use blemish::report::FolderRow;
use blemish::{BitDepth, Folder, Judged};
use indicatif::ProgressBar;

use super::early::{Early, Hashing};
use super::folder::{Contents, Gathered, named};
use super::results::Results;
use super::setup::{Judges, Model, Notes, progress_bar};

/// Scores the photos of a folder by each other. False where these are too few to be compared, and nothing was done.
pub fn score(
    results: &mut Results,
    hashing: Hashing,
    model: &Model,
    judges: Judges,
) -> anyhow::Result<bool> {
    let scorer = results.scorer;
    let args = scorer.args;
    let quiet = args.method.model.quiet;
    let with_words = judges == Judges::Auto;
    let (photos, depth) = (results.photos.clone(), results.depth);
    let bar = results.bar.clone();
    let say = |text: &str| {
        if !quiet {
            bar.suspend(|| say!("{text}"));
        }
    };
    let empty = |count: usize| {
        let (words, region) = ((with_words, count), scorer.region.clone());
        args.folder.folder(&args.method, model, &scorer.product, region, words)
    };
    super::note_stop();
    let early = Early::look(&empty(photos.len())?, &photos, depth, &hashing, &bar);
    let was_read = hashing.is_done();
    let contents = match was_read {
        true => Contents::new(hashing.wait(&ProgressBar::hidden()), args.folder.seed()),
        false => Contents::unread(photos.len()),
    };
    if !was_read && !with_words {
        say("warning: stopped before all photos were read: --method mutual has compared none");
        return Ok(true);
    }
    if with_words && contents.count() < Folder::ENOUGH && !super::is_stopped() {
        super::end_at_stop();
        bar.reset();
        return Ok(false);
    }
    if !with_words && contents.count() < 2 && contents.are_readable() {
        return Err(blemish::Mutual::too_few().into());
    }
    if let [(copy, of), others @ ..] = &contents.copies(&photos)[..] {
        let others = match others.len() {
            0 => String::new(),
            count => format!(" ({count} more files are copies)"),
        };
        let (copy, of) = (copy.display(), of.display());
        say(&format!("note: {copy} has the same content as {of}{others}: each counts once"));
    }
    let look = |wanted: &dyn Fn(usize) -> bool, early: Early, bar: &ProgressBar| {
        let mut folder = empty(contents.count())?;
        let gathered = contents.look(&mut folder, &photos, depth, (wanted, early), bar);
        anyhow::Ok((folder, gathered))
    };
    let (folder, gathered) = look(&|_| true, early, &bar)?;
    gathered.note.iter().for_each(|note| results.note(note));
    for (photo, path) in photos.iter().enumerate() {
        if let Some(Err(error)) = gathered.index(&contents, photo) {
            results.fail(&named(path, error));
        }
    }
    if super::is_stopped() {
        let (done, of) = (folder.photos(), contents.count());
        let how = if with_words { "by words alone" } else { "by each other" };
        say(&format!(
            "warning: stopped: {done} of {of} photos were looked at; they are scored {how}"
        ));
    }
    if folder.photos() < 2 && !with_words {
        results.fail(&"--method mutual: fewer than two photos can be read, and they are compared with each other");
        return Ok(true);
    }
    let groups = folder.two_products()?;
    let group_of: Vec<Option<bool>> = (0..photos.len())
        .map(|photo| Some(groups.as_ref()?[gathered.index(&contents, photo)?.ok()?]))
        .collect();
    if groups.is_some() {
        let of = |group: bool| {
            let own: Vec<usize> =
                (0..photos.len()).filter(|photo| group_of[*photo] == Some(group)).collect();
            format!("{} photos like {}", own.len(), photos[own[0]].display())
        };
        let done = match (args.apart, with_words) {
            _ if super::is_stopped() => "that was stopped, and they are not told apart",
            (true, _) => "each is scored by itself",
            (false, true) => {
                "they are scored by words alone; --apart scores each by itself, --method mutual all together"
            }
            (false, false) => "--apart scores each by itself",
        };
        let (first, second) = (of(false), of(true));
        say(&format!(
            "warning: the folder seems to hold two products, {first} and {second}: {done}"
        ));
    }
    // Each folder that was judged, with the photos in it.
    let mut parts: Vec<(Judged, Gathered)> = Vec::new();
    for group in [false, true] {
        let Some(groups) = groups.as_ref().filter(|_| args.apart && !super::is_stopped()) else {
            break;
        };
        let own = |place: usize| gathered.at(place).is_some_and(|i| groups[i] == group);
        let bar = progress_bar(groups.iter().filter(|g| **g == group).count(), quiet);
        let (folder, again) = look(&own, Early::default(), &bar)?;
        bar.finish_and_clear();
        if super::is_stopped() {
            parts.clear();
            say("warning: stopped: the photos are not scored apart");
            break;
        }
        // A photo may have changed since it was looked at first.
        for (photo, path) in photos.iter().enumerate() {
            if let (Some(Err(error)), Some(_)) = (again.index(&contents, photo), group_of[photo]) {
                results.fail(&named(path, error));
            }
        }
        let judged = if folder.photos() < 2 { folder.by_words() } else { folder.finish()? };
        parts.push((judged, again));
    }
    if parts.is_empty() {
        let few = groups.is_some() || folder.photos() < Folder::ENOUGH || super::is_stopped();
        let judged = if with_words && few { folder.by_words() } else { folder.finish()? };
        parts.push((judged, gathered));
    }
    // What comes now is quick, and each result is kept at once.
    super::end_at_stop();
    for (judged, gathered) in &parts {
        if let Some(upper) = judged.without_bulk() {
            say(&format!(
                "warning: the scores of {} photos fall into two groups, {upper} in the upper one: it is open which is \
                 normal. What most photos share counts as normal, a defect too",
                judged.photos()
            ));
        }
        if judged.is_mutual() {
            say(&format!(
                "note: each score depends on the others of these {} photos (transductive; set {})",
                judged.photos(),
                &gathered.sha256[..12]
            ));
        }
    }
    let words = args.method.words()?.name;
    // Once more, as pictures.
    results.bar.reset();
    for (photo, path) in photos.iter().enumerate() {
        let found = parts.iter().find_map(|(judged, gathered)| {
            Some((judged, gathered, gathered.index(&contents, photo)?.ok()?))
        });
        let Some((judged, gathered, i)) = found else { continue };
        let row = judged.mutual_score(i).map(|score| FolderRow {
            photos: judged.photos(),
            sha256: gathered.sha256.clone(),
            against: args.folder.others(judged.photos()),
            blocks: judged.blocks().to_vec(),
            degrees: args.folder.options().degrees,
            align: args.folder.align,
            rescored: args.folder.rescore,
            seed: args.folder.seed(),
            score,
            group: group_of[photo].map(u8::from),
        });
        let method = match (&row, with_words) {
            (None, _) => words.to_string(),
            (Some(_), true) => format!("{words}+mutual"),
            (Some(_), false) => "mutual".into(),
        };
        let finding = judged.finding(i);
        let mut record = scorer.record(path, &finding, &method, gathered.milliseconds[i], row);
        if !judged.has_words() {
            record.adapter = None;
        }
        if !results.keep(photo, record, &finding, None)? {
            break;
        }
        results.bar.inc(1);
    }
    Ok(true)
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
