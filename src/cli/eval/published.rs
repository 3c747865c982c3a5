//! Published numbers of other authors.

use serde::{Deserialize, Serialize};

use super::about::EvalAbout;

/// Published numbers of other authors.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Published {
    pub source: String,
    #[serde(skip_serializing)]
    method: String,
    #[serde(skip_serializing)]
    model: String,
    #[serde(skip_serializing)]
    size: usize,
    #[serde(skip_serializing)]
    set: String,
    pub image_auroc: f64,
    pub image_ap: f64,
    pub image_f1_max: f64,
}

/// The zero-shot numbers of the same model, input size, method and whole set (`published.toml`).
pub fn published(about: &EvalAbout, products: &[&str]) -> Vec<Published> {
    #[derive(Deserialize)]
    struct File {
        published: Vec<Published>,
    }
    let file: File = toml::from_str(include_str!("published.toml")).expect("an embedded file");
    let is_whole = |name: &str| {
        let set = blemish::adapter::training_sets().iter().find(|set| set.name == name);
        set.is_some_and(|set| {
            set.products.len() == products.len()
                && products.iter().all(|product| set.products.iter().any(|p| p == product))
        })
    };
    let same = |p: &Published| {
        about.references == 0
            && about.method.as_ref() == Some(&p.method)
            && about.model.as_ref() == Some(&p.model)
            && about.size == Some(p.size)
            && is_whole(&p.set)
    };
    file.published.into_iter().filter(same).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_numbers_stand_beside_the_same_protocol_only() {
        let about = |model: &str, size, references| EvalAbout {
            method: Some("winclip".into()),
            model: Some(model.into()),
            size: Some(size),
            references,
            ..EvalAbout::default()
        };
        let same = about("ViT-B-16-plus-240", 240, 0);
        let products = |set: usize| -> Vec<&str> {
            blemish::adapter::training_sets()[set].products.iter().map(|p| &**p).collect()
        };
        let (mvtec, visa) = (products(0), products(1));
        let found = published(&same, &mvtec);
        assert_eq!(found.iter().map(|p| p.image_auroc).collect::<Vec<_>>(), [0.918, 0.904]);
        assert_eq!(published(&same, &visa).len(), 2);
        assert_eq!(published(&same, &mvtec[..14]).len(), 0);
        // VisA has the same number of products.
        assert_eq!(published(&same, &mvtec[..12]).len(), 0);
        assert_eq!(published(&about("ViT-B-16-plus-240", 240, 4), &mvtec).len(), 0);
        assert_eq!(published(&about("tiny", 240, 0), &mvtec).len(), 0);
        assert_eq!(published(&about("ViT-B-16-plus-240", 336, 0), &mvtec).len(), 0);
    }
}
