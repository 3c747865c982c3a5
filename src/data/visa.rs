//! VisA as published: its list of photos, `split_csv/1cls.csv`.

use std::path::Path;

use super::Sample;
use crate::error::{Error, Result};
use crate::files::{below, read};

/// Largest list that is read. The real one has a tenth of a megabyte.
const MOST_LIST: u64 = 64 << 20;

/// A line of the list.
pub(super) struct Row {
    pub object: String,
    pub split: String,
    pub label: String,
    pub image: String,
    pub mask: String,
}

pub(super) fn rows(root: &Path) -> Result<Vec<Row>> {
    let file = root.join("split_csv/1cls.csv");
    let fail = |why: String| Error::data(&file, why);
    let bytes = read(&file, MOST_LIST).map_err(Error::read(&file))?;
    let text = String::from_utf8(bytes).map_err(|_| fail("is not UTF-8".into()))?;
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let header = lines.next().map(|(_, line)| fields(line)).unwrap_or_default();
    let mut rows = Vec::new();
    for (i, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let other = |what: &str| fail(format!("not VisA's list of photos: line {} {what}", i + 1));
        let values = fields(line);
        if values.len() != header.len() {
            return Err(other("has another number of fields than the first line"));
        }
        let field = |name: &str| {
            let column = header.iter().position(|column| column == name);
            column.map(|i| values[i].clone()).ok_or_else(|| other(&format!("has no {name}")))
        };
        let row = Row {
            object: field("object")?,
            split: field("split")?,
            label: field("label")?,
            image: field("image")?,
            mask: field("mask").unwrap_or_default(),
        };
        // The paths are untrusted. They must not lead out of the folder.
        let leads_out = |path: &String| Path::new(path).is_absolute() || path.contains("..");
        if [&row.image, &row.mask].into_iter().any(leads_out) {
            return Err(fail(format!("names a file outside its folder: {}", row.image)));
        }
        // Results are written into folders of these names.
        below(root, &[row.object.as_ref()])?;
        rows.push(row);
    }
    Ok(rows)
}

/// The fields of a CSV line. Inside quotes, a comma is part of the field, and two quotes stand for one.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut is_quoted) = (vec![String::new()], false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let last = fields.len() - 1;
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                fields[last].push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            letter => fields[last].push(letter),
        }
    }
    fields
}

pub(super) fn samples(root: &Path) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for row in rows(root)?.into_iter().filter(|row| row.split == "test") {
        let is_anomalous = row.label == "anomaly";
        samples.push(Sample {
            photo: root.join(&row.image),
            part: None,
            product: row.object,
            kind: if is_anomalous { "anomaly".into() } else { "good".into() },
            is_anomalous,
            masks: match is_anomalous && !row.mask.is_empty() {
                true => vec![root.join(row.mask)],
                false => vec![],
            },
        });
    }
    samples.sort_by(|a, b| (&a.product, &a.kind, &a.photo).cmp(&(&b.product, &b.kind, &b.photo)));
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_stand_in_quotes() {
        assert_eq!(fields("a,\"b, \"\"c\"\"\",,d"), ["a", "b, \"c\"", "", "d"]);
        assert_eq!(fields(""), [""]);
    }
}
