//! Scores each photo by itself.

use std::sync::mpsc::sync_channel;

use blemish::{Detector, Photo};

use super::sink::ResultSink;

pub fn score(sink: &mut ResultSink, detector: &Detector) -> anyhow::Result<()> {
    let plan = sink.plan;
    sink.begin();
    std::thread::scope(|scope| {
        // The next photo is read while this one is scored.
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || {
            for path in &plan.photos {
                let read = Photo::open(path, plan.depth);
                let ready = read.map(|photo| {
                    let prepared = detector.prepare(&photo);
                    (photo, prepared)
                });
                if sender.send(ready).is_err() {
                    return;
                }
            }
        });
        for (i, ready) in receiver.into_iter().enumerate() {
            let path = &plan.photos[i];
            let found = ready.and_then(|(photo, prepared)| {
                sink.note_photo(path, &photo);
                let (record, finding) = sink.context.score(detector, path, &prepared)?;
                Ok((record, finding, Some(photo)))
            });
            let goes_on = match found {
                Ok((record, finding, photo)) => sink.keep(i, record, &finding, photo)?,
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
        anyhow::Ok(())
    })
}
