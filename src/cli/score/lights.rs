//! Scores parts that have several photos.

use blemish::scorer::{LightScorer, PartResult};

use super::sink::{PhotoResult, ResultSink};

pub fn score(sink: &mut ResultSink, scorer: &LightScorer) -> anyhow::Result<()> {
    let (plan, context) = (sink.plan, sink.context);
    sink.begin();
    for (i, part) in plan.parts.iter().enumerate() {
        let scored = scorer.score(part, plan.depth);
        let goes_on = match scored {
            Ok(PartResult { record, finding, photo }) => {
                let note = photo.note().map(|note| format!("{}: {note}", part.name.display()));
                note.iter().for_each(|note| sink.note(note));
                let drawn = PhotoResult::draw((context, plan), i, (record, finding), Some(photo));
                sink.keep(drawn)?
            }
            Err(error) => {
                sink.fail_part(&error);
                sink.goes_on()
            }
        };
        sink.bar.inc(1);
        if !goes_on {
            break;
        }
    }
    Ok(())
}
