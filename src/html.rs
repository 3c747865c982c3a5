//! A report as one HTML file that needs no network: tables, curves, histograms, pictures.

use std::fmt::Write;

use crate::eval::Metrics;
use crate::text::shown;

/// The content of a report.
#[derive(Debug)]
pub struct Page {
    /// Its title.
    pub title: String,
    /// What was measured, and how: names and values.
    pub facts: Vec<(String, String)>,
    /// Warnings that matter for the numbers.
    pub warnings: Vec<String>,
    /// One section for each product.
    pub products: Vec<Section>,
    /// The mean over the products.
    pub mean: Metrics,
    /// The name of the region metric: AU-PRO or AU-sPRO.
    pub region_metric: String,
}

/// The results of one product.
#[derive(Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// All photos first, then each kind of defect: name, number of good photos, number of defective photos, metrics.
    pub rows: Vec<(String, usize, usize, Metrics)>,
    /// Scores of good photos.
    pub good: Vec<f32>,
    /// Scores of defective photos.
    pub bad: Vec<f32>,
    /// The curve of mean region overlap over false-positive rate, `(rate, overlap)`. Empty without masks.
    pub overlap: Vec<(f64, f64)>,
    /// Photos that a person should look at.
    pub pictures: Vec<Picture>,
}

/// A photo with its heat map.
#[derive(Debug)]
pub struct Picture {
    /// The text below the photo.
    pub caption: String,
    /// A PNG file.
    pub png: Vec<u8>,
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;\
color:#222}table{border-collapse:collapse;margin:1em 0}th,td{padding:.25em .7em;text-align:right;\
border-bottom:1px solid #ddd}th:first-child,td:first-child,.facts td{text-align:left}.warning{background:#fff3cd;\
padding:.5em 1em;border-left:4px solid #d39e00}figure{display:inline-block;margin:.5em;max-width:320px;\
vertical-align:top}figure img{max-width:100%}figcaption{font-size:13px;overflow-wrap:anywhere}\
svg{margin-right:1em}svg text{font-size:11px;fill:#444}h2{margin-top:2em;border-top:1px solid #ccc;padding-top:1em}";

impl Page {
    /// The text of the HTML file.
    pub fn html(&self) -> String {
        let title = escaped(&self.title);
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
             <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n"
        );
        let mut push = |text: String| out.push_str(&text);
        for warning in &self.warnings {
            push(format!("<p class=\"warning\">{}</p>\n", escaped(warning)));
        }
        push("<table class=\"facts\">".into());
        for (name, value) in &self.facts {
            push(format!("<tr><td>{}</td><td>{}</td></tr>\n", escaped(name), escaped(value)));
        }
        push("</table>\n".into());
        push(self.table(self.products.iter().map(|p| {
            let (_, good, bad, metrics) = &p.rows[0];
            (&*p.name, Some((*good, *bad)), metrics)
        })));
        for product in &self.products {
            push(format!("<h2>{}</h2>\n", escaped(&product.name)));
            let rows = product.rows.iter();
            push(self.table(rows.map(|(name, good, bad, m)| (&**name, Some((*good, *bad)), m))));
            push(histogram(&product.good, &product.bad));
            push(curve("ROC of photos", "false-positive rate", "recall", &roc(product)));
            if !product.overlap.is_empty() {
                let name = self.region_metric.trim_start_matches("AU-");
                push(curve(name, "false-positive rate", "mean overlap", &product.overlap));
            }
            push("<div>".into());
            for picture in &product.pictures {
                push(format!(
                    "<figure><img src=\"data:image/png;base64,{}\" alt=\"\"><figcaption>{}</figcaption>\
                     </figure>\n",
                    base64(&picture.png),
                    escaped(&picture.caption)
                ));
            }
            push("</div>\n".into());
        }
        push("</body></html>\n".into());
        out
    }

    fn table<'a>(
        &'a self,
        rows: impl Iterator<Item = (&'a str, Option<(usize, usize)>, &'a Metrics)>,
    ) -> String {
        let limits: Vec<&String> = self.mean.au_pro.keys().collect();
        let mut out = String::from(
            "<table><tr><th></th><th>good</th><th>bad</th><th>AUROC</th><th>95 %</th><th>AP</th><th>F1</th>\
             <th>pixel AUROC</th><th>AP</th><th>F1</th>",
        );
        for limit in &limits {
            let _ = write!(out, "<th>{}@{limit}</th>", escaped(&self.region_metric));
        }
        out.push_str("</tr>\n");
        let rows: Vec<_> = rows.collect();
        let mean = (rows.len() > 1 && rows.len() == self.products.len())
            .then_some(("mean", None, &self.mean));
        for (name, photos, m) in rows.into_iter().chain(mean) {
            let count = |n: Option<usize>| n.map_or(String::new(), |n| n.to_string());
            let (good, bad) = (count(photos.map(|p| p.0)), count(photos.map(|p| p.1)));
            let interval = m.image_auroc_95;
            let interval = interval.map_or("-".into(), |(a, b)| format!("{a:.3}..{b:.3}"));
            let _ = write!(out, "<tr><td>{}</td><td>{good}</td><td>{bad}</td>", escaped(name));
            let _ = write!(out, "<td>{}</td><td>{interval}</td>", number(m.image_auroc));
            for value in [m.image_ap, m.image_f1_max, m.pixel_auroc, m.pixel_ap, m.pixel_f1_max] {
                let _ = write!(out, "<td>{}</td>", number(value));
            }
            for limit in &limits {
                let _ = write!(out, "<td>{}</td>", number(m.au_pro.get(*limit).copied()));
            }
            out.push_str("</tr>\n");
        }
        out + "</table>\n"
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.3}"))
}

