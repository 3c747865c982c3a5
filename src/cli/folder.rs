//! The photos of a folder, compared with each other: what `score` and `eval` share.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use blemish::files::files_sha256;
use blemish::report::FolderRow;
use blemish::{
    BitDepth, Error, Folder, FolderOptions, Judged, MutualOptions, Photo, Product, Region,
};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use super::results::Results;
use super::setup::{Judges, MethodArgs, Model, progress_bar};

/// Fewer photos than this say too little about each other for `auto`.
pub const ENOUGH: usize = 8;

pub const HEADING: &str = "Photos compared with each other (--method mutual, auto)";

/// How photos are compared with each other.
#[derive(clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct FolderArgs {
    /// Compare each photo with at most N others, half before it and half after in a ring whose order is drawn from
    /// the photos' contents; time and memory grow with it. As many as there are photos: all, as MuSc's authors do.
    #[arg(long, value_name = "N")]
    against: Option<usize>,
    /// Average each patch over neighbourhoods of these sides, in patches [default: 1,3,5].
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    degrees: Option<Vec<usize>>,
    /// Compare only patches within R cells of the grid: for aligned parts, of which one may be flipped or misplaced.
    #[arg(long, value_name = "R")]
    align: Option<usize>,
    /// Bring the scores of photos that resemble each other nearer (MuSc's RsCIN).
    #[arg(long)]
    rescore: bool,
    /// Draws the order of the ring [default: 0].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl FolderArgs {
    /// The first flag that is given.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--against", self.against.is_some()),
            ("--degrees", self.degrees.is_some()),
            ("--align", self.align.is_some()),
            ("--rescore", self.rescore),
            ("--seed", self.seed.is_some()),
        ];
        flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// An empty folder; `with_words`: whether words have a say in scores, too.
    pub fn folder(
        &self,
        method: &MethodArgs,
        model: &Model,
        product: &Product,
        region: Option<Arc<Region>>,
        with_words: bool,
    ) -> anyhow::Result<Folder> {
        let default = MutualOptions::default();
        let options = FolderOptions {
            mutual: MutualOptions {
                degrees: self.degrees.clone().unwrap_or(default.degrees),
                against: self.against.unwrap_or(default.against),
                align: self.align,
            },
            blocks: method.mutual_blocks(),
            with_words,
            rescore: self.rescore,
            fit: method.fit,
            region,
        };
        let words = method.words()?.make(&model.parts)?;
        Ok(Folder::new(model.clip.clone(), words, product.clone(), options)?)
    }

    /// With how many others each photo of so many is compared.
    fn others(&self, photos: usize) -> usize {
        let against = self.against.unwrap_or(MutualOptions::default().against);
        (against / 2 * 2).min(photos - 1)
    }

    /// What the numbers depend on, to be noted.
    pub fn about(&self, method: &MethodArgs) -> String {
        let default = MutualOptions::default();
        let degrees = self.degrees.as_ref().unwrap_or(&default.degrees);
        let blocks = method.mutual_blocks();
        let blocks = blocks.map_or("quarters of the tower".into(), |blocks| format!("{blocks:?}"));
        format!(
            "at most {} others, blocks {blocks}, degrees {degrees:?}, {}{}seed {}",
            self.against.unwrap_or(default.against),
            self.align.map_or(String::new(), |cells| format!("within {cells} cells, ")),
            if self.rescore { "rescored, " } else { "" },
            self.seed()
        )
    }
}

/// Photos by their contents: what is there twice counts once.
pub struct Contents {
    /// SHA-256 of each content, in the order of the ring, and the first photo that has it.
    ring: Vec<(String, usize)>,
    /// For each photo its place in the ring.
    places: Vec<Result<usize, Error>>,
}

impl Contents {
    /// The photos, if they are to be compared with each other: for `auto` there have to be enough.
    pub fn for_folder(judges: Judges, photos: &[PathBuf], seed: u64) -> Option<Self> {
        let contents = match judges {
            Judges::Auto if photos.len() < ENOUGH => return None,
            Judges::Words => return None,
            Judges::Mutual | Judges::Auto => Self::of(photos, seed),
        };
        (judges == Judges::Mutual || contents.ring.len() >= ENOUGH).then_some(contents)
    }

