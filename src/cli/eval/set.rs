//! The labelled photos that are measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use blemish::Error;
use blemish::data::{Layout, Sample, empty_products, samples};

use super::args::SetArgs;
use crate::cli::inputs::{place, real};
use crate::cli::marks::Marks;

impl SetArgs {
    /// The photos of the selected products. Each product must have good and defective photos.
    pub fn samples(&self, layout: Layout) -> anyhow::Result<Vec<Sample>> {
        let mut all = samples(&self.root, Some(layout))?;
        for wanted in &self.category {
            if !all.iter().any(|sample| sample.product == *wanted) {
                let mut there: Vec<&str> = all.iter().map(|s| &*s.product).collect();
                there.dedup();
                let why = format!("{} has {}", self.root.display(), there.join(", "));
                return Err(Error::setting(format!("category {wanted}"), why).into());
            }
        }
        let is_wanted = |product: &str| {
            self.category.is_empty() || self.category.iter().any(|wanted| wanted == product)
        };
        all.retain(|s| is_wanted(&s.product));
        let empty = empty_products(&self.root, layout)?.into_iter().find(|product| {
            product.file_name().is_some_and(|name| is_wanted(&name.to_string_lossy()))
        });
        if let Some(path) = empty {
            let why = "has no photos in test/<kind>/; choose other products with --category".into();
            return Err(Error::Data { path, why }.into());
        }
        self.check(&all)?;
        Ok(all)
    }

    /// The photos in a file of marks.
    pub fn marked(&self, file: &Path) -> anyhow::Result<Vec<Sample>> {
        if !self.category.is_empty() {
            return Err(Error::setting("category", "the marks say what is measured").into());
        }
        let marks = Marks::open(file)?;
        for (mark, photos) in [("ok", &marks.ok), ("ng", &marks.ng)] {
            if photos.is_empty() {
                let why = format!("marks no photo {mark}; mark photos of both kinds");
                return Err(Error::setting(format!("marks {}", file.display()), why).into());
            }
        }
        let root = real(&self.root);
        let product = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kinds = [("good", marks.ok), ("ng", marks.ng)];
        let photos =
            kinds.into_iter().flat_map(|(kind, photos)| photos.into_iter().map(move |p| (kind, p)));
        let sample = |(kind, photo): (&str, PathBuf)| -> anyhow::Result<Sample> {
            if !place(&photo).starts_with(&root) {
                let why = format!(
                    "is marked in {}, but is not in {}",
                    file.display(),
                    self.root.display()
                );
                return Err(Error::Data { path: photo, why }.into());
            }
            let is_anomalous = kind == "ng";
            Ok(Sample {
                photo,
                part: None,
                product: product.clone(),
                kind: kind.into(),
                is_anomalous,
                masks: vec![],
            })
        };
        photos.map(sample).collect()
    }

    /// Refuses a product without good or without defective photos.
    fn check(&self, all: &[Sample]) -> anyhow::Result<()> {
        for (product, samples) in by_product(all) {
            for (is_anomalous, wanted) in [
                (false, "good photos (they belong in good/, ok/ or normal/)"),
                (true, "defective photos"),
            ] {
                if !samples.iter().any(|s| s.is_anomalous == is_anomalous) {
                    let why = format!(
                        "{product} has no {wanted}, so it cannot be measured; choose other products with --category"
                    );
                    return Err(Error::Data { path: self.root.clone(), why }.into());
                }
            }
        }
        Ok(())
    }
}

pub fn paths_of(all: &[Sample]) -> Vec<PathBuf> {
    all.iter().map(|sample| sample.photo.clone()).collect()
}

pub fn by_product(all: &[Sample]) -> BTreeMap<&str, Vec<&Sample>> {
    let mut by_product: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in all {
        by_product.entry(&sample.product).or_default().push(sample);
    }
    by_product
}
