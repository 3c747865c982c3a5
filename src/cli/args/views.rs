//! The flags for parts that have several photos.

use blemish::Error;
use blemish::data::Views;
use blemish::profile::Fuse;

use super::values;

/// Which photos show one part, and how they are joined.
#[derive(clap::Args)]
pub struct ViewArgs {
    /// Each part has a photo under each of several lights (or by each of several cameras that see it from the same place). The pattern
    /// says which photos belong together: "{part}_{light}.png", or "{part}/{light}.png" for a folder for each part. `*` stands for other
    /// letters.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub views: Option<Views>,
    /// How the lights are joined to one score and one map [default: max].
    #[arg(long, value_name = "RULE", value_parser = values::fuse())]
    fuse: Option<Fuse>,
}

fn pattern(text: &str) -> Result<Views, String> {
    Views::parse(text).map_err(|error| match error {
        Error::Setting { why, .. } => why,
        other => other.to_string(),
    })
}

impl ViewArgs {
    /// The pattern and the rule. None without a pattern.
    ///
    /// # Errors
    /// For a rule without a pattern.
    pub fn resolve(&self) -> blemish::Result<Option<(Views, Fuse)>> {
        match (&self.views, self.fuse) {
            (None, Some(_)) => Err(Error::setting("fuse", "needs --views")),
            (views, fuse) => Ok(views.clone().map(|views| (views, fuse.unwrap_or_default()))),
        }
    }

    /// The pattern alone: a profile brings the rule.
    ///
    /// # Errors
    /// If a rule was given.
    pub fn for_profile(&self) -> blemish::Result<Option<Views>> {
        match self.fuse {
            Some(_) => {
                Err(Error::setting("fuse", "a profile brings its own; enroll again to change it"))
            }
            None => Ok(self.views.clone()),
        }
    }
}
