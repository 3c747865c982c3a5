//! Results as one HTML file that needs no network: facts, tables, charts, and a list of photos to look through.
//!
//! The pictures lie in a folder beside the file, or in the file itself. The page looks the same in `score`, `eval` and
//! `enroll`.

pub mod charts;
mod facts;
mod gallery;

use std::path::Path;

use serde::Serialize;

pub use self::facts::facts;
pub use self::gallery::{Gallery, GalleryPhoto, Legend, Pictures, folder};
use crate::text::shown;

/// The content of a page.
#[derive(Debug, Default, Serialize)]
pub struct Page {
    /// Its title.
    pub title: String,
    /// What was done, and how: names and values.
    pub facts: Vec<(String, String)>,
    /// Warnings that matter for the numbers.
    pub warnings: Vec<String>,
    /// Tables and charts, each under its heading.
    pub sections: Vec<Section>,
    /// The photos.
    #[serde(skip)]
    pub gallery: Gallery,
}

/// A part of a page.
#[derive(Debug, Default, Serialize)]
pub struct Section {
    /// Its heading.
    pub name: String,
    /// Its tables.
    pub tables: Vec<Table>,
    /// SVG elements, as [`charts`] makes them.
    pub charts: Vec<String>,
    /// Sentences below them.
    pub notes: Vec<String>,
}

/// A table.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    /// The names of the columns.
    pub head: Vec<String>,
    /// The cells of each row.
    pub rows: Vec<Vec<String>>,
}

const TEMPLATE: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");
const STRINGS: &str = include_str!("assets/strings.json");
/// The start of every page.
const MARK: &str = "<meta name=\"generator\" content=\"blemish\">";
/// The mark is in the first bytes.
const MARK_WITHIN: u64 = 200;

impl Page {
    /// The text of the HTML file.
    pub fn html(&self) -> String {
        let mut templates = minijinja::Environment::new();
        // Names of files and products may hold characters that turn text around.
        templates.set_formatter(|out, state, value| {
            match value.as_str().filter(|_| !value.is_safe()) {
                Some(text) => minijinja::escape_formatter(out, state, &shown(text).as_ref().into()),
                None => minijinja::escape_formatter(out, state, value),
            }
        });
        let content = minijinja::context! {
            ..minijinja::Value::from(minijinja::value::Serde(self)),
            ..minijinja::context! {
                style => STYLE,
                script => SCRIPT,
                strings => in_script(STRINGS),
                data => in_script(&self.gallery.json()),
            }
        };
        let page = templates.render_named_str("page.html", TEMPLATE, content);
        page.expect("the embedded template fits its content")
    }
}

/// Whether a file is a page of blemish.
pub fn is_one(file: &Path) -> bool {
    use std::io::Read;
    let start = |file: std::fs::File| {
        let mut start = Vec::new();
        file.take(MARK_WITHIN).read_to_end(&mut start).ok()?;
        Some(String::from_utf8_lossy(&start).contains(MARK))
    };
    crate::files::open(file, u64::MAX).ok().and_then(start) == Some(true)
}

/// JSON inside a script element: nothing in it may end the element.
fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_needs_nothing_else_and_escapes_names() {
        let table = Table {
            head: vec!["".into(), "AUROC".into()],
            rows: vec![vec!["<i>all".into(), "0.5".into()]],
        };
        let section = Section {
            name: "<b>nut</b>".into(),
            tables: vec![table],
            charts: vec![charts::histogram(&[0.1, 0.6], &[0.3])],
            notes: vec!["a & b".into()],
        };
        let photo = GalleryPhoto {
            path: "</script><script>alert(1)//\u{202e}.png".into(),
            ..GalleryPhoto::default()
        };
        let page = Page {
            title: "Measured".into(),
            facts: vec![("model\u{202e}".into(), "\"tiny\"".into())],
            warnings: vec!["not zero-shot".into()],
            sections: vec![section],
            gallery: Gallery { rows: vec![photo], ..Gallery::default() },
        };
        let html = page.html();
        assert!(
            html.contains("&lt;b&gt;nut") && !html.contains("<b>nut") && !html.contains("<i>all")
        );
        assert!(html.contains("a &amp; b") && html.contains("<svg width"));
        assert!(!html.contains("<script>alert") && !html.contains("model\u{202e}"));
        assert_eq!(html.matches("</script>").count(), 3, "names end no script");
        let addresses = html.matches("http").count() - html.matches("http-equiv").count();
        assert_eq!(
            addresses,
            html.matches("http://www.w3.org/2000/svg").count(),
            "nothing is fetched"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &html).unwrap();
        assert!(is_one(file.path()));
        std::fs::write(file.path(), "<html>").unwrap();
        assert!(!is_one(file.path()));
    }
}
