//! Numbers for Prometheus.

use std::time::Duration;

use blemish::report::Record;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::Registry;

/// Labels and their values.
type Labels = Vec<(&'static str, String)>;

pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    photos: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    stages: Family<Labels, Histogram>,
    scores: Family<Labels, Histogram>,
    queue: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("blemish");
        let requests = Family::<Labels, Counter>::default();
        let photos = Family::<Labels, Counter>::default();
        let failures = Family::<Labels, Counter>::default();
        let stages = Family::<Labels, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.001, 2.0, 16))
        });
        let scores = Family::<Labels, Histogram>::new_with_constructor(|| {
            Histogram::new(linear_buckets(0.05, 0.05, 20))
        });
        let queue = Gauge::default();
        registry.register("requests", "Requests by route and status", requests.clone());
        registry.register("photos", "Photos that were scored, by verdict", photos.clone());
        registry.register("photo_failures", "Photos that could not be scored", failures.clone());
        registry.register("stage_seconds", "Seconds of each stage of a photo", stages.clone());
        registry.register("score", "Scores of photos", scores.clone());
        registry.register("queue_photos", "Photos that wait or are scored", queue.clone());
        Self { registry, requests, photos, failures, stages, scores, queue }
    }

    pub fn request(&self, route: &str, status: u16) {
        let labels = vec![("route", route.to_string()), ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
    }

    /// A photo, with its record if it was scored.
    pub fn photo(&self, model: &str, record: Option<&Record>) {
        let of_model = vec![("model", model.to_string())];
        let Some(record) = record else {
            self.failures.get_or_create(&of_model).inc();
            return;
        };
        self.scores.get_or_create(&of_model).observe(f64::from(record.score));
        let verdict = ("verdict", record.verdict.unwrap_or("none").to_string());
        self.photos.get_or_create(&[of_model, vec![verdict]].concat()).inc();
    }

    pub fn stage(&self, stage: &'static str, time: Duration) {
        let labels = vec![("stage", stage.to_string())];
        self.stages.get_or_create(&labels).observe(time.as_secs_f64());
    }

    /// As OpenMetrics text. `queue`: how many photos wait or are scored.
    pub fn text(&self, queue: usize) -> String {
        self.queue.set(queue as i64);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all text");
        text
    }
}
