//! The results of a run as a table for people. It is printed when all photos are scored.

use std::io::Write;

use blemish::Product;
use blemish::prompt::Role;
use blemish::report::{Record, is_other_product};
use blemish::text::shown;
use clap::ValueEnum;

/// The order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Order {
    /// The highest score first.
    Score,
    /// The order of the photos.
    Name,
}

/// What the table shows.
#[derive(Clone, Copy, Debug)]
pub struct TableStyle {
    pub order: Order,
    /// At most so many rows.
    pub top: usize,
    pub has_header: bool,
}

/// The rows, and which of the columns have something to say.
pub struct Table {
    style: TableStyle,
    has_verdict: bool,
    has_defect: bool,
    has_ignored: bool,
    rows: Vec<(f32, String)>,
}

impl Table {
    /// An empty table. `has_verdict`: whether the photos are scored with a profile.
    pub fn new(style: TableStyle, has_verdict: bool, product: &Product) -> Self {
        let has = |role: Role| product.kinds().iter().any(|kind| kind.role == role);
        let (has_defect, has_ignored) = (has(Role::Defect), has(Role::Ignore));
        Self { style, has_verdict, has_defect, has_ignored, rows: vec![] }
    }

    pub fn add(&mut self, record: &Record) {
        let row = self.row([
            &format!("{:.3}", record.score),
            record.verdict.unwrap_or("-"),
            &format!("{}, {}", record.peak_x, record.peak_y),
            &format!("{}x{}", record.width, record.height),
            &shown(record.defect.as_deref().unwrap_or("-")),
            &ignored(record),
            &format!("{}{}", named(record), other(record)),
        ]);
        self.rows.push((record.score, row));
    }

    /// # Errors
    /// If `out` cannot be written.
    pub fn print(mut self, out: &mut impl Write) -> std::io::Result<()> {
        if self.style.has_header && !self.rows.is_empty() {
            let names = ["score", "verdict", "peak at", "pixels", "defect", "ignored", "photo"];
            writeln!(out, "{}", self.row(names))?;
        }
        if self.style.order == Order::Score {
            self.rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        }
        for (_, row) in self.rows.iter().take(self.style.top) {
            writeln!(out, "{row}")?;
        }
        out.flush()
    }

    fn row(&self, [score, verdict, peak, pixels, defect, ignored, photo]: [&str; 7]) -> String {
        let mut row = format!("{score:>6}");
        if self.has_verdict {
            row += &format!("  {verdict:<9}");
        }
        row += &format!("  {peak:>13}  {pixels:>11}");
        if self.has_defect {
            row += &format!("  {defect:<12}");
        }
        if self.has_ignored {
            row += &format!("  {ignored:>7}");
        }
        row + "  " + photo
    }
}

/// The photo, or the part with the light that saw most.
fn named(record: &Record) -> String {
    match (&record.part, &record.light) {
        (Some(part), Some(light)) => format!("{} (light {})", shown(part), shown(light)),
        _ => shown(&record.path).into_owned(),
    }
}

/// What is said of a photo that resembles no reference.
fn other(record: &Record) -> &'static str {
    if is_other_product(record.unlike_references) { "  (resembles no reference)" } else { "" }
}

/// The share of a photo that is ignored, with a star if its score is discounted too.
fn ignored(record: &Record) -> String {
    let area: f64 = record.ignored.iter().map(|thing| thing.area).sum();
    let star = if record.discounted_by.is_some() { "*" } else { "" };
    format!("{:.1}%{star}", area * 100.0)
}
