//! How photos are compared with each other.

use blemish::Product;
use blemish::mutual::{MutualOptions, MutualSetup};
use blemish::reference::{Layers, MuscOptions, Ranks};

use super::method::{MethodChoice, OpenModel, ScoringMode};

pub const HEADING: &str = "Photos compared with each other (--method mutual, auto)";

/// How photos are compared with each other.
#[derive(clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct MutualArgs {
    /// Compare each photo with at most N others. The photos form a ring, and each is compared with its neighbours on
    /// both sides. Time and memory grow with N. With N = the number of photos, all are compared with all, as MuSc's
    /// authors do [default: 24].
    #[arg(long, value_name = "N")]
    against: Option<usize>,
    /// Average each patch over square neighbourhoods with these sides, in patches [default: 1,3,5]. The trunk's features
    /// are averages already.
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    degrees: Option<Vec<usize>>,
    /// Compare a patch only with patches at most R grid cells away. Use it for parts that always lie in the same place.
    #[arg(long, value_name = "R")]
    align: Option<usize>,
    /// Find defects that look alike on many photos. The nearest 30 % of the other photos judge a patch, so a defect on
    /// more photos counts as normal. With this flag, the photos from 20 to 50 % judge. Then a harmless variant that less
    /// than 20 % of the photos share counts as a defect.
    #[arg(long)]
    repeats: bool,
    /// Average the score of each photo with the scores of the most similar photos (MuSc's RsCIN).
    #[arg(long)]
    rescore: bool,
    /// Random seed for the order of the ring [default: 0].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl MutualArgs {
    /// The first flag that is given.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("against", self.against.is_some()),
            ("degrees", self.degrees.is_some()),
            ("align", self.align.is_some()),
            ("repeats", self.repeats),
            ("rescore", self.rescore),
            ("seed", self.seed.is_some()),
        ];
        flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    /// Checks the flags. What the method says of the comparison comes with them; the region comes with the model.
    pub fn resolve(&self, method: &MethodChoice) -> blemish::Result<MutualOptions> {
        let default = MuscOptions::default();
        let musc = MuscOptions {
            degrees: self.degrees.clone().unwrap_or(default.degrees),
            max_neighbors: self.against.unwrap_or(default.max_neighbors),
            align: self.align,
            ranks: if self.repeats { Ranks::REPEATS } else { Ranks::MUSC },
            groups: false,
        };
        musc.check()?;
        Ok(MutualOptions {
            musc,
            layers: method.mutual_layers.clone(),
            with_prompts: method.mode == ScoringMode::Auto,
            rescore: self.rescore,
            fit: method.fit,
            depth: method.depth,
            region: None,
            seed: self.seed.unwrap_or(0),
        })
    }
}

/// Everything that is needed to score a folder.
pub fn mutual_setup(
    options: MutualOptions,
    model: &OpenModel,
    product: &Product,
    apart: bool,
) -> blemish::Result<MutualSetup> {
    Ok(MutualSetup {
        clip: model.clip.clone(),
        method: model.entry.make(&model.inputs)?.into(),
        product: product.clone(),
        options,
        apart,
        repeated: vec![],
    })
}

/// The settings as text, because the numbers of a measurement depend on them.
pub fn as_text(options: &MutualOptions) -> String {
    let MutualOptions { musc, layers, rescore, seed, .. } = options;
    let layers = layers.as_ref().map_or("the default".into(), Layers::to_string);
    format!(
        "at most {} others, layers: {layers}, degrees {:?}, {}{}{}seed {seed}",
        musc.max_neighbors,
        musc.degrees,
        musc.align.map_or(String::new(), |cells| format!("within {cells} cells, ")),
        if musc.ranks == Ranks::REPEATS { "repeats, " } else { "" },
        if *rescore { "rescored, " } else { "" },
    )
}