    pub fn of(photos: &[PathBuf], seed: u64) -> Self {
        let hashes: Vec<Result<String, Error>> =
            photos.iter().map(|path| files_sha256(std::slice::from_ref(path))).collect();
        let mut first = BTreeMap::<&str, usize>::new();
        for (i, sha256) in hashes.iter().enumerate() {
            if let Ok(sha256) = sha256 {
                first.entry(sha256).or_insert(i);
            }
        }
        let known: Vec<(&str, usize)> = first.into_iter().collect();
        let order =
            Folder::order(&known.iter().map(|(sha256, _)| *sha256).collect::<Vec<_>>(), seed);
        let ring: Vec<(String, usize)> =
            order.into_iter().map(|i| (known[i].0.to_string(), known[i].1)).collect();
        let place = |sha256: String| ring.iter().position(|(other, _)| *other == sha256);
        let places = hashes.into_iter().map(|sha256| sha256.map(|s| place(s).unwrap_or_default()));
        let places = places.collect();
        Self { ring, places }
    }

    /// Photos whose content another one has, with that one.
    pub fn copies(&self, photos: &[PathBuf]) -> Vec<(PathBuf, PathBuf)> {
        let copy = |i: usize| {
            let of = self.ring[*self.places[i].as_ref().ok()?].1;
            (of != i).then(|| (photos[i].clone(), photos[of].clone()))
        };
        (0..photos.len()).filter_map(copy).collect()
    }

    /// Adds the contents that `wanted` says, by their places, to a folder, in the order of the ring.
    pub fn look(
        &self,
        folder: &mut Folder,
        photos: &[PathBuf],
        depth: BitDepth,
        wanted: &dyn Fn(usize) -> bool,
        bar: &ProgressBar,
    ) -> Looked {
        let chosen: Vec<usize> = (0..self.ring.len()).filter(|place| wanted(*place)).collect();
        let paths: Vec<&PathBuf> =
            chosen.iter().map(|place| &photos[self.ring[*place].1]).collect();
        let mut looked = Looked::default();
        let mut hashes = Vec::new();
        std::thread::scope(|scope| {
            // The next photo is read while this one is looked at.
            let (sender, receiver) = sync_channel(1);
            let read = &paths;
            scope.spawn(move || {
                for path in read {
                    if sender.send(Photo::open(path, depth)).is_err() {
                        return;
                    }
                }
            });
            for ((&place, path), photo) in chosen.iter().zip(&paths).zip(receiver) {
                let start = Instant::now();
                let prepared = photo.and_then(|photo| {
                    let note = photo.note().filter(|_| looked.note.is_none());
                    looked.note =
                        note.map(|n| format!("{}: {n}", path.display())).or(looked.note.take());
                    folder.prepare(path, &photo)
                });
                let found = prepared.and_then(|prepared| folder.add(&prepared));
                if found.is_ok() {
                    looked.milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
                    hashes.push(&*self.ring[place].0);
                }
                looked.found.insert(place, found.map(|()| hashes.len() - 1));
                bar.inc(1);
            }
        });
        hashes.sort_unstable();
        let all = Sha256::digest(hashes.concat());
        looked.sha256 = all.iter().map(|byte| format!("{byte:02x}")).collect();
        looked
    }
}

/// What came of looking at photos.
#[derive(Default)]
pub struct Looked {
    /// By its place in the ring the index of a content in the folder.
    found: HashMap<usize, Result<usize, Error>>,
    /// Of each photo in the folder.
    pub milliseconds: Vec<f64>,
    /// The first thing that is notable about a photo.
    pub note: Option<String>,
    /// SHA-256 of the contents' hashes in ascending order: which photos these are, whatever they are called.
    pub sha256: String,
}

impl Looked {
    /// A photo's index in the folder, or why it is not there; none for one that was not wanted.
    pub fn index<'a>(
        &'a self,
        contents: &'a Contents,
        photo: usize,
    ) -> Option<Result<usize, &'a Error>> {
        match &contents.places[photo] {
            Ok(place) => Some(self.found.get(place)?.as_ref().copied()),
            Err(error) => Some(Err(error)),
        }
    }

    /// The index in the folder of the content at a place in the ring.
    pub fn at(&self, place: usize) -> Option<usize> {
        self.found.get(&place)?.as_ref().ok().copied()
    }
}

