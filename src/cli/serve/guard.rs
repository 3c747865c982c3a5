//! Who may ask, and how long an answer may take.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blemish::files::sha256;

use super::service::{Failure, Service};

/// Checks a request before it is answered, and counts it.
pub async fn check(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none".to_string(), |route| route.as_str().to_string());
    let limits = &service.limits;
    let refused = match &limits.token {
        // Probes have no token.
        _ if route.starts_with("/v2/health/") => None,
        _ if is_of_another_page(request.headers()) => Some(foreign()),
        Some(token) => (!has_token(request.headers(), token)).then(unauthorised),
        None => (!is_local(request.headers())).then(foreign),
    };
    // Said before the body is sent.
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok());
    let is_long = length.is_some_and(|l| l.parse::<usize>().is_ok_and(|l| l > limits.body));
    let refused = refused.or_else(|| is_long.then(|| too_long(limits.body)));
    let refused = refused.or_else(|| is_packed_otherwise(request.headers()).then(packed));
    let response = match refused {
        Some(refused) => refused,
        None => match tokio::time::timeout(limits.timeout, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                let seconds = limits.timeout.as_secs();
                let why = format!(
                    "took longer than --timeout {seconds}; some photos may have been scored"
                );
                Failure(StatusCode::GATEWAY_TIMEOUT, why).into_response()
            }
        },
    };
    service.metrics.request(&route, response.status().as_u16());
    response
}

fn is_packed_otherwise(headers: &HeaderMap) -> bool {
    let known = |how: &str| ["gzip", "deflate", "identity"].contains(&how);
    let how = headers.get(header::CONTENT_ENCODING);
    how.is_some_and(|how| !how.to_str().is_ok_and(|how| known(&how.to_ascii_lowercase())))
}

fn packed() -> Response {
    let why = "send the request as it is, or compressed with gzip or deflate".into();
    Failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response()
}

fn too_long(most: usize) -> Response {
    let why = format!("a request may have {} MB (--max-body); send fewer photos", most >> 20);
    Failure(StatusCode::PAYLOAD_TOO_LARGE, why).into_response()
}

/// Whether the token is there: `Bearer TOKEN`, or the password of `Basic`, which browsers ask for.
fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let Some(given) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let given = match given.split_once(' ') {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => given.trim().to_string(),
        Some((scheme, given)) if scheme.eq_ignore_ascii_case("basic") => {
            let pair = STANDARD.decode(given.trim()).ok().and_then(|p| String::from_utf8(p).ok());
            pair.and_then(|pair| Some(pair.split_once(':')?.1.to_string())).unwrap_or_default()
        }
        _ => return false,
    };
    // Hashes take the same time to compare however much of the token is right.
    sha256(given.as_bytes()) == sha256(token.as_bytes())
}

fn unauthorised() -> Response {
    let why = "send the server's token: Authorization: Bearer TOKEN".into();
    let mut response = Failure(StatusCode::UNAUTHORIZED, why).into_response();
    let ask = header::HeaderValue::from_static(
        "Basic realm=\"blemish: any user, the token as password\"",
    );
    response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
    response
}

/// Whether the client asked for this machine by a name of its own. A web page elsewhere that points its own name here
/// could read answers otherwise (DNS rebinding).
fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    name.eq_ignore_ascii_case("localhost") || is_loopback
}

/// Whether a web page of another server asks, through a person's browser.
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return false };
    origin.split_once("://").map(|(_, host)| host) != text(header::HOST)
}

fn foreign() -> Response {
    let why = "pages of other servers are not answered; without a token (BLEMISH_TOKEN) only this \
               machine is, by the name localhost"
        .into();
    Failure(StatusCode::FORBIDDEN, why).into_response()
}
