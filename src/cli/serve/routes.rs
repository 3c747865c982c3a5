//! What each address answers.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::multipart::Multipart;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use blemish::Error;
use serde::Deserialize;
use serde_json::json;

use super::args::Limits;
use super::guard;
use super::history::History;
use super::infer::{self, Inference};
use super::metrics::Metrics;
use super::models::{Model, Models};
use super::queue::{Order, Queue, Refusal, Scored, Wants};
use crate::cli::terminal::is_stopped;

/// What all answers share.
pub struct Service {
    pub models: Models,
    pub queue: Queue,
    pub history: Arc<History>,
    pub metrics: Arc<Metrics>,
    pub limits: Limits,
}

type App = State<Arc<Service>>;

pub fn router(service: Arc<Service>) -> Router {
    let model = |rest: &str| {
        [
            format!("/v2/models/{{name}}{rest}"),
            format!("/v2/models/{{name}}/versions/{{version}}{rest}"),
        ]
    };
    let mut router = Router::new()
        .route("/", get(index))
        .route("/models/{name}", get(page))
        .route("/history/{id}/{what}", get(picture))
        .route("/score", post(score))
        .route("/metrics", get(metrics))
        .route("/v2", get(server))
        .route("/v2/health/live", get(async || Json(json!({ "live": true }))))
        .route("/v2/health/ready", get(ready));
    for path in model("") {
        router = router.route(&path, get(about));
    }
    for path in model("/ready") {
        router = router.route(&path, get(model_ready));
    }
    for path in model("/infer") {
        router = router.route(&path, post(infer));
    }
    let body = service.limits.body;
    router
        .fallback(async || {
            Failure(StatusCode::NOT_FOUND, "there is nothing at this address".into())
        })
        .layer(DefaultBodyLimit::max(body))
        .layer(middleware::from_fn_with_state(service.clone(), guard::check))
        .with_state(service)
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

fn wrong(why: String) -> Failure {
    Failure(StatusCode::BAD_REQUEST, why)
}

/// The model in an address.
#[derive(Deserialize)]
struct Named {
    name: String,
    version: Option<String>,
}

impl Service {
    fn model(&self, named: &Named) -> Result<Arc<Model>, Failure> {
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
    async fn scored(
        &self,
        model: &Arc<Model>,
        photos: Vec<(PathBuf, Bytes)>,
        wants: Wants,
    ) -> Result<Vec<blemish::Result<Scored>>, Failure> {
        let order = |(path, content)| Order { model: model.clone(), path, content, wants };
        Ok(self.queue.score(photos.into_iter().map(order).collect()).await?)
    }
}

async fn server() -> impl IntoResponse {
    Json(json!({
        "name": "blemish",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data"],
    }))
}

/// Not ready from the moment the server is stopped, so that no new photos are sent.
async fn ready() -> impl IntoResponse {
    let is_ready = !is_stopped();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": is_ready })))
}

async fn about(
    State(service): App,
    Path(named): Path<Named>,
) -> Result<impl IntoResponse, Failure> {
    Ok(Json(infer::about(&*service.model(&named)?)))
}

async fn model_ready(State(service): App, Path(named): Path<Named>) -> Result<Response, Failure> {
    let model = service.model(&named)?;
    let status = if is_stopped() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok((status, Json(json!({ "name": model.name, "ready": !is_stopped() }))).into_response())
}

async fn infer(
    State(service): App,
    Path(named): Path<Named>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let model = service.model(&named)?;
    let json = match headers.get(infer::HEADER) {
        None => None,
        Some(length) => {
            let length = length.to_str().ok().and_then(|length| length.parse::<usize>().ok());
            Some(length.ok_or_else(|| wrong(format!("{}: give a number", infer::HEADER)))?)
        }
    };
    let inference = Inference::read(&body, json).map_err(wrong)?;
    let photos = inference.images.iter().enumerate();
    let photos = photos.map(|(i, image)| (format!("image {i}").into(), image.clone())).collect();
    let scored = service.scored(&model, photos, inference.wants()).await?;
    let scored: Vec<Scored> = scored.into_iter().collect::<blemish::Result<_>>()?;
    let (bytes, json) = inference.answer(&model, &scored).map_err(wrong)?;
    Ok(match json {
        None => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Some(length) => {
            let kind = (header::CONTENT_TYPE, "application/octet-stream".to_string());
            let length = (infer::HEADER.parse().expect("a header's name"), length.to_string());
            ([kind, length], bytes).into_response()
        }
    })
}

#[derive(Deserialize)]
struct Which {
    model: Option<String>,
}

/// Photos of a form, or one photo as the whole body. Answers with one line of JSON for each, as `blemish score` prints.
async fn score(
    State(service): App,
    Query(which): Query<Which>,
    request: Request,
) -> Result<Response, Failure> {
    let all = service.models.all();
    let model = match (which.model, &all[..]) {
        (Some(name), _) => service.model(&Named { name, version: None })?,
        (None, [only]) => only.clone(),
        (None, _) => {
            let names: Vec<&str> = all.iter().map(|model| &*model.name).collect();
            return Err(wrong(format!("say which model: /score?model={}", names.join(" or "))));
        }
    };
    let photos = photos_of(request).await?;
    let names: Vec<PathBuf> = photos.iter().map(|(name, _)| name.clone()).collect();
    let scored = service.scored(&model, photos, Wants::default()).await?;
    let mut is_any_good = false;
    let mut lines = Vec::new();
    for (name, scored) in names.iter().zip(scored) {
        match scored {
            Ok(scored) => {
                is_any_good = true;
                lines.push(serde_json::to_string(&scored.record).unwrap_or_default());
            }
            Err(error) => {
                let failure = Failure::from(error);
                if failure.0 != StatusCode::BAD_REQUEST {
                    return Err(failure);
                }
                let error = blemish::text::shown(&failure.1).into_owned();
                lines.push(json!({ "path": name.to_string_lossy(), "error": error }).to_string());
            }
        }
    }
    let status = if is_any_good { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let kind = if lines.len() == 1 { "application/json" } else { "application/jsonl" };
    lines.push(String::new());
    Ok((status, [(header::CONTENT_TYPE, kind)], lines.join("\n")).into_response())
}

/// The photos of a request: names, contents.
async fn photos_of(request: Request) -> Result<Vec<(PathBuf, Bytes)>, Failure> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("multipart/form-data")) {
        let body = Bytes::from_request(request, &()).await;
        let body = body.map_err(|error| Failure(error.status(), error.body_text()))?;
        return Ok(vec![("photo".into(), body)]);
    }
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|error| Failure(error.status(), error.body_text()))?;
    let mut photos = Vec::new();
    let failed = |error: axum::extract::multipart::MultipartError| {
        Failure(error.status(), error.body_text())
    };
    while let Some(field) = form.next_field().await.map_err(failed)? {
        if field.name() != Some("photo") {
            let name = field.name().unwrap_or_default();
            return Err(wrong(format!("field {name:?}: send photos as `photo`")));
        }
        let name = field.file_name().unwrap_or("photo").to_string();
        photos.push((name.into(), field.bytes().await.map_err(failed)?));
    }
    match photos.is_empty() {
        true => Err(wrong("the form has no field `photo`; try curl -F photo=@part.jpg".into())),
        false => Ok(photos),
    }
}

