//! Takes references from an unsorted folder: the most typical photos.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use blemish::files::write_whole;
use blemish::image::BitDepth;
use blemish::mutual::{
    EncodedPhotos, MutualOptions, MutualResults, MutualScorer, UniquePhotos, Watch,
};
use blemish::profile::Calibration;
use blemish::sheet::{self, Thumbnail};
use blemish::{Error, Photo, Product};
use serde::Serialize;

use super::args::Args;
use crate::cli::args::method::OpenModel;
use crate::cli::inputs::named;
use crate::cli::progress::progress_bar;

/// The fewest references that are taken without `--limit`, if there are so many.
const TYPICAL: usize = 16;
/// The sheet also shows this number of the most anomalous photos.
const ODD: usize = 6;

/// The photos that are taken.
pub struct Mined {
    pub photos: Vec<PathBuf>,
    pub rows: Vec<MinedRow>,
    /// How many photos could not be read.
    pub unreadable: usize,
}

/// A photo that is taken, and how typical it is.
#[derive(Serialize)]
pub struct MinedRow {
    pub file: String,
    /// MuSc's score: the highest value of the photo's map.
    pub score: f32,
    /// The rank by score. 1 is the most typical photo.
    pub rank: usize,
    /// The number of photos that were compared.
    pub of: usize,
}

/// Takes the most typical photos, and writes the contact sheet.
pub fn mine(
    args: &Args,
    photos: &[PathBuf],
    model: &OpenModel,
    product: &Product,
    depth: BitDepth,
) -> anyhow::Result<Mined> {
    let quiet = model.quiet;
    check_sheet(args, photos)?;
    let region = args.roi.as_ref();
    let region = region.map(|shape| model.region(shape, photos)).transpose()?.map(Arc::new);
    let options = MutualOptions { fit: model.fit, depth, region, ..MutualOptions::default() };
    let method = model.entry.make(&model.inputs)?;
    let mut scorer = MutualScorer::new(model.clip.clone(), method, product.clone(), options)?;
    let bar = progress_bar(photos.len(), quiet);
    let photos = UniquePhotos::read(photos, args.seed, &|read| bar.set_position(read as u64));
    bar.reset();
    let watch = Watch { progress: &|_| bar.inc(1), ..Watch::default() };
    let encoded = scorer.add_photos(&photos, watch);
    bar.finish_and_clear();
    let files = Files::of(&photos, &encoded, &scorer, quiet)?;
    if scorer.two_products()?.is_some() && !quiet {
        say!(
            "warning: the folder seems to hold two products; check the sheet, or give --mine photos of one product"
        );
    }
    let dropped = dropped(&args.drop, &files.copies)?;
    let results = scorer.finish()?;
    if !quiet {
        say_groups(&results);
    }
    // Enough for the line.
    let enough = TYPICAL.max(Calibration::needed(args.false_alarm));
    let taken = results.typical(args.limit.unwrap_or(enough), &|photo| dropped[photo])?;
    if taken.is_empty() {
        let why = "leaves no typical photo; drop fewer photos";
        return Err(Error::setting("drop", why).into());
    }
    let order = results.by_score();
    let row = |photo: usize| MinedRow {
        file: files.copies[photo][0].display().to_string(),
        score: results.mutual_score(photo).unwrap_or_default(),
        rank: 1 + order.iter().position(|other| *other == photo).unwrap_or_default(),
        of: order.len(),
    };
    let odd: Vec<usize> =
        order.iter().rev().filter(|photo| !taken.contains(photo)).take(ODD).copied().collect();
    let thumbnails = |chosen: &[usize]| {
        let thumbnail = |photo: &usize| thumbnail(row(*photo), files.copies[*photo][0], depth);
        chosen.iter().map(thumbnail).collect::<blemish::Result<Vec<_>>>()
    };
    let title = format!("{}: taken as good. Leave out with --drop NAME", product.name());
    let sections = [
        (title, thumbnails(&taken)?),
        ("The most anomalous of the folder, not taken".to_string(), thumbnails(&odd)?),
    ];
    write_whole(&args.sheet_file(), &sheet::png(&sections))?;
    Ok(Mined {
        photos: taken.iter().map(|photo| files.copies[*photo][0].to_path_buf()).collect(),
        rows: taken.into_iter().map(row).collect(),
        unreadable: files.unreadable,
    })
}