/// The points of the ROC curve, at every score.
fn roc(product: &Section) -> Vec<(f64, f64)> {
    let mut scores: Vec<f32> = product.good.iter().chain(&product.bad).copied().collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.dedup();
    let share = |of: &[f32], least: f32| {
        of.iter().filter(|score| **score >= least).count() as f64 / of.len().max(1) as f64
    };
    let point = |score: f32| (share(&product.good, score), share(&product.bad, score));
    std::iter::once((0.0, 0.0)).chain(scores.into_iter().map(point)).collect()
}

const SIDE: f64 = 260.0;
const LEFT: f64 = 45.0;
const TOP: f64 = 25.0;

/// The frame of a diagram with its title and axis labels. `inside` is its content.
fn drawing(title: &str, x: &str, y: &str, ends: [&str; 2], inside: &str) -> String {
    let (width, height) = (LEFT + SIDE + 15.0, TOP + SIDE + 45.0);
    let (right, middle) = (LEFT + SIDE, LEFT + SIDE / 2.0);
    let (below, label, half) = (TOP + SIDE + 15.0, TOP + SIDE + 32.0, TOP + SIDE / 2.0);
    let [title, x, y] = [title, x, y].map(escaped);
    let [from, to] = ends;
    format!(
        "<svg width=\"{width}\" height=\"{height}\" role=\"img\"><text x=\"{middle}\" y=\"15\" \
         text-anchor=\"middle\" font-weight=\"bold\">{title}</text>\
         <rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"none\" stroke=\"#999\"/>{inside}\
         <text x=\"{LEFT}\" y=\"{below}\" text-anchor=\"middle\">{from}</text>\
         <text x=\"{right}\" y=\"{below}\" text-anchor=\"middle\">{to}</text>\
         <text x=\"{middle}\" y=\"{label}\" text-anchor=\"middle\">{x}</text>\
         <text x=\"14\" y=\"{half}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {half})\">{y}</text></svg>\n"
    )
}

fn curve(title: &str, x: &str, y: &str, points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let (x, y) = (LEFT + x * SIDE, TOP + (1.0 - y) * SIDE);
        let _ = write!(path, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
    }
    let chance = format!("M{LEFT} {}L{} {TOP}", TOP + SIDE, LEFT + SIDE);
    let inside = format!(
        "<path d=\"{chance}\" stroke=\"#ccc\" fill=\"none\"/><path d=\"{path}\" stroke=\"#1b6ca8\" \
         stroke-width=\"2\" fill=\"none\"/>"
    );
    drawing(title, x, y, ["0", "1"], &inside)
}

/// A histogram of the scores of good and defective photos.
fn histogram(good: &[f32], bad: &[f32]) -> String {
    const BINS: usize = 24;
    let all = good.iter().chain(bad);
    let (low, high) = all
        .clone()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), s| (low.min(*s), high.max(*s)));
    let bin = |score: f32| {
        let share = (score - low) / (high - low).max(f32::MIN_POSITIVE);
        ((share * BINS as f32) as usize).min(BINS - 1)
    };
    let counts = |scores: &[f32]| {
        let mut counts = [0usize; BINS];
        scores.iter().for_each(|score| counts[bin(*score)] += 1);
        counts
    };
    let (good, bad) = (counts(good), counts(bad));
    let most = good.iter().chain(&bad).copied().max().unwrap_or(1).max(1);
    let mut inside = String::new();
    for (counts, colour) in [(good, "#3a9d5d"), (bad, "#c0392b")] {
        for (i, count) in counts.into_iter().enumerate() {
            let height = count as f64 / most as f64 * SIDE;
            let (x, width) = (LEFT + i as f64 * SIDE / BINS as f64, SIDE / BINS as f64);
            let _ = write!(
                inside,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\" \
                 fill-opacity=\".55\"/>",
                TOP + SIDE - height
            );
        }
    }
    let ends =
        [low, high].map(|end| if end.is_finite() { format!("{end:.3}") } else { "-".into() });
    let y = format!("photos (at most {most} a bar)");
    drawing("Scores: good green, defective red", "score", &y, [&ends[0], &ends[1]], &inside)
}

fn escaped(text: &str) -> String {
    shown(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_needs_nothing_else_and_escapes_names() {
        let metrics = Metrics { image_auroc: Some(0.5), ..Metrics::default() };
        let section = Section {
            name: "<b>nut</b>".into(),
            rows: vec![("all".into(), 2, 2, metrics.clone())],
            good: vec![0.1, 0.6],
            bad: vec![0.3, 0.7],
            overlap: vec![(0.0, 0.0), (1.0, 1.0)],
            pictures: vec![Picture { caption: "a & b".into(), png: vec![1, 2, 3] }],
        };
        let page = Page {
            title: "Measured".into(),
            facts: vec![("model".into(), "tiny".into())],
            warnings: vec!["not zero-shot".into()],
            products: vec![section],
            mean: metrics,
            region_metric: "AU-PRO".into(),
        };
        let html = page.html();
        assert!(html.contains("&lt;b&gt;nut&lt;/b&gt;") && !html.contains("<b>nut"));
        assert!(html.contains("data:image/png;base64,AQID") && html.contains("a &amp; b"));
        assert!(!html.contains("http"), "nothing is fetched");
        assert_eq!(html.matches("<svg").count(), 3);
    }

    #[test]
    fn the_roc_curve_has_a_point_for_every_score() {
        let section = Section {
            name: String::new(),
            rows: vec![],
            good: vec![0.1, 0.6],
            bad: vec![0.6, 0.7],
            overlap: vec![],
            pictures: vec![],
        };
        assert_eq!(roc(&section), [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
    }
}
