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
        let refuse = |line: usize, why: String| Error::Data {
            path: format!("{}:{line}", file.display()).into(),
            why,
        };
        let save = "save it as CSV in UTF-8";
        let text =
            String::from_utf8(bytes).map_err(|_| refuse(1, format!("is not UTF-8; {save}")))?;
        let text = text.trim_start_matches('\u{feff}');
        // Excel writes semicolons in some countries.
        let head = text.lines().next().unwrap_or_default();
        let delimiter = if head.contains(';') && !head.contains(',') { b';' } else { b',' };
        let mut reader = csv::ReaderBuilder::new();
        let mut rows =
            reader.delimiter(delimiter).trim(csv::Trim::All).from_reader(text.as_bytes());
        let head = rows.headers().map_err(|_| refuse(1, format!("is no CSV; {save}")))?.clone();
        let column = |name: &str| {
            let why = "has no columns `path` and `mark`; save the marks of index.html";
            head.iter().position(|field| field == name).ok_or_else(|| refuse(1, why.into()))
        };
        let (path, mark) = (column("path")?, column("mark")?);
        let mut marked: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for row in rows.records() {
            let row = row.map_err(|error| {
                let at = error.position().map_or(0, |at| at.byte() as usize);
                refuse(
                    line_at(text, at),
                    format!("has another number of columns than line 1; {save}"),
                )
            })?;
            let line = row.position().map_or(0, |at| line_at(text, at.byte() as usize));
            let field = |at: usize| row.get(at).unwrap_or_default();
            let is_ng = match &*field(mark).to_lowercase() {
                "ok" => false,
                "ng" => true,
                "" => continue,
                other => {
                    let why = format!("the mark {other:?} is not ok or ng");
                    return Err(refuse(line, why).into());
                }
            };
            let photo = PathBuf::from(field(path));
            if !photo.is_file() {
                let why = match field(path).contains('\u{fffd}') {
                    true => {
                        "has a name that is not Unicode, so it cannot be marked; rename the photo"
                    }
                    false => "is not there; run this command in the folder where `score` ran",
                };
                return Err(refuse(line, format!("{} {why}", photo.display())).into());
            }
            if marked.insert(photo.clone(), is_ng).is_some_and(|before| before != is_ng) {
                let why = "is marked ok and ng; keep one mark";
                return Err(refuse(line, format!("{} {why}", photo.display())).into());
            }
        }
        if marked.is_empty() {
            return Err(
                refuse(1, "marks no photo; mark some on the page and save them".into()).into()
            );
        }
        let of = |wanted: bool| {
            let own = marked.iter().filter(move |(_, is_ng)| **is_ng == wanted);
            own.map(|(photo, _)| photo.clone()).collect()
        };
        Ok(Self { ok: of(false), ng: of(true) })
    }
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
