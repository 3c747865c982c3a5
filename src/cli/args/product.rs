//! The flags for the product and its prompts.

use std::path::{Path, PathBuf};

use blemish::Prompts;
use blemish::detect::MethodEntry;

/// Which product, and which prompts for it.
#[derive(clap::Args)]
pub struct ProductArgs {
    /// Name of the product in the photos. Repeat the flag for synonyms. Needed unless the prompt file or a profile has
    /// a name.
    #[arg(id = "product", long = "product", value_name = "NAME")]
    names: Vec<String>,
    /// A prompt file, - for standard input, or the name of an embedded file: winclip, april-gan, clip-ad,
    /// inspection [default: the method's].
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Only these kinds of defect count. Names come from the prompt file. New names need `kind_states` in that file, as
    /// `--prompts inspection` has.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    detect: Vec<String>,
    /// Harmless things to discount [default: all of the prompt file]. New names need `kind_states` too.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    ignore: Vec<String>,
}

/// The resolved [`ProductArgs`]: checked, but not yet encoded.
pub struct ProductChoice {
    /// The product's names. Empty if the prompt file has them.
    pub names: Vec<String>,
    /// The prompt file as it was given.
    pub file: String,
    /// Its prompts, after `--detect` and `--ignore`.
    pub prompts: Prompts,
}

impl ProductArgs {
    /// Whether a product was named, or a prompt file that may name one.
    #[cfg(feature = "serve")]
    pub fn is_given(&self) -> bool {
        !self.names.is_empty() || self.prompts.is_some()
    }

    /// Whether the prompts come from standard input.
    pub fn reads_stdin(&self) -> bool {
        self.prompts.as_deref() == Some(Path::new("-"))
    }

    /// Without `--prompts`, the prompt file of `method` is used.
    pub fn resolve(&self, method: &MethodEntry) -> blemish::Result<ProductChoice> {
        self.resolve_named(method, &self.names)
    }

    /// The same. A product without a name gets `name`.
    pub fn resolve_or(&self, method: &MethodEntry, name: &str) -> blemish::Result<ProductChoice> {
        match self.names.is_empty() {
            true => self.resolve_named(method, &[name.to_string()]),
            false => self.resolve(method),
        }
    }

    fn resolve_named(
        &self,
        method: &MethodEntry,
        names: &[String],
    ) -> blemish::Result<ProductChoice> {
        let file = self.prompts.as_deref().unwrap_or(Path::new(method.prompts));
        let prompts = Prompts::open(file)?.select(&self.detect, &self.ignore)?;
        prompts.expand(names)?;
        Ok(ProductChoice { names: names.to_vec(), file: file.display().to_string(), prompts })
    }
}
