//! Mutual scoring against the official MuSc modules (`fixtures/musc`: hidden states of the model in `fixtures/clip`, of
//! generated pictures, with distances in float64).

mod common;

use std::collections::HashMap;

use blemish::clip::{Features, Taps};
use blemish::image::Fit;
use blemish::reference::{Distances, Musc, MuscOptions, rescored};
use blemish::{BitDepth, Photo};
use candle_core::Tensor;
use common::{fixture, model, tensors, values};

fn photos() -> Vec<Features> {
    let model = model("clip/gelu/hf");
    let list = std::fs::read_to_string(fixture("musc/images.txt")).unwrap();
    let taps = Taps { blocks: vec![2, 4, 6], ..Taps::default() };
    let see = |name: &str| {
        let photo = Photo::open(fixture("tiny/samples").join(name), BitDepth::default()).unwrap();
        model.encode_image(&model.prepare(&photo, Fit::Squash).pixels, &taps).unwrap()
    };
    list.lines().map(see).collect()
}

fn found(photos: &[Features], options: MuscOptions) -> Vec<Distances> {
    let mut mutual = Musc::new(options).unwrap();
    photos.iter().for_each(|photo| mutual.add(photo).unwrap());
    mutual.finish().unwrap()
}

/// Grids and scores, one photo after another.
fn judged(photos: &[Features], options: MuscOptions) -> (Vec<f32>, Vec<f32>) {
    let found = found(photos, options);
    (found.iter().flat_map(|d| d.map.clone()).collect(), found.iter().map(|d| d.score).collect())
}

fn with_degrees(degrees: &[usize]) -> MuscOptions {
    MuscOptions { degrees: degrees.to_vec(), ..MuscOptions::default() }
}

#[test]
fn grids_maps_and_scores_are_those_of_the_official_code() {
    let golden: HashMap<String, Tensor> = tensors("musc/expected.safetensors");
    let photos = photos();
    let close = |name: &str, found: &[f32]| {
        let expected = values(&golden[name]);
        assert_eq!(found.len(), expected.len(), "{name}");
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(found.iter().all(|v| v.is_finite()) && worst < 1e-5, "{name}: {worst:e}");
        eprintln!("{name}: largest difference {worst:.1e}");
    };
    for degree in [1, 3, 5] {
        let (grids, _) = judged(&photos, with_degrees(&[degree]));
        close(&format!("grid.r{degree}"), &grids);
    }
    let (grids, scores) = judged(&photos, MuscOptions::default());
    close("grid", &grids);
    close("score", &scores);
    let maps = found(&photos, MuscOptions::default());
    close("map", &maps.iter().flat_map(|d| d.map_at(112)).collect::<Vec<_>>());
    let embeddings: Vec<Tensor> = photos.iter().map(|photo| photo.image.clone()).collect();
    let embeddings = Tensor::stack(&embeddings, 0).unwrap();
    close("score.rscin", &rescored(&scores, &embeddings, &[1, 2, 3]).unwrap());
}

#[test]
fn few_photos_are_enough_and_one_is_not() {
    let photos = photos();
    for count in 2..=5 {
        let (grids, scores) = judged(&photos[..count], MuscOptions::default());
        assert!(grids.iter().chain(&scores).all(|v| v.is_finite() && *v > 0.0), "{count}");
    }
    let twins = [photos[0].clone(), photos[0].clone()];
    let (grids, _) = judged(&twins, MuscOptions::default());
    assert!(grids.iter().all(|distance| *distance == 0.0), "a twin is no distance away");
    let same = rescored(
        &[0.5, 0.5],
        &Tensor::stack(&[&photos[0].image, &photos[1].image], 0).unwrap(),
        &[1, 2, 3],
    );
    assert_eq!(same.unwrap(), [0.0, 0.0]);
    let mut mutual = Musc::new(MuscOptions::default()).unwrap();
    mutual.add(&photos[0]).unwrap();
    let error = mutual.finish().unwrap_err().to_string();
    assert!(error.contains("needs two") && error.contains("winclip"), "{error}");
    for (options, why) in [
        (with_degrees(&[2]), "degrees 2"),
        (with_degrees(&[]), "at least one"),
        (MuscOptions { max_neighbors: 1, ..MuscOptions::default() }, "against 1"),
    ] {
        assert!(Musc::new(options).err().unwrap().to_string().contains(why));
    }
}

/// The ring, photo by photo: of four others 30 % is the nearest one, so that each patch has the lowest distance of
/// those that its photo makes with each of the four alone.
#[test]
fn each_photo_meets_its_neighbours_in_the_ring() {
    let mut photos = photos();
    // Of several blocks the lowest may be of different photos.
    photos.iter_mut().for_each(|photo| photo.blocks.truncate(1));
    let only = |max_neighbors| MuscOptions {
        max_neighbors,
        degrees: vec![1],
        align: None,
        ..MuscOptions::default()
    };
    let (ring, _) = judged(&photos, only(4));
    let pair = |a: usize, b: usize| {
        let (grids, _) = judged(&[photos[a].clone(), photos[b].clone()], only(4));
        grids[..49].to_vec()
    };
    for photo in 0..12 {
        let around = [1, 2, 10, 11].map(|step| pair(photo, (photo + step) % 12));
        let lowest = |patch: usize| around.iter().map(|p| p[patch]).fold(f32::INFINITY, f32::min);
        let expected: Vec<f32> = (0..49).map(lowest).collect();
        assert_eq!(ring[photo * 49..][..49], expected, "{photo}");
    }
    let all = judged(&photos, only(24)).0;
    assert_eq!(judged(&photos, only(12)).0, all, "12 are everybody");
    assert_ne!(ring, all);
}

#[test]
fn aligned_patches_meet_those_nearby_alone() {
    let photos = photos();
    let with = |align| judged(&photos, MuscOptions { align, ..MuscOptions::default() }).0;
    let (free, near, strict) = (with(None), with(Some(2)), with(Some(0)));
    assert!(free.iter().zip(&near).all(|(free, near)| near >= &(free - 1e-6)));
    assert!(near.iter().zip(&strict).all(|(near, strict)| strict >= &(near - 1e-6)));
    assert_ne!(free, near);
    assert_eq!(with(Some(6)), free, "the whole grid of 7x7");
}
