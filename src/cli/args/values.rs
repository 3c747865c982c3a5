//! Flags that take one of a few values. The names come from the library, and the help texts are here.

use blemish::autoencoder::Autoencoder;
use blemish::clip::{Activation, Precision};
use blemish::data::Layout;
use blemish::eval::Curve;
use blemish::image::Fit;
use blemish::profile::{Augment, Fuse};
use blemish::scorer::ScaleOf;
use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

type Choice<T> = (T, &'static str, &'static str);

/// Reads one of some values by its name. `--help` lists them.
fn choice<T: Copy + Send + Sync + 'static>(
    choices: &'static [Choice<T>],
) -> impl TypedValueParser<Value = T> {
    let shown = choices.iter().map(|(_, name, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(shown).map(|name| {
        let found = choices.iter().find(|(_, known, _)| *known == name);
        found.expect("the parser takes these names only").0
    })
}

pub fn fit() -> impl TypedValueParser<Value = Fit> {
    choice(&[
        (Fit::Squash, "squash", "The whole photo, stretched to a square, as in the papers"),
        (Fit::Crop, "crop", "The middle of the photo; the rest is not scored"),
        (Fit::Letterbox, "letterbox", "The whole photo at its own aspect ratio"),
    ])
}

pub fn activation() -> impl TypedValueParser<Value = Activation> {
    choice(&[
        (Activation::Gelu, "gelu", "Exact GELU: checkpoints of LAION and DataComp"),
        (Activation::QuickGelu, "quick_gelu", "x * sigmoid(1.702 x): checkpoints of OpenAI"),
    ])
}

pub fn precision() -> impl TypedValueParser<Value = Precision> {
    choice(&[
        (Precision::F32, "f32", "32 bits: the published numbers"),
        (Precision::Fast, "fast", "Weights and inputs of the large products are rounded to 8 bits"),
    ])
}

pub fn augment() -> impl TypedValueParser<Value = Augment> {
    choice(&[
        (Augment::Rotate, "rotate", "Rotated by all multiples of 45 degrees (7 copies)"),
        (Augment::Light, "light", "Darker, brighter, warmer and cooler (4 copies)"),
    ])
}

/// The same list, with each value once.
pub fn once(augment: &[Augment]) -> Vec<Augment> {
    Augment::ALL.into_iter().filter(|one| augment.contains(one)).collect()
}

pub fn fuse() -> impl TypedValueParser<Value = Fuse> {
    choice(&[
        (Fuse::Max, "max", "The highest value: one light that sees a defect is enough"),
        (
            Fuse::NoisyOr,
            "noisy-or",
            "Higher if several lights see something: 1 - (1 - a)(1 - b)...",
        ),
        (Fuse::Mean, "mean", "The mean of all lights"),
    ])
}

pub fn baseline() -> impl TypedValueParser<Value = Autoencoder> {
    choice(&[
        (Autoencoder::Mse, "autoencoder-mse", "Trained and compared by squared errors"),
        (Autoencoder::Ssim, "autoencoder-ssim", "By structural similarity (Bergmann et al. 2019)"),
        (Autoencoder::Variational, "vae", "Variational (An and Cho 2015)"),
    ])
}

pub fn scale_of() -> impl TypedValueParser<Value = ScaleOf> {
    choice(&[
        (ScaleOf::Run, "run", "One scale for all photos"),
        (ScaleOf::Image, "image", "A scale for each photo"),
    ])
}

pub fn curve() -> impl TypedValueParser<Value = Curve> {
    choice(&[
        (Curve::Exact, "exact", "Every score is a threshold"),
        (
            Curve::Official,
            "official",
            "The thresholds of MVTec's own script, and its way with equal scores",
        ),
    ])
}

pub fn layout() -> impl TypedValueParser<Value = Layout> {
    choice(&[
        (
            Layout::Mvtec,
            "mvtec",
            "MVTec AD: <product>/test/<kind>/, masks <product>/ground_truth/<kind>/<photo>_mask.png; also converted VisA, and AutoVI",
        ),
        (
            Layout::Loco,
            "loco",
            "MVTec LOCO: the same, with a folder of masks for each photo: <photo>/000.png",
        ),
        (Layout::Visa, "visa", "VisA as published, with split_csv/1cls.csv"),
        (
            Layout::Folder,
            "folder",
            "Your own photos: good/ (or ok/, normal/) beside folders of defective photos; masks in ground_truth/",
        ),
        (
            Layout::Eyecandies,
            "eyecandies",
            "Eyecandies: <product>/test_public/data/<part>_image_<light>.png, <part>_mask.png and <part>_metadata.yaml",
        ),
    ])
}

/// How a summary is printed.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum SummaryFormat {
    Table,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_library() {
        fn check<T>(parser: impl TypedValueParser<Value = T>, name: impl Fn(T) -> &'static str) {
            let values: Vec<PossibleValue> = parser.possible_values().unwrap().collect();
            assert!(values.len() > 1);
            for value in values {
                let given = std::ffi::OsStr::new(value.get_name());
                let parsed = parser.parse_ref(&clap::Command::new("test"), None, given).unwrap();
                assert_eq!(name(parsed), value.get_name());
            }
        }
        check(fit(), Fit::name);
        check(activation(), Activation::name);
        check(precision(), Precision::name);
        check(curve(), Curve::name);
        check(layout(), Layout::name);
    }
}
