//! Every file that comes from elsewhere, changed at random: it is read or refused, without a panic, a hang or more than a
//! gigabyte. A few seconds here; by hand for as long as wanted:
//!
//! ```sh
//! BLEMISH_MUTATIONS=100000 cargo test --release --test mutations -- --nocapture
//! ```
//!
//! What fails is kept in `target/tmp/mutations` and named. `BLEMISH_SEED` repeats a run.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use blemish::data::{Layout as SetLayout, samples};
use blemish::detect::MethodInputs;
use blemish::eval::{Maps, Run, RunAbout, evaluate, merge};
use blemish::image::{Fit, Mask};
use blemish::profile::{EnrollOptions, EnrollPhotos, enroll};
use blemish::{Adapter, BitDepth, Clip, Photo, Product, Profile, Prompts};
use candle_core::{Device, Tensor};
use common::{copy_of, copy_tree, fixture, photo};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::tempdir;

/// The most that reading one small file may take.
const MOST_BYTES: usize = 1 << 30;
/// Longer than any of them takes on a slow machine.
const LONGEST: Duration = Duration::from_secs(60);

struct Counting;

static CURRENT: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(more: usize, less: usize) {
    let now = CURRENT.fetch_add(more, Ordering::Relaxed) + more;
    PEAK.fetch_max(now, Ordering::Relaxed);
    CURRENT.fetch_sub(less, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Reads `times` changed versions of files, and says what came of them. `change` makes a version, `read` says whether it was taken.
fn mutate(
    target: &str,
    times: u64,
    seeds: &[Vec<u8>],
    change: impl Fn(&[u8], &mut ChaCha8Rng) -> Vec<u8>,
    read: impl Fn(&[u8]) -> bool,
) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !blemish::catches_panics() {
                before(panic);
            }
        }));
    });
    let times = environment("BLEMISH_MUTATIONS").unwrap_or(times);
    let first = environment("BLEMISH_SEED").unwrap_or(1);
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations");
    std::fs::create_dir_all(&kept).unwrap();
    let file = kept.join(target);
    let started = Arc::new(AtomicU64::new(0));
    watch(target, started.clone());
    let mut accepted = 0;
    for seed in first..first + times {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let bytes = match seed {
            // The first ones as they are: the reading is what is meant.
            _ if seed - first < seeds.len() as u64 => seeds[(seed - first) as usize].clone(),
            _ => change(seeds.choose(&mut random).unwrap(), &mut random),
        };
        std::fs::write(&file, &bytes).unwrap();
        let before = CURRENT.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        started.store(now(), Ordering::Relaxed);
        let start = Instant::now();
        let found = catch_unwind(AssertUnwindSafe(|| read(&bytes)));
        started.store(0, Ordering::Relaxed);
        let peak = PEAK.load(Ordering::Relaxed).saturating_sub(before);
        let place = format!("{} (BLEMISH_SEED={seed})", file.display());
        accepted += usize::from(*found.as_ref().unwrap_or_else(|_| panic!("{place}: a panic")));
        assert!(peak < MOST_BYTES, "{place}: took {} MB", peak >> 20);
        assert!(start.elapsed() < LONGEST, "{place}: took {:?}", start.elapsed());
        if seed - first < seeds.len() as u64 && !found.unwrap() {
            panic!("{place}: the file as it is was refused");
        }
    }
    eprintln!("{target}: {times} versions, {accepted} of them read, the others refused");
    std::fs::remove_file(&file).unwrap();
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// Ends the process when a version hangs: nothing else could.
fn watch(target: &str, started: Arc<AtomicU64>) {
    let target = target.to_string();
    std::thread::spawn(move || {
        // Until the test has let go of it.
        while Arc::strong_count(&started) > 1 {
            std::thread::sleep(Duration::from_millis(500));
            let since = started.load(Ordering::Relaxed);
            if since > 0 && now() > since + 2 * LONGEST.as_secs() {
                eprintln!("{target}: hangs on target/tmp/mutations/{target}");
                std::process::abort();
            }
        }
    });
}

