//! The flags for a second model that compares photos.

use blemish::Error;
use blemish::clip::Tiles;

/// A model whose patches are compared, in place of the first model's.
#[derive(clap::Args)]
pub struct ReferenceModelArgs {
    /// Compare photos by the patches of this DINOv2 or DINOv3 model: a short name (`blemish models`), a Hugging Face
    /// repository or a folder. Prompts stay with --model [default: none, or a profile's own].
    #[arg(id = "reference_model", long = "reference-model", value_name = "MODEL")]
    name: Option<String>,
    /// Side of its square input in pixels, a multiple of its patch size [default: 448, or a profile's own].
    #[arg(
        id = "reference_size",
        long = "reference-size",
        value_name = "N",
        requires = "reference_model",
        conflicts_with = "profile"
    )]
    size: Option<usize>,
}

/// The resolved [`ReferenceModelArgs`].
#[derive(Clone)]
pub struct ReferenceModelChoice {
    pub name: String,
    pub size: Option<usize>,
    /// The tiles of a profile. None: those of the run.
    pub tiles: Option<Tiles>,
}

impl ReferenceModelArgs {
    pub fn resolve(&self) -> Option<ReferenceModelChoice> {
        let size = self.size;
        self.name.clone().map(|name| ReferenceModelChoice { name, size, tiles: None })
    }

    pub fn is_given(&self) -> bool {
        self.name.is_some()
    }

    /// Refuses the flag if no photos are compared.
    pub fn check(&self, compares: bool, why: &str) -> blemish::Result<()> {
        match self.name {
            Some(_) if !compares => Err(Error::setting("reference-model", why)),
            _ => Ok(()),
        }
    }
}
