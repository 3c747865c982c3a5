//! The curves of a training run as a picture.

use plotters::prelude::*;

use crate::text_canvas::{Area, LETTERS, png as drawn};
use crate::train::Point;

const SIZE: (u32, u32) = (900, 700);

/// The bytes of a PNG. The upper chart shows the loss over epochs. The lower chart shows the pixel AUROC and the AU-PRO
/// of the validation photos.
pub fn png(points: &[Point]) -> Vec<u8> {
    drawn(SIZE, |area| draw(points, area))
}

fn draw(points: &[Point], root: &Area) -> Result<(), Box<dyn std::error::Error>> {
    let end = points.last().map_or(1.0, |point| point.epoch).max(1e-9);
    let losses = points.iter().map(|point| point.loss);
    let top = losses.fold(0.0, f64::max).max(1e-9) * 1.05;
    let loss = points.iter().map(|p| (p.epoch, p.loss)).collect();
    let series = |get: fn(&Point) -> Option<f64>| {
        points.iter().filter_map(|p| Some((p.epoch, get(p)?))).collect::<Vec<_>>()
    };
    let judged = vec![
        ("pixel AUROC", series(|p| p.pixel_auroc)),
        ("AU-PRO, FPR up to 0.3", series(|p| p.au_pro)),
    ];
    let (upper, lower) = root.split_vertically(SIZE.1 / 2);
    let corners = [SeriesLabelPosition::UpperRight, SeriesLabelPosition::LowerRight];
    let charts = [(upper, top, vec![("loss", loss)]), (lower, 1.0, judged)];
    for ((area, top, lines), corner) in charts.into_iter().zip(corners) {
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        let letters = (LETTERS, 16);
        chart
            .configure_mesh()
            .x_desc("epoch")
            .label_style(letters)
            .axis_desc_style(letters)
            .light_line_style(WHITE)
            .draw()?;
        for (i, (name, line)) in lines.into_iter().enumerate() {
            // Blue and vermilion of Okabe and Ito. People with any colour vision can tell them apart.
            let colour = [RGBColor(0, 114, 178), RGBColor(213, 94, 0)][i % 2];
            let dots = line.clone();
            chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?.label(name).legend(
                move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)),
            );
            if dots.len() < 60 {
                chart.draw_series(
                    dots.into_iter().map(|dot| Circle::new(dot, 3, colour.filled())),
                )?;
            }
        }
        chart
            .configure_series_labels()
            .position(corner)
            .background_style(WHITE.mix(0.85))
            .label_font(letters)
            .draw()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_points_makes_a_picture() {
        for count in [0, 1, 2, 100] {
            let point = |i: usize| Point {
                step: i,
                epoch: i as f64 / 10.0,
                loss: 3.0 / (1.0 + i as f64),
                pixel_auroc: i.is_multiple_of(10).then_some(0.9),
                au_pro: None,
            };
            let points: Vec<Point> = (0..count).map(point).collect();
            let picture = image::load_from_memory(&png(&points)).unwrap();
            assert_eq!((picture.width(), picture.height()), SIZE);
        }
    }
}
