//! Scores photos, and makes records of the results: one product with its model, prompts or profile.

mod context;
mod lights;
mod mixed;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::context::OpenProfile;
use crate::clip::Clip;
use crate::detect::{Detector, Finding};
use crate::error::Result;
use crate::image::Prepared;
use crate::profile::Profile;
use crate::report::Record;
use crate::student;

pub use context::{Context, ModelRow, ScaleOf};
pub use lights::{LightScorer, PartResult};
pub use mixed::{Match, Mixed};

/// A product that is ready to be scored, each photo by itself. It gives the same results as `blemish score`.
///
/// ```
/// use std::path::Path;
/// use std::sync::Arc;
///
/// use blemish::image::Fit;
/// use blemish::scorer::{Context, Scorer};
/// use blemish::{BitDepth, Clip, Detector, Photo, Product, Prompts};
///
/// let clip = Arc::new(Clip::load("tiny")?);
/// let product = Product::new(&clip, "leather", &Prompts::default())?;
/// let context = Context::by_prompts(product, clip.clone(), None, Fit::default(), None);
/// let scorer = Scorer { context, detector: Detector::new(clip) };
/// let path = Path::new("examples/pictures/leather/stain.png");
/// let photo = Photo::open(path, BitDepth::default())?;
/// let (record, finding) = scorer.score(path.into(), &scorer.detector.prepare(&photo))?;
/// assert_eq!(record.score, finding.score);
/// # Ok::<(), blemish::Error>(())
/// ```
pub struct Scorer {
    /// What is the same for all photos.
    pub context: Context,
    /// Scores each photo by itself.
    pub detector: Detector,
}

/// Where a photo comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Its file, or the name that it came with.
    pub path: &'a Path,
    /// The content of the file, if it is not at `path`.
    pub content: Option<&'a [u8]>,
}

impl<'a> From<&'a Path> for Origin<'a> {
    fn from(path: &'a Path) -> Self {
        Self { path, content: None }
    }
}

impl Scorer {
    /// A profile, read from `file`. `false_alarm` replaces its rate.
    ///
    /// # Errors
    /// As [`Profile::detector`].
    pub fn by_profile(
        file: PathBuf,
        profile: Profile,
        clip: Arc<Clip>,
        false_alarm: Option<f64>,
    ) -> Result<Self> {
        let detector = profile.detector(clip.clone())?;
        let enrolled = OpenProfile::new(file, profile, false_alarm);
        Ok(Self { context: Context::by_profile(ModelRow::of(&clip), enrolled), detector })
    }

    /// A profile with a student ([`crate::student`]), which needs no model. None for other profiles.
    ///
    /// # Errors
    /// As [`student::detector`].
    pub fn by_student(
        file: &Path,
        profile: &Profile,
        false_alarm: Option<f64>,
    ) -> Result<Option<Self>> {
        let Some(detector) = student::detector(profile)? else { return Ok(None) };
        let about = profile.about();
        let model = ModelRow {
            name: about.model.clone(),
            sha256: about.model_sha256.clone(),
            size: student::SIDE,
            tiles: None,
            precision: profile.precision()?.name(),
            reference: None,
        };
        let enrolled = OpenProfile::new(file.to_path_buf(), profile.clone(), false_alarm);
        Ok(Some(Self { context: Context::by_profile(model, enrolled), detector }))
    }

    /// The result of a photo. Prepare it with [`Detector::prepare`].
    ///
    /// # Errors
    /// [`Error::Photo`](crate::Error::Photo) if the photo does not fit the region of interest. Otherwise as
    /// [`Detector::score`].
    pub fn score(&self, origin: Origin, prepared: &Prepared) -> Result<(Record, Finding)> {
        self.context.score(&self.detector, origin, prepared)
    }
}

crate::error::opaque_debug!(Scorer);
