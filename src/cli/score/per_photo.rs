//! Scores each photo by itself.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use blemish::detect::PIXELS_AT_ONCE;
use blemish::image::Prepared;
use blemish::{Detector, Photo};
use rayon::prelude::*;

use super::plan::Plan;
use super::sink::{PhotoResult, ResultSink};

/// A photo's place in the plan, and what was read.
type Ready = (usize, blemish::Result<(Photo, Prepared)>);

pub fn score(sink: &mut ResultSink, detector: &Detector) -> anyhow::Result<()> {
    let (plan, context) = (sink.plan, sink.context);
    let at_once = detector.photos_at_once();
    sink.begin();
    std::thread::scope(|scope| {
        // The next photos are read while these are scored.
        let (sender, receiver) = sync_channel(at_once);
        scope.spawn(move || read(plan, detector, &sender));
        loop {
            let batch = batch(&receiver, at_once);
            if batch.is_empty() {
                return anyhow::Ok(());
            }
            let score = |(photo, ready): Ready| {
                let path = &plan.photos[photo];
                let scored = ready.and_then(|(opened, prepared)| {
                    let note = opened.note().map(|note| format!("{}: {note}", path.display()));
                    let scored = context.score(detector, path.as_path().into(), &prepared)?;
                    let result = PhotoResult::draw((context, plan), photo, scored, Some(opened));
                    Ok((result, note))
                });
                (path, scored)
            };
            let scored: Vec<_> = batch.into_par_iter().map(score).collect();
            for (path, scored) in scored {
                let goes_on = match scored {
                    Ok((result, note)) => {
                        note.iter().for_each(|note| sink.note(note));
                        sink.keep(result)?
                    }
                    Err(error) => {
                        sink.fail_photo(path, &error);
                        sink.goes_on()
                    }
                };
                sink.bar.inc(1);
                if !goes_on {
                    return Ok(());
                }
            }
        }
    })
}

/// Reads the photos of the plan in order, until nobody takes them any more.
fn read(plan: &Plan, detector: &Detector, sender: &SyncSender<Ready>) {
    for (photo, path) in plan.photos.iter().enumerate() {
        let ready = Photo::open(path, plan.depth).map(|photo| {
            let prepared = detector.prepare(&photo);
            (photo, prepared)
        });
        if sender.send((photo, ready)).is_err() {
            return;
        }
    }
}

/// The next photos: at most `count`, and fewer if they are large. None when all were taken.
fn batch(receiver: &Receiver<Ready>, count: usize) -> Vec<Ready> {
    let (mut batch, mut pixels) = (Vec::new(), 0);
    while batch.len() < count && pixels < PIXELS_AT_ONCE {
        let Ok((photo, ready)) = receiver.recv() else { break };
        pixels += ready.as_ref().map_or(0, |(photo, _)| photo.width() * photo.height());
        batch.push((photo, ready));
    }
    batch
}
