//! Results of photos for programs: JSON Lines and CSV.

use std::io::{IsTerminal, Write};

use blemish::image::Appearance;
use blemish::report::{AdapterRow, FolderRow, Record};
use blemish::text::{cell, json};
use serde_json::Value;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    Jsonl,
    /// A short table.
    Table,
    /// All fields, with a header line.
    Csv,
}

/// A table on a terminal, and JSON Lines elsewhere.
pub fn default_format() -> Format {
    if std::io::stdout().is_terminal() { Format::Table } else { Format::Jsonl }
}

/// Prints results one by one. Each is flushed at once, so a run that is interrupted loses none.
pub struct Printer<W: Write> {
    out: W,
    is_csv: bool,
    started: bool,
}

impl<W: Write> Printer<W> {
    /// CSV or JSON Lines. `has_header`: false for results that follow other results.
    pub fn new(out: W, is_csv: bool, has_header: bool) -> Self {
        Self { out, is_csv, started: !has_header }
    }

    /// # Errors
    /// If `out` cannot be written.
    pub fn print(&mut self, record: &Record) -> std::io::Result<()> {
        let first = !std::mem::replace(&mut self.started, true);
        if self.is_csv {
            let columns = columns(record)?;
            let mut csv = csv::Writer::from_writer(&mut self.out);
            if first {
                csv.write_record(columns.iter().map(|(name, _)| name))?;
            }
            csv.write_record(columns.iter().map(|(_, value)| value))?;
            csv.flush()?;
        } else {
            writeln!(self.out, "{}", json(&serde_json::to_string(record)?))?;
        }
        self.out.flush()
    }
}

/// A record as CSV columns. The entries of a list get columns like `defects.scratch.score`.
fn columns(record: &Record) -> std::io::Result<Vec<(String, String)>> {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => cell(text).into_owned(),
        other => other.to_string(),
    };
    let mut columns = Vec::new();
    // JSON text has only the digits that a float32 needs. `to_value` would give more.
    let value: Value = serde_json::from_str(&serde_json::to_string(record)?)?;
    // These objects have columns even if they are null.
    let parts = [
        ("appearance", serde_json::to_value(Appearance::default())?),
        ("folder", serde_json::to_value(FolderRow::default())?),
        ("adapter", serde_json::to_value(AdapterRow::default())?),
    ];
    for (field, value) in value.as_object().into_iter().flatten() {
        if let (Value::Null, Some((_, parts))) =
            (value, parts.iter().find(|(name, _)| name == field))
        {
            let keys = parts.as_object().into_iter().flatten();
            columns.extend(keys.map(|(key, _)| (format!("{field}.{key}"), String::new())));
            continue;
        }
        if let Some(parts) = value.as_object() {
            columns.extend(parts.iter().map(|(key, v)| (format!("{field}.{key}"), text(v))));
        }
        let Some(entries) = value.as_array() else {
            if !value.is_object() {
                columns.push((field.clone(), text(value)));
            }
            continue;
        };
        for entry in entries.iter().filter_map(Value::as_object) {
            let name = text(&entry["name"]);
            let rest = entry.iter().filter(|(key, _)| *key != "name");
            columns.extend(rest.map(|(key, v)| (format!("{field}.{name}.{key}"), text(v))));
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use blemish::report::{DefectRow, SCHEMA};

    fn scratch() -> DefectRow {
        DefectRow {
            name: "scratch".into(),
            english: "scratch".into(),
            counts: true,
            score: 0.5,
            peak: 0.6,
            map: None,
        }
    }

    fn printed(is_csv: bool) -> String {
        let record = Record {
            schema: SCHEMA,
            path: "a, \"b\".png".into(),
            part: None,
            light: None,
            lights: vec![],
            fuse: None,
            product: "nut".into(),
            product_english: "nut".into(),
            prompts_sha256: String::new(),
            region: None,
            score: 0.25,
            p_value: Some(0.05),
            calibration_photos: Some(19),
            false_alarm: Some(0.05),
            verdict: Some("ng"),
            peak_x: 7,
            peak_y: 9,
            peak: 0.5,
            width: 30,
            height: 20,
            coverage: 1.0,
            appearance: None,
            defect: Some("scratch".into()),
            defects: vec![scratch()],
            score_before_ignoring: 0.25,
            discounted_by: None,
            ignored: vec![],
            method: "winclip".into(),
            transductive: false,
            folder: None,
            reference_method: None,
            references: None,
            profile: None,
            unlike_references: None,
            profile_sha256: None,
            model: "tiny".into(),
            model_sha256: "00".into(),
            reference_model: None,
            reference_model_sha256: None,
            adapter: None,
            size: 240,
            tiles: None,
            tile_overlap: None,
            precision: "f32",
            fit: "squash".into(),
            milliseconds: 1.5,
            overlay: Some("out/b.png".into()),
            map: None,
        };
        let mut out = Vec::new();
        let mut printer = Printer::new(&mut out, is_csv, true);
        printer.print(&record).unwrap();
        printer.print(&record).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_format_holds_every_result() {
        let json = printed(false);
        let values: Vec<Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(values.len(), 2);
        assert_eq!(values[0]["path"], "a, \"b\".png");
        assert_eq!(values[0]["map"], Value::Null);

        let csv = printed(true);
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let headers = reader.headers().unwrap().clone();
        // `defects` and `ignored` have columns for each name, `appearance`, `folder` and `adapter` a column for each field.
        assert_eq!(headers.len(), values[0].as_object().unwrap().len() - 6 + 5 + 3 + 14 + 5);
        assert!(headers.iter().any(|h| h == "defects.scratch.score"));
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!((rows.len(), &rows[0][1]), (2, "a, \"b\".png"));
    }
}
