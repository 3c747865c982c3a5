//! Groups of photos that share something odd: what is said of them.

use std::path::{Path, PathBuf};

use blemish::mutual::{MutualPart, MutualScores};
use blemish::reference::{RepeatGroup, Repeated};

use super::sink::ResultSink;
use crate::cli::args::repeats::flag;

/// So many photos of a group are named.
const NAMED: usize = 3;

/// Names the groups of all parts, and reports photos of `said` that are in none.
pub fn report(sink: &mut ResultSink, scores: &MutualScores, said: &[(PathBuf, Repeated)]) {
    let mut grouped: Vec<&Path> = Vec::new();
    let photos = &sink.plan.photos;
    for part in &scores.parts {
        for (number, group) in part.results.repeats().iter().enumerate() {
            let is_member = |photo: &usize| {
                let found = scores.find(*photo);
                found.is_some_and(|(of, i)| std::ptr::eq(of, part) && group.photos.contains(&i))
            };
            let members: Vec<usize> = (0..photos.len()).filter(is_member).collect();
            grouped.extend(members.iter().map(|photo| &*photos[*photo]));
            sink.warn(&described(photos, scores, part, (number, group), &members));
        }
    }
    let lost = said.iter().filter(|(photo, _)| !grouped.contains(&&**photo));
    for (photo, is) in lost {
        let (flag, photo) = (flag(*is), photo.display());
        sink.fail(&format!("--{flag} {photo}: this photo is in no group, so it changed nothing"));
    }
}

fn described(
    photos: &[PathBuf],
    scores: &MutualScores,
    part: &MutualPart,
    (number, group): (usize, &RepeatGroup),
    members: &[usize],
) -> String {
    let named = members.iter().take(NAMED).map(|photo| {
        let at = scores.find(*photo).and_then(|(_, i)| part.results.repeat_of(i));
        let at = at.map_or(String::new(), |(_, [x, y])| format!(" (at {x},{y})"));
        format!("{}{at}", photos[*photo].display())
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let others = match members.len().saturating_sub(NAMED) {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let what = match group.is {
        Some(Repeated::Defect) => "you said that it is a defect".to_string(),
        Some(Repeated::Variant) => "you said that it is harmless".to_string(),
        None => {
            let first = photos[members[0]].display();
            format!(
                "look at it; if it is a defect, add --repeated-defect {first}, if it is harmless, --variant {first}"
            )
        }
    };
    let (count, number) = (members.len(), number + 1);
    format!("group {number}: {count} photos share something odd, {named}{others}: {what}")
}