/// Bytes turned, set, cut out, doubled, put in, or the file cut short.
fn bytes(whole: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..random.random_range(1..5) {
        if bytes.is_empty() {
            return bytes;
        }
        // Headers are where it hurts.
        let end = if random.random_bool(0.7) { bytes.len().min(400) } else { bytes.len() };
        let at = random.random_range(0..end);
        let length = random.random_range(1..40).min(bytes.len() - at);
        match random.random_range(0..8) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = *[0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'9'].choose(random).unwrap(),
            2 => bytes[at..at + length].fill(*[0, 0xff].choose(random).unwrap()),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let part = bytes[at..at + length].to_vec();
                bytes.splice(at..at, part);
            }
            5 => {
                let part: Vec<u8> = (0..length).map(|_| random.random()).collect();
                bytes.splice(at..at, part);
            }
            6 => {
                let number = [u64::MAX, 1 << 31, 1 << 40, 0, 100_000_000].choose(random).unwrap();
                let number = number.to_le_bytes();
                let length = length.min(8);
                bytes[at..at + length].copy_from_slice(&number[..length]);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

/// A value of a JSON file taken away or in the place of another kind's.
fn change_json(value: &mut Value, random: &mut ChaCha8Rng) {
    let others = [
        json!(null),
        json!(0),
        json!(-1),
        json!(1e308),
        json!(1.5),
        json!(4_294_967_296u64),
        json!(u64::MAX),
        json!(""),
        json!("x"),
        json!("../../x"),
        json!([]),
        json!([[]]),
        json!({}),
        json!(true),
        json!(7),
        json!(100_000_000),
        json!("\u{0}"),
        json!([0, 0, 0]),
        json!(1),
        json!(2),
        json!(3),
    ];
    let deeper = random.random_bool(0.8);
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let keys: Vec<String> = map.keys().cloned().collect();
            let key = keys.choose(random).unwrap();
            match random.random_range(0..10) {
                0 => drop(map.remove(key)),
                _ => change_json(&mut map[key], random),
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let at = random.random_range(0..list.len());
            match random.random_range(0..10) {
                0 => drop(list.remove(at)),
                1 => list.push(list[at].clone()),
                _ => change_json(&mut list[at], random),
            }
        }
        other => *other = others.choose(random).unwrap().clone(),
    }
}

fn any_json(whole: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    if random.random_bool(0.2) {
        return bytes(whole, random);
    }
    let mut value: Value = serde_json::from_slice(whole).unwrap();
    (0..random.random_range(1..4)).for_each(|_| change_json(&mut value, random));
    value.to_string().into_bytes()
}

fn files(folder: &Path, endings: &[&str]) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| endings.iter().any(|e| path.extension().is_some_and(|other| other == *e)))
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Pictures of every format, small so that many can be read.
fn pictures() -> Vec<Vec<u8>> {
    let folder = tempdir().unwrap();
    for name in ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp"] {
        photo(&folder.path().join(name), 40, 30);
    }
    let mut all = files(folder.path(), &["png", "jpg", "bmp", "tif", "webp"]);
    let cases =
        ["bigtiff.tif", "float_grey_0_1.tif", "grey_alpha.tif", "grey_adobe2_after_sof.jpg"];
    all.extend(cases.map(|name| std::fs::read(fixture("cases").join(name)).unwrap()));
    all
}

#[test]
fn pictures_masks_and_maps() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("x");
    mutate("picture", 1500, &pictures(), bytes, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        let opened = Photo::open(&path, BitDepth::default());
        let size = Photo::size(&path);
        if let Ok(photo) = &opened {
            assert_eq!(size.unwrap(), (photo.width(), photo.height()));
            assert_eq!(photo.rgb().len(), 3 * photo.width() * photo.height());
        }
        opened.is_ok()
    });
    let mask = image::GrayImage::from_fn(40, 30, |x, y| image::Luma([if x > y { 255 } else { 0 }]));
    for name in ["m.png", "m.jpg", "m.tif", "m.bmp"] {
        mask.save(folder.path().join(name)).unwrap();
    }
    let masks = files(folder.path(), &["png", "jpg", "tif", "bmp"]);
    mutate("mask", 1000, &masks, bytes, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        let white = Mask::white(&path);
        let _ = Mask::one_value(&path, 40, 30);
        Mask::open(std::slice::from_ref(&path), 40, 30).is_ok() | white.is_ok()
    });
    let set = folder.path().join("set");
    copy_tree("layouts/mvtec", &set);
    let all = samples(&set, None).unwrap();
    let sample = &all[0];
    let (width, height) = Photo::size(&sample.photo).unwrap();
    let values = (0..width * height).map(|i| i as f32 / 9.0).collect();
    let map = blemish::render::tiff(&blemish::AnomalyMap { width, height, values });
    let maps = Maps::new(folder.path().join("maps"));
    let file = maps.stem(sample).unwrap().with_extension("tiff");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    mutate("map", 500, &[map], bytes, |bytes| {
        std::fs::write(&file, bytes).unwrap();
        maps.read(sample).is_ok()
    });
}

