//! Good parts of a folder that nobody has sorted: the photos that most of the others resemble.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use blemish::files::write_whole;
use blemish::sheet::{self, Thumbnail};
use blemish::{BitDepth, Error, Folder, FolderOptions, Photo, Product};
use serde::Serialize;

use super::early::Early;
use super::enroll::Args;
use super::folder::{Contents, named};
use super::setup::{Model, progress_bar};

/// References that are taken unless told otherwise.
const TYPICAL: usize = 16;
/// Photos that are shown beside them, the oddest of the folder.
const ODD: usize = 6;

/// The photos that are taken, and those that could not be read.
pub struct Mined {
    pub photos: Vec<PathBuf>,
    pub rows: Vec<MinedRow>,
    /// How many photos could not be read.
    pub unreadable: usize,
}

/// Why a photo is taken.
#[derive(Serialize)]
pub struct MinedRow {
    pub file: String,
    /// MuSc's score: how far its oddest patch is from its nearest twins on the mean.
    pub score: f32,
    /// From 1 for the most typical.
    pub rank: usize,
    /// Of so many photos.
    pub of: usize,
}

/// Picks the most typical photos, and lays them out on a sheet.
pub fn mine(
    args: &Args,
    photos: &[PathBuf],
    model: &Model,
    product: &Product,
    depth: BitDepth,
) -> anyhow::Result<Mined> {
    let quiet = args.method.model.quiet;
    let sheet_file = args.sheet();
    if sheet_file == args.out {
        let why = "is the product file; give another name".to_string();
        return Err(
            Error::Setting { setting: format!("--sheet {}", sheet_file.display()), why }.into()
        );
    }
    let real = |path: &Path| path.canonicalize().ok();
    if let Some(there) =
        real(&sheet_file).filter(|there| photos.iter().any(|p| real(p).as_ref() == Some(there)))
    {
        let why = format!("is one of the photos ({}); give another --sheet", there.display());
        return Err(
            Error::Setting { setting: format!("--sheet {}", sheet_file.display()), why }.into()
        );
    }
    if sheet_file.symlink_metadata().is_ok() && !sheet::is_one(&sheet_file) {
        let why = "is there and is no contact sheet; give another name".to_string();
        return Err(
            Error::Setting { setting: format!("--sheet {}", sheet_file.display()), why }.into()
        );
    }
    let region = args.roi.as_ref();
    let region = region.map(|mask| model.region(mask, args.method.fit, true)).transpose()?;
    let options = FolderOptions {
        fit: args.method.fit,
        region: region.map(Arc::new),
        ..FolderOptions::default()
    };
    let words = args.method.words()?.make(&model.parts)?;
    let mut folder = Folder::new(model.clip.clone(), words, product.clone(), options)?;
    let contents = Contents::of(photos, args.seed, quiet);
    let bar = progress_bar(photos.len(), quiet);
    let gathered = contents.look(&mut folder, photos, depth, (&|_| true, Early::default()), &bar);
    bar.finish_and_clear();
    if let (Some(note), false) = (&gathered.note, quiet) {
        say!("note: {note} (said once)");
    }
    let found = (0..photos.len()).map(|photo| gathered.index(&contents, photo));
    let mut unreadable = 0;
    for (path, found) in photos.iter().zip(found.clone()) {
        if let Some(Err(error)) = found {
            unreadable += 1;
            say!("{}", named(path, error));
        }
    }
    if folder.photos() < 2 {
        let why = format!(
            "needs two photos that differ, and {} of {} can be used; give good parts with --reference",
            folder.photos(),
            photos.len()
        );
        return Err(Error::Setting { setting: "--mine".into(), why }.into());
    }
    // Of each photo in the folder the files that hold it.
    let mut copies: Vec<Vec<&Path>> = vec![vec![]; folder.photos()];
    for (i, photo) in found.zip(photos) {
        if let Some(Ok(i)) = i {
            copies[i].push(photo);
        }
    }
    let files: Vec<&Path> = copies.iter().map(|copies| copies[0]).collect();
    if folder.two_products()?.is_some() && !quiet {
        say!(
            "warning: the folder seems to hold two products; look at the sheet, or mine a folder of each"
        );
    }
    let dropped = dropped(&args.drop, &copies)?;
    let judged = folder.finish()?;
    if let (Some(upper), false) = (judged.without_bulk(), quiet) {
        say!(
            "warning: the photos fall into two groups by their scores, {upper} of {} in the upper one: look at \
             the sheet whether the lower ones are the good ones",
            judged.photos()
        );
    }
    let taken = judged.typical(args.limit.unwrap_or(TYPICAL), &|photo| dropped[photo])?;
    if taken.is_empty() {
        let why = "leaves no typical photo; strike out fewer".to_string();
        return Err(Error::Setting { setting: "--drop".into(), why }.into());
    }
    let order = judged.by_score();
    let row = |photo: usize| MinedRow {
        file: files[photo].display().to_string(),
        score: judged.mutual_score(photo).unwrap_or_default(),
        rank: 1 + order.iter().position(|other| *other == photo).unwrap_or_default(),
        of: order.len(),
    };
    let odd: Vec<usize> =
        order.iter().rev().filter(|photo| !taken.contains(photo)).take(ODD).copied().collect();
    let sections = [
        (format!("{}: taken as good. Strike out with --drop NAME", product.name()), &taken),
        ("The oddest of the folder, not taken".to_string(), &odd),
    ];
    let thumbnail = |photo: &usize| -> anyhow::Result<Thumbnail> {
        let row = row(*photo);
        let place = format!("{:.3}, {} of {}", row.score, row.rank, row.of);
        let lines = vec![row.file, place];
        Ok(Thumbnail::new(&Photo::open(files[*photo], depth)?, lines))
    };
    let sections = sections.into_iter().map(|(title, photos)| {
        Ok((title, photos.iter().map(thumbnail).collect::<anyhow::Result<Vec<_>>>()?))
    });
    write_whole(&sheet_file, &sheet::png(&sections.collect::<anyhow::Result<Vec<_>>>()?))?;
    Ok(Mined {
        photos: taken.iter().map(|photo| files[*photo].to_path_buf()).collect(),
        rows: taken.into_iter().map(row).collect(),
        unreadable,
    })
}

/// Which photos are struck out: by name, or more of their paths where names are not enough.
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
                "may be {} or {}; give more of its path",
                files[*one][0].display(),
                files[*other][0].display()
            ),
        };
        return Err(Error::Setting { setting: format!("--drop {}", name.display()), why }.into());
    }
    Ok(dropped)
}
