//! The flags of `blemish serve`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use blemish::Error;

use crate::cli::args::method::{MethodArgs, MethodChoice};
use crate::cli::args::model::ModelChoice;
use crate::cli::args::product::{ProductArgs, ProductChoice};
use crate::cli::args::rate;

/// Score photos that come over HTTP.
///
/// Clients of the Open Inference Protocol v2 (KServe, Triton) work unchanged: the model is the profile's file name without
/// ending, or the product's name. `POST /score` takes photos from a browser or curl, and answers as `score` prints. `/`
/// shows the last photos. `/metrics` is for Prometheus. Ctrl-C and SIGTERM stop it: what was accepted is answered.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish serve --profile nut.blemish
  blemish serve --product \"metal nut\" --port 9000
  curl -F photo=@part.jpg http://127.0.0.1:8080/score
  BLEMISH_TOKEN=secret blemish serve --profile nut.blemish --host 0.0.0.0")]
pub struct Args {
    /// Score against this profile of `enroll`. Repeat the flag for several profiles. A profile that is replaced on disk
    /// is taken up without a restart.
    #[arg(long, value_name = "FILE")]
    profile: Vec<PathBuf>,
    /// Replace the profiles' false-alarm rate, such as 0.05 or 5%.
    #[arg(long, value_name = "RATE", value_parser = rate::parse, requires = "profile")]
    false_alarm: Option<f64>,
    #[command(flatten)]
    product: ProductArgs,
    /// Address to listen on. Other machines reach only an address that is not loopback, which needs a token.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on. 0 takes a free one.
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// A file with the token that clients must send (`Authorization: Bearer`, or a browser's password). Without this flag it
    /// is BLEMISH_TOKEN, if that is set.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Photos that may wait or be scored at the same time. More are refused with 429.
    #[arg(long, value_name = "N", default_value_t = 64)]
    queue: usize,
    /// Seconds that a request may take, the upload included.
    #[arg(long, value_name = "S", default_value_t = 30)]
    timeout: u64,
    /// The largest request, in megabytes.
    #[arg(long, value_name = "MB", default_value_t = 64)]
    max_body: usize,
    /// The largest photo, in megapixels.
    #[arg(long, value_name = "MP", default_value_t = 64)]
    max_pixels: usize,
    /// How many of the last photos `/` shows, of each model. They are kept in memory.
    #[arg(long, value_name = "N", default_value_t = 100)]
    history: usize,
    /// Keep no photos, and have no page.
    #[arg(long, conflicts_with = "history")]
    no_page: bool,
    #[command(flatten)]
    method: MethodArgs,
}

/// The variable of the environment that has the token.
const TOKEN: &str = "BLEMISH_TOKEN";

/// What is served.
pub struct Choice {
    pub profiles: Vec<PathBuf>,
    pub false_alarm: Option<f64>,
    /// The model that profiles are opened with.
    pub model: ModelChoice,
    /// A product that is scored by prompts.
    pub product: Option<(ProductChoice, MethodChoice)>,
}

/// How it is served.
#[derive(Clone)]
pub struct Limits {
    pub queue: usize,
    pub timeout: Duration,
    /// In bytes.
    pub body: usize,
    pub pixels: usize,
    /// How many photos are kept for the page. 0: there is no page.
    pub history: usize,
    pub token: Option<String>,
}

impl Args {
    pub fn address(&self) -> (IpAddr, u16) {
        (self.host, self.port)
    }

    pub fn limits(&self) -> anyhow::Result<Limits> {
        let token = match &self.token_file {
            Some(file) => Some((format!("token-file {}", file.display()), read_token(file)?)),
            None => std::env::var_os(TOKEN)
                .map(|token| (TOKEN.into(), token.to_string_lossy().trim().into())),
        };
        let is_fit = |token: &str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        if let Some((setting, _)) = token.as_ref().filter(|(_, token)| !is_fit(token)) {
            let why =
                "a token has letters, digits and signs of ASCII, and no space; give another one";
            return Err(Error::setting(setting, why).into());
        }
        let token = token.map(|(_, token)| token);
        if token.is_none() && !self.host.is_loopback() {
            let why = "other machines could send and see photos; set a token with --token-file or BLEMISH_TOKEN";
            return Err(Error::setting(format!("host {}", self.host), why).into());
        }
        for (name, value, most) in [
            ("queue", self.queue as u64, 100_000),
            ("timeout", self.timeout, 86_400),
            ("max-body", self.max_body as u64, 4096),
            ("max-pixels", self.max_pixels as u64, 134),
        ] {
            if !(1..=most).contains(&value) {
                let why = format!("give a number from 1 to {most}");
                return Err(Error::setting(format!("{name} {value}"), why).into());
            }
        }
        Ok(Limits {
            queue: self.queue,
            timeout: Duration::from_secs(self.timeout),
            body: self.max_body << 20,
            pixels: self.max_pixels * 1_000_000,
            history: if self.no_page { 0 } else { self.history },
            token,
        })
    }

    pub fn choice(&self) -> anyhow::Result<Choice> {
        let (profiles, false_alarm) = (self.profile.clone(), self.false_alarm);
        false_alarm.map_or(Ok(()), rate::check_rate)?;
        let (model, product) = match (profiles.is_empty(), self.product.is_given()) {
            (true, false) => {
                let why = "give a profile of `blemish enroll`, or --product NAME";
                return Err(Error::setting("profile", why).into());
            }
            (false, false) => (self.method.resolve_for_profile()?, None),
            (_, true) => {
                let method = self.method.resolve_per_photo()?;
                let product = self.product.resolve(method.entry)?;
                (method.model().clone(), Some((product, method)))
            }
        };
        Ok(Choice { profiles, false_alarm, model, product })
    }
}

fn read_token(file: &Path) -> anyhow::Result<String> {
    let bytes = blemish::files::read_text(file, 1 << 16)
        .map_err(|source| Error::Read { path: file.to_path_buf(), source })?;
    let text = String::from_utf8(bytes);
    let why = |_| Error::setting(format!("token-file {}", file.display()), "is not UTF-8");
    Ok(text.map_err(why)?.trim().to_string())
}