#[test]
fn prompt_files_and_lists() {
    let folder = tempdir().unwrap();
    let prompts = ["winclip", "april-gan", "inspection"].map(|name| {
        let file = blemish::prompt::prompt_files().iter().find(|(other, _)| *other == name);
        file.unwrap().1.as_bytes().to_vec()
    });
    mutate("prompts", 1500, &prompts, bytes, |bytes| {
        let parsed = Prompts::parse(bytes, "x.toml");
        let names = ["plate".to_string()];
        parsed.is_ok_and(|prompts| prompts.expand(&names).is_ok())
    });
    let visa = folder.path().join("visa");
    copy_tree("layouts/visa", &visa);
    let list = visa.join("split_csv/1cls.csv");
    let rows = std::fs::read(&list).unwrap();
    mutate("visa.csv", 300, &[rows], bytes, |bytes| {
        std::fs::write(&list, bytes).unwrap();
        let found = samples(&visa, Some(SetLayout::Visa));
        for sample in found.iter().flatten() {
            assert!(sample.photo.starts_with(&visa) && !sample.product.contains(".."));
        }
        found.is_ok()
    });
    let loco = folder.path().join("loco");
    copy_tree("layouts/loco", &loco);
    let config = loco.join("tray/defects_config.json");
    let whole = std::fs::read(&config).unwrap();
    let all = samples(&loco, Some(SetLayout::Loco)).unwrap();
    let all: Vec<_> = all.iter().collect();
    mutate("defects_config.json", 60, &[whole], any_json, |bytes| {
        std::fs::write(&config, bytes).unwrap();
        evaluate(&all, SetLayout::Loco, blemish::eval::Curve::Exact, |sample| {
            let (width, height) = Photo::size(&sample.photo)?;
            let map = blemish::AnomalyMap { width, height, values: vec![0.5; width * height] };
            Ok(blemish::eval::EvalPrediction { score: 0.5, map })
        })
        .is_ok()
    });
}

#[test]
fn models_and_adapters() {
    for (model, names) in [
        ("clip/gelu/hf", &["config.json", "preprocessor_config.json", "tokenizer.json"][..]),
        ("clip/gelu/open_clip", &["open_clip_config.json"]),
    ] {
        let folder = copy_of(model);
        let load = || Clip::load(folder.path().to_str().unwrap()).is_ok();
        for name in names {
            let file = folder.path().join(name);
            let whole = std::fs::read(&file).unwrap();
            mutate(name, 150, std::slice::from_ref(&whole), any_json, |bytes| {
                std::fs::write(&file, bytes).unwrap();
                load()
            });
            std::fs::write(&file, whole).unwrap();
        }
    }
    let folder = copy_of("clip/gelu/hf");
    let weights = folder.path().join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    mutate("model.safetensors", 100, &[whole], bytes, |bytes| {
        // A file in its place is mapped into memory: another takes it.
        std::fs::remove_file(&weights).unwrap();
        std::fs::write(&weights, bytes).unwrap();
        Clip::load(folder.path().to_str().unwrap()).is_ok()
    });
    let folder = copy_of("clip/gelu/open_clip");
    std::fs::remove_file(folder.path().join("open_clip_model.safetensors")).unwrap();
    let weights = folder.path().join("open_clip_pytorch_model.bin");
    let whole = std::fs::read(&weights).unwrap();
    mutate("pytorch_model.bin", 150, &[whole], bytes, |bytes| {
        std::fs::write(&weights, bytes).unwrap();
        Clip::load(folder.path().to_str().unwrap()).is_ok()
    });
    let adapters = files(&fixture("april_gan"), &["pth"]);
    let own = std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/tiny/adapter.safetensors"),
    );
    let file = folder.path().join("adapter");
    mutate("adapter", 400, &[adapters, vec![own.unwrap()]].concat(), bytes, |bytes| {
        std::fs::write(&file, bytes).unwrap();
        // The official files say nothing of their blocks.
        [None, Some(&[1, 2, 3][..])].iter().any(|blocks| Adapter::open(&file, *blocks).is_ok())
    });
}

