//! What each address answers.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::multipart::Multipart;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::Deserialize;
use serde_json::json;
use tower_http::decompression::RequestDecompressionLayer;

use super::guard;
use super::infer::{self, Inference};
use super::models::Model;
use super::queue::{Scored, Wants};
use super::service::{Failure, Named, Path, Query, Service};
use crate::cli::terminal::is_stopped;

/// Longer names of photos are cut.
const LONGEST_NAME: usize = 255;

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
        .method_not_allowed_fallback(async || {
            let why = "this address takes another method: POST for photos, else GET".into();
            Failure(StatusCode::METHOD_NOT_ALLOWED, why)
        })
        .fallback(async || {
            Failure(StatusCode::NOT_FOUND, "there is nothing at this address".into())
        })
        .layer(DefaultBodyLimit::max(body))
        .layer(RequestDecompressionLayer::new())
        .layer(middleware::from_fn_with_state(service.clone(), guard::check))
        .with_state(service)
}

fn wrong(why: String) -> Failure {
    Failure(StatusCode::BAD_REQUEST, why)
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
    request: Request,
) -> Result<Response, Failure> {
    let model = service.model(&named)?;
    let body = Bytes::from_request(request, &()).await?;
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
    // A large map takes long.
    let answer = tokio::task::block_in_place(|| inference.answer(&model, &scored));
    let (bytes, json) = answer.map_err(wrong)?;
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
        return Ok(vec![("photo".into(), Bytes::from_request(request, &()).await?)]);
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
        let name: String =
            field.file_name().unwrap_or("photo").chars().take(LONGEST_NAME).collect();
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

#[derive(Deserialize)]
struct How {
    /// Seconds after which the browser loads the page again.
    refresh: Option<u32>,
}

/// The page of the only model, or links to the pages of all.
async fn index(State(service): App, Query(how): Query<How>) -> Response {
    let all = service.models.all();
    if let ([only], true) = (&all[..], service.history.is_kept()) {
        return shown(&service, only, &how);
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

async fn page(
    State(service): App,
    Path(named): Path<Named>,
    Query(how): Query<How>,
) -> Result<Response, Failure> {
    let model = service.model(&named)?;
    match service.history.is_kept() {
        true => Ok(shown(&service, &model, &how)),
        false => Err(Failure(StatusCode::NOT_FOUND, "there is no page (--no-page)".into())),
    }
}

fn shown(service: &Service, model: &Model, how: &How) -> Response {
    let refresh = how.refresh.map(|seconds| [(header::REFRESH, seconds.max(1).to_string())]);
    (refresh, Html(service.history.page(model))).into_response()
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
