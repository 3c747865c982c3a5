//! Which prompt file, and of which product.

use std::path::PathBuf;

/// A prompt file and a product.
#[derive(clap::Args)]
pub struct PromptArgs {
    /// A prompt file, or (but for `watch`) - for standard input, or the name of one in the program: winclip, april-gan,
    /// inspection.
    pub file: PathBuf,
    /// What the photos show; give it again for synonyms. Needed unless the file says it.
    #[arg(long, value_name = "NAME")]
    pub product: Vec<String>,
}
