//! What all answers share: the models, the queue, and how an error is answered.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path as AxumPath, Query as AxumQuery};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use blemish::Error;
use serde::Deserialize;
use serde_json::json;

use super::args::Limits;
use super::history::History;
use super::metrics::Metrics;
use super::models::{Model, Models};
use super::queue::{Order, Queue, Refusal, Scored, Wants};

/// What all answers share.
pub struct Service {
    pub models: Models,
    pub queue: Queue,
    pub history: Arc<History>,
    pub metrics: Arc<Metrics>,
    pub limits: Limits,
}

/// The model in an address.
#[derive(Deserialize)]
pub struct Named {
    pub name: String,
    pub version: Option<String>,
}

/// The variable parts of an address. The errors of axum's own are not JSON.
#[derive(FromRequestParts)]
#[from_request(via(AxumPath), rejection(Failure))]
pub struct Path<T>(pub T);

/// What follows `?` in an address.
#[derive(FromRequestParts)]
#[from_request(via(AxumQuery), rejection(Failure))]
pub struct Query<T>(pub T);

impl Service {
    pub fn model(&self, named: &Named) -> Result<Arc<Model>, Failure> {
        let found = self.models.get(&named.name, named.version.as_deref());
        found.ok_or_else(|| {
            let names: Vec<String> = self.models.all().iter().map(|m| m.name.clone()).collect();
            let version = named.version.as_ref().map_or(String::new(), |v| format!(" version {v}"));
            let why =
                format!("there is no model {}{version}; there is {}", named.name, names.join(", "));
            Failure(StatusCode::NOT_FOUND, why)
        })
    }

    /// Scores photos of one model: names, contents.
    pub async fn scored(
        &self,
        model: &Arc<Model>,
        photos: Vec<(PathBuf, Bytes)>,
        wants: Wants,
    ) -> Result<Vec<blemish::Result<Scored>>, Failure> {
        let order = |(path, content)| Order { model: model.clone(), path, content, wants };
        Ok(self.queue.score(photos.into_iter().map(order).collect()).await?)
    }
}

/// An error as `{"error": why}`.
pub struct Failure(pub StatusCode, pub String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(status, why) = self;
        let why = blemish::text::shown(&why).into_owned();
        let mut response = (status, Json(json!({ "error": why }))).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, 1.into());
        }
        response
    }
}

impl From<PathRejection> for Failure {
    fn from(error: PathRejection) -> Self {
        Self(error.status(), error.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(error: QueryRejection) -> Self {
        Self(
            error.status(),
            format!("what follows ? in the address is wrong: {}", error.body_text()),
        )
    }
}

impl From<BytesRejection> for Failure {
    fn from(error: BytesRejection) -> Self {
        let why = match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                "the request holds more than --max-body allows; send fewer photos".into()
            }
            _ => format!("the request cannot be read; send it again ({})", error.body_text()),
        };
        Self(error.status(), why)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => {
                let why = "the queue is full; send the photo again in a second".into();
                Self(StatusCode::TOO_MANY_REQUESTS, why)
            }
            Refusal::TooMany(most) => {
                let why = format!("a request may have {most} photos; send fewer, or set --queue");
                Self(StatusCode::PAYLOAD_TOO_LARGE, why)
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Photo { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}