/// A profile whose hash is right whatever is in it.
fn signed(header: &mut Value, data: &[u8]) -> Vec<u8> {
    let file = |header: &Value| {
        let mut header = header.to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()
    };
    if let Some(metadata) = header["__metadata__"].as_object_mut() {
        metadata.remove("sha256");
    }
    let hash = blemish::files::sha256(&file(header));
    header["__metadata__"]["sha256"] = hash.into();
    file(header)
}

fn parts(profile: &[u8]) -> (Value, &[u8]) {
    let length = u64::from_le_bytes(profile[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&profile[8..8 + length]).unwrap(), &profile[8 + length..])
}

#[test]
fn profiles_also_with_a_right_hash() {
    let folder = tempdir().unwrap();
    let clip = Arc::new(Clip::load("tiny").unwrap());
    let product = Product::new(&clip, "plate", &Prompts::default()).unwrap();
    let references: Vec<PathBuf> = (0..3)
        .map(|i| {
            let path = folder.path().join(format!("{i}.png"));
            photo(&path, 60 + i, 60);
            path
        })
        .collect();
    let made = |reference_method: &str| {
        let options = EnrollOptions {
            method: blemish::detect::method("winclip").unwrap(),
            inputs: MethodInputs::default(),
            references: blemish::reference::reference_method(reference_method).unwrap(),
            layers: None,
            augment: &[],
            fit: Fit::Squash,
            depth: BitDepth::default(),
            prompts: "winclip".into(),
            false_alarm: 0.05,
            region: None,
            seed: 0,
            simulates_damage: false,
            progress: &|_, _| {},
            ..EnrollOptions::default()
        };
        let photos = EnrollPhotos { references: &references, calibration: &[] };
        let enrolled = enroll(clip.clone(), product.clone(), photos, &options).unwrap();
        let file = folder.path().join("made");
        enrolled.profile.save(&file).unwrap();
        std::fs::read(&file).unwrap()
    };
    let fitting = blemish::reference::REFERENCE_METHODS.iter().filter(|entry| entry.fits(&clip));
    let profiles: Vec<Vec<u8>> = fitting.map(|entry| made(entry.name)).collect();
    let file = folder.path().join("x.blemish");
    let photo = Photo::open(&references[0], BitDepth::default()).unwrap();
    let read = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let _ = Profile::is_one(&file);
        let inspected = Profile::open(&file).and_then(|profile| {
            let detector = profile.detector(clip.clone())?;
            detector.inspect(&photo, profile.product())
        });
        inspected.is_ok()
    };
    mutate("profile", 200, &profiles, bytes, read);
    let resign = |whole: &[u8], random: &mut ChaCha8Rng| {
        let (mut header, data) = parts(whole);
        let text = header["__metadata__"]["profile"].as_str().unwrap().to_string();
        let mut profile: Value = serde_json::from_str(&text).unwrap();
        match random.random_range(0..3) {
            0 => change_json(&mut header, random),
            1 => {
                // A tensor of another shape, as long as it was.
                let names: Vec<String> = header.as_object().unwrap().keys().cloned().collect();
                let name = names.choose(random).unwrap();
                if let Some(shape) = header[name]["shape"].as_array().cloned() {
                    let turned: Vec<Value> = match random.random_range(0..3) {
                        0 => shape.into_iter().rev().collect(),
                        1 => [vec![json!(1)], shape].concat(),
                        _ => vec![json!(
                            shape.iter().map(|n| n.as_u64().unwrap_or(1)).product::<u64>()
                        )],
                    };
                    header[name]["shape"] = turned.into();
                }
            }
            _ => change_json(&mut profile, random),
        }
        let mut data = data.to_vec();
        if random.random_bool(0.3) && !data.is_empty() {
            let at = random.random_range(0..data.len());
            let end = (at + 64).min(data.len());
            data[at..end].fill(*[0, 0xff, 0x7f].choose(random).unwrap());
        }
        match header.get_mut("__metadata__").and_then(Value::as_object_mut) {
            Some(metadata) => _ = metadata.insert("profile".into(), profile.to_string().into()),
            None => return header.to_string().into_bytes(),
        }
        signed(&mut header, &data)
    };
    // The seed that failed: no blocks to compare.
    for whole in &profiles {
        let (mut header, data) = parts(whole);
        let text = header["__metadata__"]["profile"].as_str().unwrap().to_string();
        let mut profile: Value = serde_json::from_str(&text).unwrap();
        let same = signed(&mut header.clone(), data);
        assert!(read(&same) && same == *whole, "signed as blemish does");
        let name = profile["reference_method"].as_str().unwrap();
        if blemish::reference::reference_method(name).unwrap().takes_blocks {
            profile["reference_blocks"] = json!([]);
            header["__metadata__"]["profile"] = profile.to_string().into();
            assert!(!read(&signed(&mut header, data)));
        }
    }
    // Whole tensors of another size, with a right hash.
    for whole in &profiles {
        let (header, _) = parts(whole);
        let metadata = &header["__metadata__"];
        let tensors = candle_core::safetensors::load_buffer(whole, &Device::Cpu).unwrap();
        for name in tensors.keys().filter(|name| name.starts_with("memory")) {
            for change in 0..5 {
                let mut tensors = tensors.clone();
                let tensor = &tensors[name];
                let rows = tensor.dim(0).unwrap();
                let last = tensor.rank() - 1;
                let changed = match change {
                    0 => tensor.narrow(0, 0, rows.div_ceil(2)),
                    1 => tensor.narrow(0, 0, 1),
                    2 => Tensor::cat(&[tensor, tensor], 0),
                    3 => tensor.narrow(last, 0, tensor.dim(last).unwrap().div_ceil(2)),
                    _ => Tensor::cat(&[tensor, tensor], last),
                };
                tensors.insert(name.clone(), changed.unwrap().contiguous().unwrap());
                let bytes = safetensors::serialize(&tensors, None).unwrap();
                let (mut header, data) = parts(&bytes);
                header["__metadata__"] =
                    json!({ "format": metadata["format"], "profile": metadata["profile"] });
                let signed = signed(&mut header, data);
                let found = catch_unwind(AssertUnwindSafe(|| read(&signed)));
                assert!(found.is_ok(), "{}: {name}, change {change}", metadata["profile"]);
            }
        }
    }
    mutate("signed_profile", 150, &profiles, resign, read);
}