async fn metrics(State(service): App) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], service.metrics.text(service.queue.photos()))
}

/// The page of the only model, or links to the pages of all.
async fn index(State(service): App) -> Response {
    let all = service.models.all();
    if let ([only], true) = (&all[..], service.history.is_kept()) {
        return Html(service.history.page(only)).into_response();
    }
    // Names have no characters that HTML uses.
    let item = |model: &Arc<Model>| match service.history.is_kept() {
        true => format!("<li><a href=\"/models/{0}\">{0}</a>", model.name),
        false => format!("<li>{}", model.name),
    };
    let items: String = all.iter().map(item).collect();
    let html = format!(
        "<!doctype html><meta charset=utf-8><title>blemish</title><h1>blemish</h1><ul>{items}</ul>"
    );
    Html(html).into_response()
}

async fn page(State(service): App, Path(named): Path<Named>) -> Result<Html<String>, Failure> {
    let model = service.model(&named)?;
    match service.history.is_kept() {
        true => Ok(Html(service.history.page(&model))),
        false => Err(Failure(StatusCode::NOT_FOUND, "there is no page (--no-page)".into())),
    }
}

async fn picture(
    State(service): App,
    Path((id, what)): Path<(u64, String)>,
) -> Result<impl IntoResponse, Failure> {
    let gone = || Failure(StatusCode::NOT_FOUND, "this photo is no longer kept".into());
    let (bytes, kind) = service.history.picture(id, &what).ok_or_else(gone)?;
    // What was sent is shown as a picture or not at all.
    Ok(([(header::CONTENT_TYPE, kind), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], bytes))
}
