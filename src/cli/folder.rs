//! The photos of a folder, compared with each other: what `score` and `eval` share.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use blemish::files::sha256;
use blemish::{BitDepth, Error, Folder, FolderOptions, MutualOptions, Photo, Product, Region};
use indicatif::ProgressBar;

use super::early::{Early, Hashing, look};
use super::setup::{MethodArgs, Model, progress_bar};

pub const HEADING: &str = "Photos compared with each other (--method mutual, auto)";

/// How photos are compared with each other.
#[derive(clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct FolderArgs {
    /// Compare each photo with at most N others, half before it and half after in a ring whose order is drawn from
    /// the photos' contents; time and memory grow with it. As many as there are photos: all, as MuSc's authors do [default:
    /// 24].
    #[arg(long, value_name = "N")]
    against: Option<usize>,
    /// Average each patch over neighbourhoods of these sides, in patches [default: 1,3,5].
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    degrees: Option<Vec<usize>>,
    /// Compare only patches within R cells of the grid: for aligned parts, of which one may be flipped or misplaced.
    #[arg(long, value_name = "R")]
    pub align: Option<usize>,
    /// Bring the scores of photos that resemble each other nearer (MuSc's RsCIN).
    #[arg(long)]
    pub rescore: bool,
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

    pub fn options(&self) -> MutualOptions {
        let default = MutualOptions::default();
        MutualOptions {
            degrees: self.degrees.clone().unwrap_or(default.degrees),
            against: self.against.unwrap_or(default.against),
            align: self.align,
        }
    }

    /// Whether the flags can be followed.
    pub fn check(&self) -> blemish::Result<()> {
        self.options().check()
    }

    /// An empty folder for so many photos; `with_words`: whether words have a say in scores, too.
    pub fn folder(
        &self,
        method: &MethodArgs,
        model: &Model,
        product: &Product,
        region: Option<Arc<Region>>,
        (with_words, count): (bool, usize),
    ) -> anyhow::Result<Folder> {
        let mutual = self.options();
        let options = FolderOptions {
            // What more would be held for is not there.
            mutual: MutualOptions { against: mutual.against.min(count + 1), ..mutual },
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
    pub fn others(&self, photos: usize) -> usize {
        (self.options().against / 2 * 2).min(photos - 1)
    }

    /// What the numbers depend on, to be noted.
    pub fn about(&self, method: &MethodArgs) -> String {
        let MutualOptions { degrees, against, align } = self.options();
        let blocks = method.mutual_blocks();
        let blocks = blocks.map_or("quarters of the tower".into(), |blocks| format!("{blocks:?}"));
        format!(
            "at most {against} others, blocks {blocks}, degrees {degrees:?}, {}{}seed {}",
            align.map_or(String::new(), |cells| format!("within {cells} cells, ")),
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
    /// Reads all photos once: the order of the ring is drawn from what they hold.
    pub fn of(photos: &[PathBuf], seed: u64, quiet: bool) -> Self {
        let bar = progress_bar(photos.len(), quiet);
        let contents = Self::new(Hashing::begin(photos).wait(&bar), seed);
        bar.finish_and_clear();
        contents
    }

    /// Of photos whose hashes are not known, each is a content.
    pub fn unread(photos: usize) -> Self {
        let ring = (0..photos).map(|photo| (String::new(), photo));
        Self { ring: ring.collect(), places: (0..photos).map(Ok).collect() }
    }

    pub fn new(hashes: Vec<Result<String, Error>>, seed: u64) -> Self {
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
        let place: HashMap<&str, usize> =
            ring.iter().enumerate().map(|(place, (sha256, _))| (&**sha256, place)).collect();
        let places = hashes.into_iter().map(|sha256| sha256.map(|sha256| place[&*sha256]));
        let places = places.collect();
        Self { ring, places }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ring.len()
    }

    /// Photos whose content another one has, with that one.
    pub fn copies(&self, photos: &[PathBuf]) -> Vec<(PathBuf, PathBuf)> {
        let copy = |i: usize| {
            let of = self.ring[*self.places[i].as_ref().ok()?].1;
            (of != i).then(|| (photos[i].clone(), photos[of].clone()))
        };
        (0..photos.len()).filter_map(copy).collect()
    }

    /// The hash of a photo that could be read.
    pub fn sha256_of(&self, photo: usize) -> &str {
        self.places[photo].as_ref().map_or("", |place| &self.ring[*place].0)
    }

    /// SHA-256 of all hashes in ascending order, written one after another: which photos these are.
    pub fn sha256(&self) -> String {
        set_sha256(self.ring.iter().map(|(hash, _)| &**hash).collect())
    }

    /// Whether all could be read.
    pub fn are_readable(&self) -> bool {
        self.places.iter().all(Result::is_ok)
    }

    /// Adds the contents that `wanted` says, by their places, to a folder, in the order of the ring; what was looked at
    /// early is not looked at again. Once stopped, only that is added.
    pub fn look(
        &self,
        folder: &mut Folder,
        photos: &[PathBuf],
        depth: BitDepth,
        (wanted, mut early): (&dyn Fn(usize) -> bool, Early),
        bar: &ProgressBar,
    ) -> Gathered {
        let chosen: Vec<usize> = (0..self.ring.len()).filter(|place| wanted(*place)).collect();
        let photo = |place: usize| self.ring[place].1;
        let unseen = chosen.iter().map(|place| photo(*place)).filter(|photo| !early.has(*photo));
        let unseen: Vec<&PathBuf> = unseen.map(|photo| &photos[photo]).collect();
        let mut gathered = Gathered { note: early.note.take(), ..Gathered::default() };
        let mut hashes = Vec::new();
        std::thread::scope(|scope| {
            // The next photo is read while this one is looked at.
            let (sender, receiver) = sync_channel(1);
            scope.spawn(move || {
                unseen.into_iter().all(|path| sender.send(Photo::open(path, depth)).is_ok())
            });
            for place in chosen {
                let (encoded, milliseconds) = match early.take(photo(place)) {
                    Some(looked) => looked,
                    None if super::is_stopped() => continue,
                    None => {
                        let Ok(opened) = receiver.recv() else { return };
                        bar.inc(1);
                        look(folder, &photos[photo(place)], opened, &mut gathered.note)
                    }
                };
                let start = Instant::now();
                let found = encoded.and_then(|encoded| folder.add_encoded(encoded));
                if found.is_ok() {
                    let adding = start.elapsed().as_secs_f64() * 1e3;
                    gathered.milliseconds.push(milliseconds + adding);
                    hashes.push(&*self.ring[place].0);
                }
                gathered.found.insert(place, found.map(|()| hashes.len() - 1));
            }
        });
        gathered.sha256 = set_sha256(hashes);
        gathered
    }
}

fn set_sha256(mut hashes: Vec<&str>) -> String {
    hashes.sort_unstable();
    sha256(hashes.concat().as_bytes())
}

/// What came of looking at photos.
#[derive(Default)]
pub struct Gathered {
    /// By its place in the ring the index of a content in the folder.
    found: HashMap<usize, Result<usize, Error>>,
    /// Of each photo in the folder.
    pub milliseconds: Vec<f64>,
    /// The first thing that is notable about a photo.
    pub note: Option<String>,
    /// SHA-256 of the contents' hashes in ascending order: which photos these are, whatever they are called.
    pub sha256: String,
}

impl Gathered {
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

/// What is wrong with a photo, by its own name: a copy has the mistake of what it copies.
pub fn named(photo: &Path, error: &Error) -> String {
    match error {
        Error::Photo { why, .. } => format!("{}: {why}", photo.display()),
        Error::Read { cause, .. } => format!("{}: cannot read: {cause}", photo.display()),
        other => format!("{}: {other}", photo.display()),
    }
}
