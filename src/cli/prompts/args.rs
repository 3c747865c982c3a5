//! The flags for a prompt file and a product.

use std::path::PathBuf;

/// A prompt file and a product.
#[derive(clap::Args)]
pub struct PromptArgs {
    /// A prompt file, - for standard input, or the name of an embedded file: winclip, april-gan, clip-ad,
    /// inspection. `watch` takes only a file.
    pub file: PathBuf,
    /// Name of the product in the photos. Repeat the flag for synonyms. Needed unless the prompt file has a name.
    #[arg(long, value_name = "NAME")]
    pub product: Vec<String>,
}
