//! The marks that a person made on the page of `score --out`: a CSV with the columns `path` and `mark`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use blemish::Error;
use blemish::files::read_text;

/// A million marks are about 100 MB.
const LARGEST: u64 = 256 << 20;

const SAVE: &str = "save it as CSV in UTF-8";

/// Photos that a person marked.
#[derive(Debug, Default, PartialEq)]
pub struct Marks {
    pub ok: Vec<PathBuf>,
    pub ng: Vec<PathBuf>,
}

/// A line of the file.
struct Row {
    line: usize,
    path: String,
    mark: String,
}

impl Marks {
    /// Reads a file of marks.
    ///
    /// # Errors
    /// If it is no such file, if it marks no photo, if a photo has two different marks, or if a photo is not there.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        let bytes = read_text(file, LARGEST)
            .map_err(|source| Error::Read { path: file.to_path_buf(), source })?;
        let refuse = |(line, why): (usize, String)| Error::Data {
            path: format!("{}:{line}", file.display()).into(),
            why,
        };
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| refuse((1, format!("is not UTF-8; {SAVE}"))))?;
        let rows = rows(text.trim_start_matches('\u{feff}')).map_err(refuse)?;
        Ok(Self::of(rows).map_err(refuse)?)
    }

    fn of(rows: Vec<Row>) -> Result<Self, (usize, String)> {
        let mut marked: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for Row { line, path, mark } in rows {
            let is_ng = match &*mark.to_lowercase() {
                "ok" => false,
                "ng" => true,
                "" => continue,
                other => return Err((line, format!("the mark {other:?} is not ok or ng"))),
            };
            let photo = PathBuf::from(&path);
            let why = match marked.insert(photo.clone(), is_ng) {
                _ if path.contains('\u{fffd}') => {
                    "has a name that is not Unicode, so it cannot be marked; rename the photo"
                }
                _ if !photo.is_file() => {
                    "is not there; run this command in the folder where `score` ran"
                }
                Some(before) if before != is_ng => "is marked ok and ng; keep one mark",
                _ => continue,
            };
            return Err((line, format!("{path} {why}")));
        }
        if marked.is_empty() {
            return Err((1, "marks no photo; mark some on the page and save them".into()));
        }
        let of = |wanted: bool| {
            let own = marked.iter().filter(move |(_, is_ng)| **is_ng == wanted);
            own.map(|(photo, _)| photo.clone()).collect()
        };
        Ok(Self { ok: of(false), ng: of(true) })
    }
}

/// The lines of a CSV. An error has the number of its line.
fn rows(text: &str) -> Result<Vec<Row>, (usize, String)> {
    // Excel writes semicolons in some countries.
    let head = text.lines().next().unwrap_or_default();
    let delimiter = if head.contains(';') && !head.contains(',') { b';' } else { b',' };
    let mut reader = csv::ReaderBuilder::new();
    let mut reader = reader.delimiter(delimiter).trim(csv::Trim::All).from_reader(text.as_bytes());
    let head = reader.headers().map_err(|_| (1, format!("is no CSV; {SAVE}")))?.clone();
    let column = |name: &str| {
        let why = "has no columns `path` and `mark`; save the marks of index.html";
        head.iter().position(|field| field == name).ok_or((1, why.to_string()))
    };
    let (path, mark) = (column("path")?, column("mark")?);
    let line = |at: Option<&csv::Position>| at.map_or(1, |at| line_at(text, at.byte() as usize));
    let row = |row: csv::Result<csv::StringRecord>| match row {
        Ok(row) => Ok(Row {
            line: line(row.position()),
            path: row.get(path).unwrap_or_default().into(),
            mark: row.get(mark).unwrap_or_default().into(),
        }),
        Err(error) => {
            let why = format!("has another number of columns than line 1; {SAVE}");
            Err((line(error.position()), why))
        }
    };
    reader.into_records().map(row).collect()
}

/// The number of the line with this byte, or of the next line with text.
fn line_at(text: &str, byte: usize) -> usize {
    let rest = text.get(byte..).unwrap_or_default();
    let start = byte + rest.len() - rest.trim_start_matches(['\r', '\n']).len();
    1 + text.get(..start).unwrap_or(text).matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_and_mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        [at("a.png"), at("b, \"c\".png")].iter().for_each(|file| std::fs::write(file, "").unwrap());
        let read = |rows: &str| {
            let rows = rows.replace("DIR", folder.path().to_str().unwrap());
            std::fs::write(at("marks.csv"), format!("path,mark,score\n{rows}")).unwrap();
            Marks::open(&at("marks.csv")).map_err(|error| error.to_string())
        };
        let marks = read("\"DIR/a.png\",ok,0.1\n\"DIR/b, \"\"c\"\".png\",ng,0.9\n").unwrap();
        assert_eq!((marks.ok, marks.ng), (vec![at("a.png")], vec![at("b, \"c\".png")]));
        // As Excel saves it in some countries, and by hand.
        std::fs::write(
            at("x.csv"),
            "\u{feff}path;mark\r\n".to_string() + at("a.png").to_str().unwrap() + "; OK\r\n",
        )
        .unwrap();
        assert_eq!(Marks::open(&at("x.csv")).unwrap().ok, [at("a.png")]);
        for (rows, said) in [
            ("\r\nDIR/a.png,maybe,0\r\n", "marks.csv:3: the mark \"maybe\" is not ok or ng"),
            ("DIR/gone.png,ok,0\n", "gone.png is not there"),
            ("", "marks no photo"),
            ("DIR/a.png\n", "marks.csv:2: has another number of columns"),
            ("DIR/a.png,ok,0\nDIR/a.png,ng,0\n", "marks.csv:3"),
        ] {
            let error = read(rows).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        std::fs::write(at("other.csv"), "a,b\n1,2\n").unwrap();
        assert!(Marks::open(&at("other.csv")).unwrap_err().to_string().contains("no column"));
    }
}
