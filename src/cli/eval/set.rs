//! The labelled photos that are measured.

use std::collections::BTreeMap;

use blemish::Error;
use blemish::data::{Layout, Sample, empty_products, samples};

use super::args::SetArgs;

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
        for (product, samples) in by_product(&all) {
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
        Ok(all)
    }
}

pub fn by_product(all: &[Sample]) -> BTreeMap<&str, Vec<&Sample>> {
    let mut by_product: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in all {
        by_product.entry(&sample.product).or_default().push(sample);
    }
    by_product
}
