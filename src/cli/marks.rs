//! The marks that a person made on the page of `score --out`: a CSV with the columns `path` and `mark`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use blemish::Error;
use blemish::files::read_text;

/// A million marks are about 100 MB.
const LARGEST: u64 = 256 << 20;

/// Photos that a person marked.
#[derive(Debug, Default, PartialEq)]
pub struct Marks {
    pub ok: Vec<PathBuf>,
    pub ng: Vec<PathBuf>,
}

impl Marks {
    /// Reads a file of marks.
    ///
    /// # Errors
    /// If it is no such file, if a photo has two different marks, or if a photo is not there.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        let bytes = read_text(file, LARGEST)
            .map_err(|source| Error::Read { path: file.to_path_buf(), source })?;
        let refuse = |line: u64, why: String| Error::Data {
            path: format!("{}:{line}", file.display()).into(),
            why,
        };
        let mut rows = csv::Reader::from_reader(&*bytes);
        let head = rows.headers().map_err(|error| refuse(1, error.to_string()))?.clone();
        let column = |name: &str| {
            let at = head.iter().position(|field| field.trim_start_matches('\u{feff}') == name);
            let why = "has no column `path` and `mark`; save the marks of index.html";
            at.ok_or_else(|| refuse(1, why.into()))
        };
        let (path, mark) = (column("path")?, column("mark")?);
        let mut marked: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for row in rows.records() {
            let row = row.map_err(|error| refuse(0, error.to_string()))?;
            let line = row.position().map_or(0, csv::Position::line);
            let field = |at: usize| row.get(at).unwrap_or_default();
            let is_ng = match field(mark) {
                "ok" => false,
                "ng" => true,
                "" => continue,
                other => {
                    return Err(refuse(line, format!("the mark {other:?} is not ok or ng")).into());
                }
            };
            let photo = PathBuf::from(field(path));
            if !photo.is_file() {
                let why = "is not there; run this command in the folder where `score` ran";
                return Err(refuse(line, format!("{} {why}", photo.display())).into());
            }
            if marked.insert(photo.clone(), is_ng).is_some_and(|before| before != is_ng) {
                let why = "is marked ok and ng; keep one mark";
                return Err(refuse(line, format!("{} {why}", photo.display())).into());
            }
        }
        let of = |wanted: bool| {
            let own = marked.iter().filter(move |(_, is_ng)| **is_ng == wanted);
            own.map(|(photo, _)| photo.clone()).collect()
        };
        Ok(Self { ok: of(false), ng: of(true) })
    }
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
        for (rows, said) in [
            ("DIR/a.png,maybe,0\n", "marks.csv:2: the mark \"maybe\" is not ok or ng"),
            ("DIR/gone.png,ok,0\n", "gone.png is not there"),
            ("DIR/a.png,ok,0\nDIR/a.png,ng,0\n", "marks.csv:3"),
        ] {
            let error = read(rows).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        std::fs::write(at("other.csv"), "a,b\n1,2\n").unwrap();
        assert!(Marks::open(&at("other.csv")).unwrap_err().to_string().contains("no column"));
    }
}
