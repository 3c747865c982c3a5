//! What a Rust program gets from the library is what the command line prints.

mod common;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use blemish::detect::{MethodInputs, default_method};
use blemish::mutual::{
    FolderEncoding, MutualOptions, MutualOutcome, MutualScores, MutualSetup, PhotoHashes, Progress,
    Watch, score_photos,
};
use blemish::profile::{EnrollOptions, EnrollPhotos, enroll};
use blemish::{Adapter, BitDepth, Clip, Error, Photo, Product, Profile, Prompts};
use common::photo;
use tempfile::tempdir;

/// The embedded model with its adapter, as `blemish score` uses it.
fn setup(options: MutualOptions) -> MutualSetup {
    let clip = Arc::new(Clip::load("tiny").unwrap());
    let adapter = Adapter::of_model("tiny", None).unwrap().map(Arc::new);
    let entry = default_method(adapter.as_deref());
    let method = entry.make(&MethodInputs { adapter }).unwrap();
    let prompts = Prompts::open(entry.prompts).unwrap();
    let product = Product::new(&clip, "plate", &prompts).unwrap();
    MutualSetup { clip, method: method.into(), product, options, apart: false, repeated: vec![] }
}

fn scored(photos: &[PathBuf], setup: &MutualSetup) -> MutualScores {
    match score_photos(photos, setup, Watch::default()).unwrap() {
        MutualOutcome::Scored(scores) => scores,
        _ => panic!("there are enough photos"),
    }
}

/// Copies count once, the order of the files does not matter, and a file that is no photo is left out.
#[test]
fn a_folder_is_scored_as_by_the_command_line() {
    let home = tempdir().unwrap();
    let mut photos: Vec<PathBuf> = (0..9).map(|i| home.path().join(format!("p/{i}.png"))).collect();
    photos.iter().enumerate().for_each(|(i, path)| photo(path, 60 + i as u32, 50));
    photos.push(home.path().join("p/copy.png"));
    std::fs::copy(&photos[0], &photos[9]).unwrap();
    photos.push(home.path().join("p/none.png"));
    std::fs::write(&photos[10], "no picture").unwrap();
    photos.reverse();

    let setup = setup(MutualOptions { with_prompts: true, ..MutualOptions::default() });
    let scores = scored(&photos, &setup);
    assert_eq!((scores.photos.count(), scores.parts[0].results.photos()), (10, 9));
    assert_eq!(scores.photos.copies().len(), 1);
    assert!(scores.find(0).is_none(), "no picture");

    let mut command = common::blemish(home.path());
    let output = command.args(["score", "--product", "plate", "--format", "jsonl", "-q"]);
    let output = output.arg(home.path().join("p")).assert().code(1).get_output().stdout.clone();
    let rows: Vec<serde_json::Value> = output
        .split(|b| *b == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    assert_eq!(rows.len(), 10);
    for row in rows {
        let path = PathBuf::from(row["path"].as_str().unwrap());
        let at = photos.iter().position(|photo| *photo == path).unwrap();
        let (part, i) = scores.find(at).unwrap();
        let finding = part.results.finding(i);
        let (x, y, peak) = finding.map.peak();
        let number = |value: &serde_json::Value| value.as_f64().unwrap() as f32;
        assert_eq!(number(&row["score"]), finding.score, "{path:?}");
        assert_eq!(number(&row["folder"]["score"]), part.results.mutual_score(i).unwrap());
        assert_eq!(
            (number(&row["peak"]), &row["peak_x"], &row["peak_y"]),
            (peak, &x.into(), &y.into())
        );
        assert_eq!(row["folder"]["sha256"], part.encoded.sha256);
    }
}

#[test]
fn a_folder_that_is_stopped_is_scored_by_prompts() {
    let home = tempdir().unwrap();
    let photos: Vec<PathBuf> = (0..12).map(|i| home.path().join(format!("{i}.png"))).collect();
    photos.iter().enumerate().for_each(|(i, path)| photo(path, 60 + i as u32, 50));
    let setup = setup(MutualOptions { with_prompts: true, ..MutualOptions::default() });
    let too_few = score_photos(&photos[..3], &setup, Watch::default()).unwrap();
    assert!(matches!(too_few, MutualOutcome::TooFew));

    let encoded = Cell::new(0);
    let count = |progress| encoded.set(encoded.get() + usize::from(progress == Progress::Encoded));
    let watch = Watch { progress: &count, is_stopped: &|| encoded.get() >= 3 };
    let hashes = PhotoHashes::begin(&photos);
    let FolderEncoding::Encoded(folder) = setup.encode(hashes, watch).unwrap() else {
        panic!("there are enough photos")
    };
    assert!(folder.stopped && (1..=4).contains(&folder.count()), "{}", folder.count());
    let (count, scores) = (folder.count(), folder.score(&setup, watch).unwrap());
    let results = &scores.parts[0].results;
    assert!(!results.is_mutual() && results.photos() == count);
    assert!(results.finding(0).score.is_finite() && results.mutual_score(0).is_none());
}

#[test]
fn a_product_is_enrolled_with_defaults() {
    let home = tempdir().unwrap();
    let photos: Vec<PathBuf> = (0..4).map(|i| home.path().join(format!("{i}.png"))).collect();
    photos.iter().enumerate().for_each(|(i, path)| photo(path, 60 + i as u32, 50));
    let clip = Arc::new(Clip::load("tiny").unwrap());
    let product = Product::new(&clip, "plate", &Prompts::default()).unwrap();
    let given = EnrollPhotos { references: &photos, calibration: &[] };
    let enrolled = enroll(clip.clone(), product, given, &EnrollOptions::default()).unwrap();
    let file = home.path().join("plate.blemish");
    enrolled.profile.save(&file).unwrap();
    let profile = Profile::open(&file).unwrap();
    assert_eq!(profile.about().method, "winclip");
    let photo = Photo::open(&photos[0], BitDepth::default()).unwrap();
    let finding = profile.detector(clip).unwrap().inspect(&photo, profile.product()).unwrap();
    assert!(profile.calibration().p_value(finding.score).is_some());
}

#[test]
fn errors_have_sources_and_name_settings() {
    use std::error::Error as _;

    let error = Photo::open("/nowhere/at/all.png", BitDepth::default()).unwrap_err();
    let source = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains(&source.to_string()), "{error}");

    let setting = |error: Error| match error {
        Error::Setting { setting, .. } => setting,
        other => panic!("{other}"),
    };
    assert_eq!(setting(BitDepth::new(3).unwrap_err()), "bit-depth 3");
    assert_eq!(setting(blemish::detect::method("clip").err().unwrap()), "method clip");
    // The command line names the flag.
    let home = tempdir().unwrap();
    common::blemish(home.path())
        .args(["score", "x.png", "--product", "nut", "--bit-depth", "3"])
        .assert()
        .code(2)
        .stderr(predicates::str::contains("blemish: --bit-depth 3: must be between 8 and 16"));
    // A file that is called as a flag is no flag.
    std::fs::write(home.path().join("prompts"), "").unwrap();
    common::blemish(home.path())
        .current_dir(home.path())
        .args(["prompts", "new", "prompts"])
        .assert()
        .code(2)
        .stderr(predicates::str::contains("blemish: the file prompts: is there already"));
}
