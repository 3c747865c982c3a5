//! Curves and histograms as SVG. SVG is text in the page, so plotters, which draws pixels, is not used.

use std::fmt::Write;

use crate::text::shown;

/// The points of the ROC curve, at every score.
pub fn roc(good: &[f32], bad: &[f32]) -> Vec<(f64, f64)> {
    let mut scores: Vec<f32> = good.iter().chain(bad).copied().collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.dedup();
    let share = |of: &[f32], least: f32| {
        of.iter().filter(|score| **score >= least).count() as f64 / of.len().max(1) as f64
    };
    let point = |score: f32| (share(good, score), share(bad, score));
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

/// A curve from (0, 0) to (1, 1): an SVG element.
pub fn curve(title: &str, x: &str, y: &str, points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let (x, y) = (LEFT + x * SIDE, TOP + (1.0 - y) * SIDE);
        let _ = write!(path, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
    }
    let chance = format!("M{LEFT} {}L{} {TOP}", TOP + SIDE, LEFT + SIDE);
    let inside = format!(
        "<path d=\"{chance}\" stroke=\"#999\" fill=\"none\"/><path d=\"{path}\" stroke=\"#2a88c8\" \
         stroke-width=\"2\" fill=\"none\"/>"
    );
    drawing(title, x, y, ["0", "1"], &inside)
}

/// A histogram of the scores of good and defective photos: an SVG element.
pub fn histogram(good: &[f32], bad: &[f32]) -> String {
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
    for (counts, colour) in [(good, "#0072b2"), (bad, "#d55e00")] {
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
    drawing("Scores: good blue, defective orange", "score", &y, [&ends[0], &ends[1]], &inside)
}

fn escaped(text: &str) -> String {
    let plain = shown(text);
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roc_curve_has_a_point_for_every_score() {
        assert_eq!(roc(&[0.1, 0.6], &[0.6, 0.7]), [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
    }

    #[test]
    fn names_in_a_diagram_are_text() {
        let svg = curve("<b>ROC</b>", "x", "y", &[(0.0, 0.0), (1.0, 1.0)]);
        assert!(svg.contains("&lt;b&gt;ROC") && !svg.contains("<b>"));
    }
}
