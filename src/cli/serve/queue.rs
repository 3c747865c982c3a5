//! Photos that wait to be scored, and the thread that scores them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use axum::body::Bytes;
use blemish::page::Pictures;
use blemish::report::Record;
use blemish::scorer::{Origin, ScaleOf};
use blemish::{AnomalyMap, Error, Photo};
use rayon::prelude::*;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::history::{Entry, History};
use super::metrics::Metrics;
use super::models::Model;

/// A photo that is to be scored.
pub struct Order {
    pub model: Arc<Model>,
    /// The name that it came with.
    pub path: PathBuf,
    pub content: Bytes,
    pub wants: Wants,
}

/// What is needed besides the record.
#[derive(Clone, Copy, Default)]
pub struct Wants {
    pub map: bool,
    pub overlay: bool,
}

pub struct Scored {
    pub record: Record,
    pub map: Option<AnomalyMap>,
    /// A PNG.
    pub overlay: Option<Vec<u8>>,
}

/// Why photos are not taken.
pub enum Refusal {
    /// The queue has no room now.
    Full,
    /// More photos than the queue has room for.
    TooMany(usize),
}

/// The entrance of the queue.
pub struct Queue {
    sender: Sender<Job>,
    room: Arc<Semaphore>,
    size: usize,
}

struct Job {
    order: Order,
    reply: oneshot::Sender<blemish::Result<Scored>>,
    since: Instant,
    /// A place in the queue, free again when the job is done.
    place: OwnedSemaphorePermit,
}

impl Queue {
    /// Starts the thread that scores.
    pub fn start(
        size: usize,
        most_pixels: usize,
        history: Arc<History>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let worker = Worker { most_pixels, history, metrics };
        std::thread::Builder::new().name("scorer".into()).spawn(move || worker.work(&receiver))?;
        Ok(Self { sender, room: Arc::new(Semaphore::new(size)), size })
    }

    /// Waits for the results of some photos. All are taken, or none.
    pub async fn score(&self, orders: Vec<Order>) -> Result<Vec<blemish::Result<Scored>>, Refusal> {
        if orders.len() > self.size {
            return Err(Refusal::TooMany(self.size));
        }
        let places = self.room.clone().try_acquire_many_owned(orders.len() as u32);
        let mut places = places.map_err(|_| Refusal::Full)?;
        let since = Instant::now();
        let send = |order: Order| {
            let place = places.split(1).expect("one place for each photo");
            let (reply, result) = oneshot::channel();
            let sent = self.sender.send(Job { order, reply, since, place });
            assert!(sent.is_ok(), "the scorer runs as long as the server");
            result
        };
        let waiting: Vec<_> = orders.into_iter().map(send).collect();
        let mut results = Vec::new();
        for result in waiting {
            let lost = || Error::Photo { path: "photo".into(), why: "the scorer failed".into() };
            results.push(result.await.unwrap_or_else(|_| Err(lost())));
        }
        Ok(results)
    }

    /// How many photos wait or are scored.
    pub fn photos(&self) -> usize {
        self.size - self.room.available_permits()
    }
}

struct Worker {
    most_pixels: usize,
    history: Arc<History>,
    metrics: Arc<Metrics>,
}

impl Worker {
    fn work(&self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let at_once = first.order.model.scorer.detector.photos_at_once();
            let mut batch = vec![first];
            while batch.len() < at_once {
                let Ok(next) = jobs.try_recv() else { break };
                batch.push(next);
            }
            batch.into_par_iter().for_each(|job| self.answer(job));
        }
    }

    fn answer(&self, job: Job) {
        let Job { order, reply, since, place } = job;
        // Nobody waits for it any more.
        if reply.is_closed() {
            return;
        }
        self.metrics.stage("wait", since.elapsed());
        let model = order.model.clone();
        let scored = catch_unwind(AssertUnwindSafe(|| self.score(order))).unwrap_or_else(|_| {
            Err(Error::Photo { path: "photo".into(), why: "blemish failed on it".into() })
        });
        self.metrics.photo(&model.name, scored.as_ref().ok().map(|scored| &scored.record));
        // Who has an answer may send the next photo at once.
        drop(place);
        // The client may have gone.
        let _ = reply.send(scored);
    }

    fn score(&self, order: Order) -> blemish::Result<Scored> {
        let Order { model, path, content, wants } = order;
        let start = Instant::now();
        let (width, height) = Photo::size_in(&path, &content)?;
        if width.saturating_mul(height) > self.most_pixels {
            let why = format!(
                "{width}x{height} pixels are more than the limit of {} megapixels (--max-pixels)",
                self.most_pixels / 1_000_000
            );
            return Err(Error::Photo { path, why });
        }
        let photo = Photo::decode(&path, &content, model.depth)?;
        let prepared = model.scorer.detector.prepare(&photo);
        self.metrics.stage("read", start.elapsed());
        let start = Instant::now();
        let origin = Origin { path: &path, content: Some(&content) };
        let (record, finding) = model.scorer.score(origin, &prepared)?;
        self.metrics.stage("score", start.elapsed());
        let start = Instant::now();
        let context = &model.scorer.context;
        let overlay =
            wants.overlay.then(|| context.overlay(&photo, (&record, &finding), ScaleOf::Run, true));
        if self.history.is_kept() {
            let (scale, _) = context.colours(ScaleOf::Run, &finding.map);
            let pictures = Pictures::drawn(&photo, (&finding.map, scale));
            self.history.add(Entry::new(&model, &record, content, pictures));
        }
        self.metrics.stage("draw", start.elapsed());
        Ok(Scored { record, map: wants.map.then_some(finding.map), overlay })
    }
}
