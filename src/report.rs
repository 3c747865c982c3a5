//! Results as lines: JSON Lines, CSV, or a table for people. `docs/output.md` explains every field.

use std::io::Write;

use serde::Serialize;

/// The version of the fields below; grows when one changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// One photo's result. The field names are those of the JSON and the CSV.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The photo's file, as it was found.
    pub path: String,
    /// The product's name, or names.
    pub product: String,
    /// 0..1, higher is more anomalous.
    pub score: f32,
    /// Column of the map's peak, in pixels of the photo.
    pub peak_x: usize,
    /// Row of the map's peak, in pixels of the photo.
    pub peak_y: usize,
    /// The map's value there, 0..1.
    pub peak: f32,
    /// Width of the photo in pixels, upright.
    pub width: usize,
    /// Height of the photo in pixels, upright.
    pub height: usize,
    /// The share of the photo that was looked at, 0..1.
    pub coverage: f64,
    /// How the photo was scored.
    pub method: String,
    /// The model as it was named.
    pub model: String,
    /// SHA-256 of the model's weights.
    pub model_sha256: String,
    /// Side of the model's square input in pixels.
    pub size: usize,
    /// How the photo was made square.
    pub fit: String,
    /// Time that the model and the method took, in milliseconds.
    pub milliseconds: f64,
    /// The overlay that was written, if any.
    pub overlay: Option<String>,
    /// The map that was written, if any.
    pub map: Option<String>,
}

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

/// Writes results one by one, each flushed at once so that an interrupted run loses none.
pub struct Printer<W: Write> {
    out: W,
    format: Format,
    started: bool,
}

impl<W: Write> Printer<W> {
    /// Prints to `out`.
    pub fn new(out: W, format: Format) -> Self {
        Self { out, format, started: false }
    }

    /// Prints one result.
    ///
    /// # Errors
    /// What `out` says.
    pub fn print(&mut self, record: &Record) -> std::io::Result<()> {
        let first = !std::mem::replace(&mut self.started, true);
        match self.format {
            Format::Jsonl => {
                serde_json::to_writer(&mut self.out, record)?;
                writeln!(self.out)?;
            }
            Format::Csv => {
                let mut csv =
                    csv::WriterBuilder::new().has_headers(first).from_writer(&mut self.out);
                csv.serialize(record).map_err(std::io::Error::other)?;
                csv.flush()?;
            }
            Format::Table => {
                if first {
                    writeln!(
                        self.out,
                        "{:>6}  {:>13}  {:>11}  photo",
                        "score", "peak at", "pixels"
                    )?;
                }
                writeln!(
                    self.out,
                    "{:>6.3}  {:>13}  {:>11}  {}",
                    record.score,
                    format!("{}, {}", record.peak_x, record.peak_y),
                    format!("{}x{}", record.width, record.height),
                    // Control characters would move the terminal's cursor.
                    record.path.replace(char::is_control, "?"),
                )?;
            }
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: Format) -> String {
        let record = Record {
            schema: SCHEMA,
            path: "a, \"b\".png".into(),
            product: "nut".into(),
            score: 0.25,
            peak_x: 7,
            peak_y: 9,
            peak: 0.5,
            width: 30,
            height: 20,
            coverage: 1.0,
            method: "winclip".into(),
            model: "tiny".into(),
            model_sha256: "00".into(),
            size: 240,
            fit: "squash".into(),
            milliseconds: 1.5,
            overlay: Some("out/b.png".into()),
            map: None,
        };
        let mut out = Vec::new();
        let mut printer = Printer::new(&mut out, format);
        printer.print(&record).unwrap();
        printer.print(&record).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_format_holds_every_result() {
        let json = printed(Format::Jsonl);
        let values: Vec<serde_json::Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(values.len(), 2);
        assert_eq!(values[0]["path"], "a, \"b\".png");
        assert_eq!(values[0]["map"], serde_json::Value::Null);

        let csv = printed(Format::Csv);
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        assert_eq!(reader.headers().unwrap().len(), values[0].as_object().unwrap().len());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!((rows.len(), &rows[0][1]), (2, "a, \"b\".png"));

        let table = printed(Format::Table);
        assert_eq!(table.lines().count(), 3);
        assert!(table.lines().nth(1).unwrap().contains("0.250"));
    }
}