fn say_groups(results: &MutualResults) {
    if let Some(upper) = results.without_bulk() {
        say!(
            "warning: the scores of the photos fall into two groups, {upper} of {} in the upper one: check on the \
             sheet that the lower group is the good one",
            results.photos()
        );
    }
}

fn thumbnail(row: MinedRow, photo: &Path, depth: BitDepth) -> blemish::Result<Thumbnail> {
    let place = format!("{:.3}, {} of {}", row.score, row.rank, row.of);
    Ok(Thumbnail::new(&Photo::open(photo, depth)?, vec![row.file, place]))
}

/// Refuses a contact sheet that would replace another file.
fn check_sheet(args: &Args, photos: &[PathBuf]) -> anyhow::Result<()> {
    let sheet = args.sheet_file();
    let real = |path: &Path| path.canonicalize().ok();
    let is_photo = |there: &PathBuf| photos.iter().any(|photo| real(photo).as_ref() == Some(there));
    let why = if sheet == args.out {
        "is the product file itself; give another name".to_string()
    } else if let Some(there) = real(&sheet).filter(is_photo) {
        format!("is one of the photos ({}); give another name", there.display())
    } else if sheet.symlink_metadata().is_ok() && !sheet::is_one(&sheet) {
        "is there and is no contact sheet; give another name".to_string()
    } else {
        return Ok(());
    };
    Err(Error::setting(format!("sheet {}", sheet.display()), why).into())
}

/// The files of `--mine`.
struct Files<'a> {
    /// For each photo in the scorer, the files with this content.
    copies: Vec<Vec<&'a Path>>,
    unreadable: usize,
}

impl<'a> Files<'a> {
    /// Reports the photos that cannot be read.
    fn of(
        photos: &'a UniquePhotos,
        encoded: &EncodedPhotos,
        scorer: &MutualScorer,
        quiet: bool,
    ) -> anyhow::Result<Self> {
        if let (Some(note), false) = (&encoded.note, quiet) {
            say!("note: {note} (shown once)");
        }
        let mut files = Self { copies: vec![vec![]; scorer.photos()], unreadable: 0 };
        for (i, path) in photos.paths().iter().enumerate() {
            match encoded.index(photos, i) {
                Some(Ok(i)) => files.copies[i].push(path),
                Some(Err(error)) => {
                    files.unreadable += 1;
                    say!("{}", named(path, error));
                }
                None => {}
            }
        }
        if scorer.photos() < 2 {
            let why = format!(
                "needs two photos that differ, and {} of {} can be used; give good parts with --reference",
                scorer.photos(),
                photos.paths().len()
            );
            return Err(Error::setting("mine", why).into());
        }
        Ok(files)
    }
}

/// The photos that `--drop` leaves out. If several photos have a name, more of the path is needed.
fn dropped(names: &[PathBuf], files: &[Vec<&Path>]) -> anyhow::Result<Vec<bool>> {
    let mut dropped = vec![false; files.len()];
    for name in names {
        let is_it = |i: &usize| files[*i].iter().any(|file| file.ends_with(name));
        let found: Vec<usize> = (0..files.len()).filter(is_it).collect();
        let why = match &found[..] {
            [one] => {
                dropped[*one] = true;
                continue;
            }
            [] => "is none of the folder's photos; give its name as it is listed".to_string(),
            [one, other, ..] => format!(
                "can be {} or {}; give more of its path",
                files[*one][0].display(),
                files[*other][0].display()
            ),
        };
        return Err(Error::setting(format!("drop {}", name.display()), why).into());
    }
    Ok(dropped)
}
