//! What `eval` and `merge` measured, and its CSV file.

use std::path::PathBuf;

use blemish::Error;
use blemish::eval::{Curve, Metrics, Scores, mean};
use blemish::text::cell;
use serde::Serialize;

use super::about::{EvalAbout, Named, Protocol};
use super::published::{Published, published};

#[derive(Serialize)]
pub struct EvalReport {
    /// What the numbers depend on.
    #[serde(flatten)]
    pub about: EvalAbout,
    pub curve: String,
    pub products: Vec<Row>,
    /// The unweighted mean over the products.
    pub mean: Metrics,
    /// Published numbers of the same model, input size, method and set.
    pub published: Vec<Published>,
    /// Files that are not part of the set, and were not used.
    pub stray: Vec<String>,
    /// Warnings about the files.
    pub warnings: Vec<String>,
}

#[derive(Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub named: Named,
    #[serde(flatten)]
    pub scores: Scores,
}

impl EvalReport {
    /// The protocol of a product, or of all. An adapter that was trained on the product changes it to `trained-on`.
    pub fn protocol(&self, leak: Option<bool>) -> &'static str {
        match leak {
            Some(true) => "trained-on",
            _ => self.about.protocol.map_or("-", Protocol::name),
        }
    }

    /// What the table is of: the method and the model, or the maps.
    pub fn title(&self) -> String {
        let EvalAbout { maps, method, reference_method, model, size, precision, .. } = &self.about;
        if let Some(maps) = maps {
            return format!("the maps in {maps}");
        }
        if let Some(steps) = self.about.training_steps {
            return format!("{}, {steps} steps of training", method.as_deref().unwrap_or_default());
        }
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        let with = match reference_method {
            Some(references) => format!(" with {} photos by {references}", self.about.references),
            None => String::new(),
        };
        let size = size.map_or(String::new(), |size| format!(" at {size} pixels"));
        let precision = match precision.as_deref() {
            Some("fast") => ", fast",
            _ => "",
        };
        format!("{}{with}, {}{size}{precision}", name(method), name(model))
    }

    /// `Some(true)` if the adapter was trained on one of the products.
    pub fn has_leak(&self) -> Option<bool> {
        self.products.iter().any(|row| row.named.leak == Some(true)).then_some(true)
    }

    /// `stray`: files that are not part of the set.
    pub fn new(about: EvalAbout, curve: Curve, products: Vec<Row>, stray: Vec<PathBuf>) -> Self {
        let names: Vec<&str> = products.iter().map(|row| &*row.scores.product).collect();
        let published = published(&about, &names);
        let metrics =
            products.iter().map(|row| (row.scores.product.clone(), row.scores.all.clone()));
        let mean = mean(&metrics.collect());
        let mut warnings = Vec::new();
        if let [first, others @ ..] = &stray[..] {
            let others = match others.len() {
                0 => String::new(),
                1 => ", nor is another file".into(),
                count => format!(", nor are {count} other files"),
            };
            warnings.push(format!("{} is no part of the set{others}: not used", first.display()));
        }
        for (product, value) in
            products.iter().filter_map(|r| Some((&r.scores.product, r.scores.plateau?)))
        {
            warnings.push(format!(
                "{product}: so many pixels score {value} that MVTec's script stops at these maps; \
                 add a little noise to them"
            ));
        }
        for Row { scores, .. } in &products {
            if let [first, others @ ..] = &scores.doubtful_masks[..] {
                let others = match others.len() {
                    0 => String::new(),
                    count => {
                        format!(" ({count} other masks of {} are doubtful, too)", scores.product)
                    }
                };
                warnings.push(format!("{first}{others}"));
            }
        }
        let curve = curve.name().to_string();
        let stray = stray.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        Self { about, curve, products, mean, published, stray, warnings }
    }

    /// A line for each product, and for each of its kinds of defect.
    pub fn csv(&self) -> anyhow::Result<Vec<u8>> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let limits: Vec<&String> = self.mean.au_pro.keys().collect();
        let about = &self.about;
        let made_by = [&about.model, &about.method, &about.reference_method];
        let made_by = made_by.map(|name| cell(name.as_deref().unwrap_or("")).into_owned());
        let fixed =
            ["product", "kind", "protocol", "model", "method", "reference_method", "good", "bad"];
        let images = ["image_auroc", "map_maximum_auroc", "image_ap", "image_f1_max"];
        let pixels = ["pixel_auroc", "pixel_ap", "pixel_f1_max"];
        let areas = limits.iter().map(|limit| format!("au_pro_{limit}"));
        let header = fixed.into_iter().chain(images).chain(pixels).map(String::from).chain(areas);
        csv.write_record(header.collect::<Vec<_>>())?;
        let mut line =
            |product: &str, kind: &str, protocol: &str, good: usize, metrics: &Metrics| {
                let m = metrics;
                let numbers = [
                    m.image_auroc,
                    m.map_maximum_auroc,
                    m.image_ap,
                    m.image_f1_max,
                    m.pixel_auroc,
                    m.pixel_ap,
                    m.pixel_f1_max,
                ];
                let areas = limits.iter().map(|limit| m.au_pro.get(*limit).copied());
                let numbers = numbers.into_iter().chain(areas);
                let numbers = numbers.map(|n| n.map_or(String::new(), |n| n.to_string()));
                let named = [cell(product).into_owned(), cell(kind).into_owned(), protocol.into()];
                let photos = [good.to_string(), m.photos.to_string()];
                let names = named.into_iter().chain(made_by.clone()).chain(photos);
                csv.write_record(names.chain(numbers).collect::<Vec<_>>())
            };
        for Row { named, scores } in &self.products {
            let protocol = self.protocol(named.leak);
            line(&scores.product, "", protocol, scores.good, &scores.all)?;
            for (kind, metrics) in &scores.kinds {
                line(&scores.product, kind, protocol, scores.good, metrics)?;
            }
        }
        let good = self.products.iter().map(|row| row.scores.good).sum();
        line("mean", "", self.protocol(self.has_leak()), good, &self.mean)?;
        Ok(csv
            .into_inner()
            .map_err(|e| Error::Write { path: "metrics.csv".into(), source: e.into_error() })?)
    }
}