/// Scores the photos of a folder by each other.
pub fn score(
    results: &mut Results,
    contents: &Contents,
    model: &Model,
    judges: Judges,
) -> anyhow::Result<()> {
    let scorer = results.scorer;
    let args = scorer.args;
    let quiet = args.method.model.quiet;
    let with_words = judges == Judges::Auto;
    let (photos, depth) = (results.photos.clone(), results.depth);
    let copies = contents.copies(&photos);
    if let (Some((copy, of)), false) = (copies.first(), quiet) {
        let others = match copies.len() {
            1 => String::new(),
            count => format!(", and so have {} others", count - 1),
        };
        let (copy, of) = (copy.display(), of.display());
        eprintln!("blemish: note: {copy} has the same content as {of}{others}: each counts once");
    }
    let empty = || {
        args.folder.folder(&args.method, model, &scorer.product, scorer.region.clone(), with_words)
    };
    let look = |wanted: &dyn Fn(usize) -> bool, bar: &ProgressBar| -> anyhow::Result<_> {
        let mut folder = empty()?;
        let looked = contents.look(&mut folder, &photos, depth, wanted, bar);
        Ok((folder, looked))
    };
    let (folder, looked) = look(&|_| true, &results.bar)?;
    let groups = folder.two_products()?;
    let found: Vec<Option<usize>> =
        (0..photos.len()).map(|photo| looked.index(contents, photo)?.ok()).collect();
    let group_of = |photo: usize| Some(groups.as_ref()?[found[photo]?]);
    for photo in 0..photos.len() {
        if let Some(Err(error)) = looked.index(contents, photo) {
            results.fail(error);
        }
    }
    looked.note.iter().for_each(|note| results.note(note));
    let bar = results.bar.clone();
    let warn = |text: &str| bar.suspend(|| eprintln!("blemish: warning: {text}"));
    if groups.is_some() && !quiet {
        let of = |group: bool| -> Vec<usize> {
            (0..photos.len()).filter(|photo| group_of(*photo) == Some(group)).collect()
        };
        let [first, second] = [of(false), of(true)];
        let example = |of: &[usize]| photos[of[0]].display().to_string();
        let done = match (args.apart, with_words) {
            (true, _) => "they are scored apart",
            (false, true) => {
                "they are scored by words alone; --apart scores them apart, --method mutual together"
            }
            (false, false) => "score them apart with --apart",
        };
        warn(&format!(
            "the folder seems to hold two products, {} photos like {} and {} like {}: {done}",
            first.len(),
            example(&first),
            second.len(),
            example(&second)
        ));
    }
    let mut parts: Vec<(Judged, Looked)> = Vec::new();
    match &groups {
        Some(groups) if args.apart => {
            for group in [false, true] {
                let own = |place: usize| looked.at(place).is_some_and(|i| groups[i] == group);
                let bar = progress_bar(groups.iter().filter(|g| **g == group).count(), quiet);
                let (folder, again) = look(&own, &bar)?;
                bar.finish_and_clear();
                parts.push((folder.finish()?, again));
            }
        }
        groups if with_words && (groups.is_some() || folder.photos() < ENOUGH) => {
            parts.push((folder.by_words(), looked));
        }
        _ => parts.push((folder.finish()?, looked)),
    }
    for (judged, _) in parts.iter().filter(|_| !quiet) {
        if let Some(upper) = judged.without_bulk() {
            warn(&format!(
                "the scores of {} photos fall into two groups, {upper} in the upper one: it is open which is normal. \
                 What most photos share counts as normal, a defect too",
                judged.photos()
            ));
        }
    }
    let words = args.method.words()?.name;
    for (photo, path) in photos.iter().enumerate() {
        let part = parts.iter().find_map(|(judged, looked)| {
            Some((judged, looked, looked.index(contents, photo)?.ok()?))
        });
        let Some((judged, looked, i)) = part else { continue };
        let finding = judged.finding(i);
        let row = judged.mutual_score(i).map(|score| FolderRow {
            photos: judged.photos(),
            sha256: looked.sha256.clone(),
            against: args.folder.others(judged.photos()),
            seed: args.folder.seed(),
            with_words,
            score,
            group: group_of(photo).map(u8::from),
        });
        let method = match (&row, with_words) {
            (None, _) => words.to_string(),
            (Some(_), true) => format!("{words}+mutual"),
            (Some(_), false) => "mutual".into(),
        };
        let record = scorer.record(path, &finding, &method, looked.milliseconds[i], row);
        if !results.keep(photo, record, &finding, None)? {
            return Ok(());
        }
    }
    for (judged, looked) in parts.iter().filter(|_| !quiet) {
        if judged.mutual_score(0).is_some() {
            eprintln!(
                "blemish: note: each score depends on the others of these {} photos (transductive; set {})",
                judged.photos(),
                &looked.sha256[..12]
            );
        }
    }
    Ok(())
}
