//! Copies of the references that a profile also compares with.

use crate::image::Photo;

/// How references are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Augment {
    /// Rotated by all multiples of 45 degrees, for parts that lie in any direction (AnomalyDINO, arXiv 2405.14529).
    Rotate,
    /// Darker, brighter, warmer and cooler, for light that changes.
    Light,
}

impl Augment {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Rotate, Self::Light];

    /// The name on the command line and in profiles.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rotate => "rotate",
            Self::Light => "light",
        }
    }

    /// The copies of a photo, without the photo itself.
    pub(super) fn copies(self, photo: &Photo) -> Vec<Photo> {
        match self {
            Self::Rotate => (1..8).map(|turn| photo.rotated(45.0 * f64::from(turn))).collect(),
            Self::Light => [[0.75; 3], [1.3; 3], [1.12, 1.0, 0.85], [0.85, 1.0, 1.12]]
                .map(|factors| photo.relit(factors))
                .into(),
        }
    }
}
