//! Which product, and which prompts for it.

use std::path::{Path, PathBuf};

use blemish::Prompts;
use blemish::detect::MethodEntry;

/// Which product, and which prompts for it.
#[derive(clap::Args)]
pub struct ProductArgs {
    /// What the photos show; give it again for synonyms. Needed unless the prompt file or a profile says it.
    #[arg(id = "product", long = "product", value_name = "NAME")]
    names: Vec<String>,
    /// A prompt file, - for standard input, or the name of one in the program: winclip, april-gan, inspection [default: the
    /// method's].
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Score only these defects. Names come from the prompt file; new names need `kind_states` in it (as `--prompts
    /// inspection` has).
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    detect: Vec<String>,
    /// Harmless things to discount [default: all of the prompt file]. New names need `kind_states`, too.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    ignore: Vec<String>,
}

/// What [`ProductArgs`] mean: checked, and not yet encoded.
pub struct ProductChoice {
    /// The product's names; none where the prompt file says them.
    pub names: Vec<String>,
    /// The prompt file as it was named.
    pub file: String,
    /// What it says, as far as it counts.
    pub prompts: Prompts,
}

impl ProductArgs {
    /// `method`: whose prompt file it is when none is given.
    pub fn resolve(&self, method: &MethodEntry) -> blemish::Result<ProductChoice> {
        let file = self.prompts.as_deref().unwrap_or(Path::new(method.prompts));
        let prompts = Prompts::open(file)?.select(&self.detect, &self.ignore)?;
        prompts.expand(&self.names)?;
        Ok(ProductChoice { names: self.names.clone(), file: file.display().to_string(), prompts })
    }
}