#[test]
fn folders_of_runs() {
    let folder = tempdir().unwrap();
    let set = folder.path().join("set");
    copy_tree("layouts/mvtec", &set);
    let all = samples(&set, None).unwrap();
    let about = |shard| RunAbout {
        root: set.clone(),
        layout: "mvtec".into(),
        products: [("tray".to_string(), json!({}))].into(),
        settings: json!({ "model": "tiny" }),
        shard,
    };
    let fill = |out: &Path, shard: Option<(usize, usize)>| {
        let mut run = Run::begin(out, &about(shard), (&set, &all), true).unwrap();
        for (i, sample) in all.iter().enumerate() {
            if run.has(sample) || shard.is_some_and(|(own, of)| i % of != own) {
                continue;
            }
            let (width, height) = Photo::size(&sample.photo).unwrap();
            let map = blemish::AnomalyMap { width, height, values: vec![0.25; width * height] };
            let found = blemish::eval::EvalPrediction { score: 0.5, map };
            let sha256 = blemish::files::files_sha256(std::slice::from_ref(&sample.photo)).unwrap();
            run.keep(sample, &found, sha256, blemish::render::tiff).unwrap();
        }
    };
    let out = folder.path().join("out");
    fill(&out, None);
    for name in ["photos.jsonl", "run.json"] {
        let file = out.join(name);
        let whole = std::fs::read(&file).unwrap();
        mutate(name, 300, std::slice::from_ref(&whole), bytes, |bytes| {
            std::fs::write(&file, bytes).unwrap();
            let run = Run::begin(&out, &about(None), (&set, &all), true);
            for sample in &all {
                // What is taken is what was written.
                if let Some(found) = run.as_ref().ok().and_then(|run| run.known(sample).unwrap()) {
                    assert_eq!(found.score, 0.5);
                }
            }
            run.is_ok()
        });
        std::fs::write(&file, whole).unwrap();
        fill(&out, None);
    }
    let part = |i: usize| folder.path().join(format!("p{i}"));
    (0..2).for_each(|i| fill(&part(i), Some((i, 2))));
    let file = part(1).join("run.json");
    let whole = std::fs::read(&file).unwrap();
    mutate("part_run.json", 100, &[whole], any_json, |bytes| {
        std::fs::write(&file, bytes).unwrap();
        let out = folder.path().join("merged");
        let merged =
            merge(&[part(0), part(1)], &out, |_| Ok(all.clone()), blemish::render::tiff).is_ok();
        let _ = std::fs::remove_dir_all(out);
        merged
    });
}
