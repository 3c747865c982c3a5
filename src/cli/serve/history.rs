//! The last photos, for the page.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use axum::body::Bytes;
use blemish::page::{Gallery, GalleryPhoto, Legend, Page, Pictures, facts};
use blemish::report::Record;
use blemish::scorer::ScaleOf;

use super::models::Model;

/// All photos that are kept need at most so many bytes.
const MOST_BYTES: usize = 256 << 20;

/// The last photos of all models. The oldest one goes first.
pub struct History {
    /// How many are kept of each model.
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: VecDeque<Entry>,
    next: u64,
    bytes: usize,
}

/// A photo that was scored.
pub struct Entry {
    id: u64,
    /// The name of its model.
    model: String,
    row: GalleryPhoto,
    facts: Vec<(String, String)>,
    photo: Bytes,
    thumb: Bytes,
    map: Bytes,
}

impl Entry {
    /// `pictures`: the small photo and the small map.
    pub fn new(
        model: &Model,
        record: &Record,
        photo: Bytes,
        (thumb, map): (Vec<u8>, Vec<u8>),
    ) -> Self {
        let row = GalleryPhoto::of(record, Pictures::default());
        let facts = facts(&serde_json::to_value(record).unwrap_or_default());
        Self {
            id: 0,
            model: model.name.clone(),
            row,
            facts,
            photo,
            thumb: thumb.into(),
            map: map.into(),
        }
    }

    fn bytes(&self) -> usize {
        // The rest of a row is small.
        self.photo.len() + self.thumb.len() + self.map.len() + (8 << 10)
    }
}

impl History {
    pub fn new(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    pub fn is_kept(&self) -> bool {
        self.most > 0
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn add(&self, entry: Entry) {
        let mut kept = self.kept();
        kept.next += 1;
        let (id, name) = (kept.next, entry.model.clone());
        kept.bytes += entry.bytes();
        let pictures = Pictures {
            photo: Some(format!("/history/{id}/photo")),
            thumb: format!("/history/{id}/thumb"),
            map: Some(format!("/history/{id}/map")),
            ..Pictures::default()
        };
        let row = GalleryPhoto { pictures, ..entry.row };
        kept.entries.push_back(Entry { id, row, ..entry });
        let is_own = |entry: &Entry| entry.model == name;
        if kept.entries.iter().filter(|entry| is_own(entry)).count() > self.most {
            let oldest = kept.entries.iter().position(is_own).unwrap_or_default();
            kept.remove(oldest);
        }
        while kept.bytes > MOST_BYTES && kept.entries.len() > 1 {
            kept.remove(0);
        }
    }

    /// A picture of a photo, and its media type.
    pub fn picture(&self, id: u64, what: &str) -> Option<(Bytes, &'static str)> {
        let kept = self.kept();
        let entry = kept.entries.iter().find(|entry| entry.id == id)?;
        match what {
            "photo" => Some((entry.photo.clone(), media_type(&entry.photo))),
            "thumb" => Some((entry.thumb.clone(), "image/jpeg")),
            "map" => Some((entry.map.clone(), "image/png")),
            _ => None,
        }
    }

    /// The page of a model, the newest photo first.
    pub fn page(&self, model: &Model) -> String {
        let context = &model.scorer.context;
        let (scale, of) = context.legend(ScaleOf::Run);
        let legend = Legend::new(scale, of);
        let gallery = match context.calibration() {
            Some((calibration, rate)) => Gallery::with_line(calibration, rate, legend),
            None => Gallery { scale: legend, ..Gallery::default() },
        };
        let kept = self.kept();
        let own: Vec<&Entry> =
            kept.entries.iter().rev().filter(|entry| entry.model == model.name).collect();
        let facts = own.first().map_or(vec![], |entry| entry.facts.clone());
        let rows = own.into_iter().map(|entry| entry.row.clone()).collect();
        let title = format!("blemish: {}", model.name);
        Page { title, facts, gallery: Gallery { rows, ..gallery }, ..Page::default() }.html()
    }
}

impl Kept {
    fn remove(&mut self, at: usize) {
        if let Some(entry) = self.entries.remove(at) {
            self.bytes -= entry.bytes();
        }
    }
}

/// What a browser needs to know of a photo that was sent.
fn media_type(photo: &[u8]) -> &'static str {
    match photo {
        [0xff, 0xd8, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'R', b'I', b'F', b'F', ..] => "image/webp",
        [b'B', b'M', ..] => "image/bmp",
        _ => "application/octet-stream",
    }
}
