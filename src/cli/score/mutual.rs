//! Scores the photos of a folder by comparing them with each other.

use std::collections::HashSet;

use blemish::mutual::{
    EncodedPhotos, FolderEncoding, MutualPart, MutualScores, MutualSetup, PhotoHashes, Progress,
    UniquePhotos, Watch,
};

use super::repeats;
use super::sink::{PhotoResult, ResultSink};
use crate::cli::terminal::{end_at_stop, is_stopped, note_stop};

/// Scores the photos of a folder by comparing them with each other. False if there are too few photos: then nothing was
/// done.
pub fn score(
    sink: &mut ResultSink,
    hashes: PhotoHashes,
    setup: &MutualSetup,
) -> anyhow::Result<bool> {
    note_stop();
    let bar = sink.bar.clone();
    let of = sink.plan.photos.len();
    let progress = |progress: Progress| match progress {
        Progress::Read(read) => bar.set_message(format!(" ({read} of {of} read)")),
        Progress::AllRead => bar.set_message(""),
        Progress::Encoded => bar.inc(1),
        Progress::Again(photos) => {
            bar.reset();
            bar.set_length(photos as u64);
        }
    };
    let watch = Watch { progress: &progress, is_stopped: &is_stopped };
    let encoding = setup.encode(hashes, watch)?;
    let folder = match encoding {
        FolderEncoding::TooFew => {
            end_at_stop();
            bar.reset();
            return Ok(false);
        }
        FolderEncoding::Stopped => {
            sink.warn(
                "stopped before all photos were read, so --method mutual could not compare them",
            );
            return Ok(true);
        }
        FolderEncoding::Encoded(folder) => folder,
    };
    say_copies(sink, &folder.photos);
    folder.encoded.note.iter().for_each(|note| sink.note(note));
    let failed = say_failures(sink, &folder.photos, &folder.encoded, &HashSet::new());
    if folder.stopped {
        let (done, of) = (folder.count(), folder.photos.count());
        let how = if setup.options.with_prompts { "by prompts only" } else { "by comparing them" };
        sink.warn(&format!("stopped: {done} of {of} photos were looked at; they are scored {how}"));
    }
    if let Some(groups) = folder.groups() {
        say_products(sink, &groups, setup, folder.stopped);
    }
    let scores = folder.score(setup, watch)?;
    // The rest is quick, and each result is kept at once.
    end_at_stop();
    // From now on the bar counts the results that are printed and drawn.
    bar.reset();
    bar.set_length(of as u64);
    say_what_came(sink, &scores, &failed);
    repeats::report(sink, &scores, &setup.repeated);
    sink.begin();
    keep(sink, &scores, setup)?;
    Ok(true)
}

fn say_copies(sink: &ResultSink, photos: &UniquePhotos) {
    if let [(copy, of), others @ ..] = &photos.copies()[..] {
        let others = match others.len() {
            0 => String::new(),
            count => format!(" ({count} more files are copies)"),
        };
        let (copy, of) = (copy.display(), of.display());
        sink.say(&format!("note: {copy} has the same content as {of}{others}: each counts once"));
    }
}

/// Reports photos that could not be encoded, but those that are `known` to have failed. Returns their indices.
fn say_failures(
    sink: &mut ResultSink,
    photos: &UniquePhotos,
    encoded: &EncodedPhotos,
    known: &HashSet<usize>,
) -> HashSet<usize> {
    let mut failed = HashSet::new();
    for (photo, path) in photos.paths().iter().enumerate().filter(|(i, _)| !known.contains(i)) {
        if let Some(Err(error)) = encoded.index(photos, photo) {
            sink.fail_photo(path, error);
            failed.insert(photo);
        }
    }
    failed
}

fn say_what_came(sink: &mut ResultSink, scores: &MutualScores, failed: &HashSet<usize>) {
    if scores.stopped_apart {
        sink.warn("stopped: the two products are not scored apart");
    }
    if scores.parts.is_empty() {
        let why = "--method mutual: fewer than two photos can be read, so none can be compared; give more photos";
        sink.fail(&why);
    }
    for part in &scores.parts {
        // A photo may have changed since it was first encoded.
        say_failures(sink, &scores.photos, &part.encoded, failed);
        say_what_it_rests_on(sink, part);
    }
}

fn say_products(
    sink: &mut ResultSink,
    groups: &[Option<bool>],
    setup: &MutualSetup,
    stopped: bool,
) {
    let of = |group: bool| {
        let own: Vec<usize> =
            (0..groups.len()).filter(|photo| groups[*photo] == Some(group)).collect();
        format!("{} photos like {}", own.len(), sink.plan.photos[own[0]].display())
    };
    let done = match setup.apart {
        _ if stopped => "the run was stopped, so they are not scored apart",
        true => "each product is scored by itself",
        false => {
            "all photos are compared; if they are two products, --apart compares each by itself"
        }
    };
    let (first, second) = (of(false), of(true));
    sink.warn(&format!("the folder seems to hold two products, {first} and {second}: {done}"));
}

fn say_what_it_rests_on(sink: &mut ResultSink, part: &MutualPart) {
    let photos = part.results.photos();
    if let Some(upper) = part.results.without_bulk() {
        sink.warn(&format!(
            "the scores of {photos} photos fall into two groups, {upper} in the upper one: it is open which \
             is normal. If most photos share a defect, that defect counts as normal. Check which group is good"
        ));
    }
    if part.results.is_mutual() {
        sink.say(&format!(
            "note: each score depends on the others of these {photos} photos (transductive; set {})",
            &part.encoded.sha256[..12]
        ));
    }
}

/// Prints and draws the results.
fn keep(sink: &mut ResultSink, scores: &MutualScores, setup: &MutualSetup) -> anyhow::Result<()> {
    for photo in 0..sink.plan.photos.len() {
        let Some(result) = sink.context.of_folder(scores, setup, photo) else { continue };
        let plan = (sink.context, sink.plan);
        if !sink.keep(PhotoResult::draw(plan, photo, result, None))? {
            break;
        }
        sink.bar.inc(1);
    }
    Ok(())
}
