//! `blemish eval` and `blemish merge`: measure a model and a method, or the maps of another program, on labelled
//! photos.

mod about;
mod args;
mod maps;
mod measure;
mod merge;
mod output;
mod page;
mod plan;
mod profile;
mod published;
mod report;
mod scoring;
mod set;

use std::process::ExitCode;

use blemish::data::Layout;

use self::args::What;

pub use self::args::{Args, MergeArgs};
pub use self::merge::run as merge;

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (args, layout) = match &args.what {
        What::Mvtec(args) => (args, Layout::Mvtec),
        What::Loco(args) => (args, Layout::Loco),
        What::Visa(args) => (args, Layout::Visa),
        What::Folder(args) => (args, Layout::Folder),
        What::Eyecandies(args) => (args, Layout::Eyecandies),
        What::Maps(args) => return maps::run(args),
    };
    match &args.profile {
        Some(file) => profile::run(args, file, layout),
        None => measure::run(plan::resolve(args, layout)?),
    }
}
