//! What a person says of photos that share something odd.

use std::path::PathBuf;

use blemish::Error;
use blemish::reference::Repeated;

use super::mutual::HEADING;

#[derive(clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct RepeatArgs {
    /// Name groups of photos that share something odd: half of the photos have nothing like it. No score changes.
    #[arg(long)]
    groups: bool,
    /// Say that the group of this photo shares a defect. Then its photos do not call each other normal. Repeat the flag
    /// for several groups.
    #[arg(long, value_name = "PHOTO")]
    repeated_defect: Vec<PathBuf>,
    /// Say that the group of this photo shares something harmless. Then its photos are compared with each other only.
    /// Repeat the flag for several groups.
    #[arg(long, value_name = "PHOTO")]
    variant: Vec<PathBuf>,
}

impl RepeatArgs {
    /// The first flag that is given.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("groups", self.groups),
            ("repeated-defect", !self.repeated_defect.is_empty()),
            ("variant", !self.variant.is_empty()),
        ];
        flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    /// What is said of groups. A photo may be given by the end of its path.
    ///
    /// # Errors
    /// [`Error::Setting`] for a photo that is not among the photos, and for one that is given with both flags.
    pub fn resolve(&self, photos: &[PathBuf]) -> blemish::Result<Vec<(PathBuf, Repeated)>> {
        let defects = self.repeated_defect.iter().map(|photo| (photo, Repeated::Defect));
        let variants = self.variant.iter().map(|photo| (photo, Repeated::Variant));
        let mut said: Vec<(PathBuf, Repeated)> = Vec::new();
        for (name, is) in defects.chain(variants) {
            let setting = || format!("{} {}", flag(is), name.display());
            let exact = photos.iter().find(|photo| *photo == name);
            let ends: Vec<&PathBuf> = photos.iter().filter(|photo| photo.ends_with(name)).collect();
            let photo = match (exact, &ends[..]) {
                (Some(photo), _) => photo,
                (None, [photo]) => *photo,
                (None, []) => {
                    let why = "is not among the photos; give the name of one of them";
                    return Err(Error::setting(setting(), why));
                }
                (None, _) => {
                    let why = format!("fits {} photos; give the whole path", ends.len());
                    return Err(Error::setting(setting(), why));
                }
            };
            if said.iter().any(|(other, earlier)| other == photo && *earlier != is) {
                let why = "was given as a repeated defect, too; choose one";
                return Err(Error::setting(setting(), why));
            }
            said.push((photo.clone(), is));
        }
        Ok(said)
    }
}

/// The flag that says so.
pub fn flag(is: Repeated) -> &'static str {
    match is {
        Repeated::Defect => "repeated-defect",
        Repeated::Variant => "variant",
    }
}
