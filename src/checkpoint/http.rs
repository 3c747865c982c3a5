//! Requests to a hub. They are limited in time and bytes, and use the certificates of this machine. Only the hub gets
//! the token.

use std::io::Read;
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// Largest number of redirects that are followed.
const HOPS: usize = 8;
/// Largest answer about a repository, in bytes.
const MOST_JSON: u64 = 16 << 20;
/// Usual size of such an answer. The time limit of the request depends on it.
const USUAL_JSON: u64 = 1 << 16;
/// Slowest download that is accepted, in bytes per second.
const SLOWEST: u64 = 4096;

/// A client of one hub.
pub(crate) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    /// How long the hub may send nothing.
    patience: Duration,
}

/// An answer: the headers of all redirects and of the last response, and the body of the last response.
pub(crate) struct Answer {
    hops: Vec<HeaderMap>,
    body: Body,
}

/// Why a request failed.
pub(crate) struct Failure {
    pub why: String,
    /// Whether a retry may help.
    pub may_pass: bool,
}

impl Failure {
    pub fn lasting(why: impl Into<String>) -> Self {
        Self { why: why.into(), may_pass: false }
    }
}

impl Client {
    /// Makes a client. The error says why the certificates of this machine cannot be used.
    pub fn new(endpoint: &str, token: Option<String>, patience: Duration) -> Result<Self, String> {
        let tls = TlsConfig::builder().root_certs(root_certificates()?).build();
        let config = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience))
            .user_agent(concat!("blemish/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build();
        let endpoint = endpoint.trim_end_matches('/').to_string();
        Ok(Self { agent: config.into(), endpoint, token, patience })
    }

    /// Requests a path and reads the answer as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let mut answer = self.get(path, None, USUAL_JSON)?;
        let mut bytes = Vec::new();
        let read = answer.body.as_reader().take(MOST_JSON + 1).read_to_end(&mut bytes);
        read.map_err(|e| self.unreachable(&e))?;
        if bytes.len() as u64 > MOST_JSON {
            return Err(Failure::lasting("the hub's answer does not end; check HF_ENDPOINT"));
        }
        answer.refuse_page(&bytes)?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Failure::lasting(format!("the hub's answer is not understood ({e})")))
    }

    /// Requests a path. `range`: the first byte and the last byte (`None`: to the end). `length`: the expected number
    /// of bytes, or 0 if it is not known. The time limit depends on it.
    pub fn get(
        &self,
        path: &str,
        range: Option<(u64, Option<u64>)>,
        length: u64,
    ) -> Result<Answer, Failure> {
        let mut url = format!("{}/{path}", self.endpoint);
        let mut hops = Vec::new();
        let total = self.patience + Duration::from_secs(length / SLOWEST);
        while hops.len() <= HOPS {
            let request = self.agent.get(&url).config().timeout_global(Some(total)).build();
            let request = match range {
                Some((start, Some(end))) => request.header("Range", format!("bytes={start}-{end}")),
                Some((start, None)) => request.header("Range", format!("bytes={start}-")),
                None => request,
            };
            // Only the hub gets the token, not another host.
            let token = self.token.as_ref().filter(|_| origin(&url) == origin(&self.endpoint));
            let request = match token {
                Some(token) => request.header("Authorization", format!("Bearer {token}")),
                None => request,
            };
            let response = request.call().map_err(|e| self.unreachable(&e))?;
            let (parts, body) = response.into_parts();
            let status = parts.status;
            let next =
                parts.headers.get("location").and_then(|v| v.to_str().ok()).map(String::from);
            hops.push(parts.headers);
            match next {
                Some(next) if status.is_redirection() => url = redirected(&url, &next)?,
                _ if status.is_success() => return Ok(Answer { hops, body }),
                _ => return Err(refused(status)),
            }
        }
        Err(Failure::lasting("the hub redirects from address to address without end"))
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> Failure {
        let why = error.to_string();
        let hint = match why.contains("ertificate") {
            true => "if a proxy opens TLS here, name its certificate with SSL_CERT_FILE",
            false => "without a network use the model tiny, a folder, or a model that is cached",
        };
        if why.contains("timeout: global") {
            return Failure::lasting("the hub's answer comes too slowly; try again later");
        }
        let why = match why.contains("timeout") {
            true => format!("no answer within {} s: {why}", self.patience.as_secs()),
            false => why,
        };
        Failure { why: format!("the hub cannot be reached ({why}): {hint}"), may_pass: true }
    }
}

impl Answer {
    /// The first value of a header in the redirects and the last response.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.hops.iter().find_map(|headers| headers.get(name)?.to_str().ok())
    }

    /// A header of the last response.
    pub fn last(&self, name: &str) -> Option<&str> {
        self.hops.last()?.get(name)?.to_str().ok()
    }

    /// Refuses a web page that came instead of data.
    pub fn refuse_page(&self, start: &[u8]) -> Result<(), Failure> {
        let is_page = self.last("content-type").is_some_and(|kind| kind.starts_with("text/html"))
            || start.trim_ascii_start().first() == Some(&b'<');
        match is_page {
            true => Err(Failure::lasting(
                "the hub answered with a web page where data is due: a proxy's login page, or a wrong HF_ENDPOINT",
            )),
            false => Ok(()),
        }
    }

    /// Whether the last response states its length. If not, its end may be a broken connection.
    pub fn has_length(&self) -> bool {
        self.last("content-length").is_some()
    }

    pub fn into_reader(self) -> impl Read {
        self.body.into_reader()
    }
}

/// The certificates that this machine trusts. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others. If there are none,
/// Mozilla's.
fn root_certificates() -> Result<RootCerts, String> {
    let loaded = rustls_native_certs::load_native_certs();
    let named =
        ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find(|n| std::env::var_os(n).is_some());
    if let (Some(name), Some(error)) = (named, loaded.errors.first()) {
        return Err(format!("{name} cannot be used: {error}"));
    }
    let found = loaded.certs;
    if found.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    let own = found.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned());
    Ok(RootCerts::new_with_certs(&own.collect::<Vec<_>>()))
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let url: Uri = url.parse().ok()?;
    let scheme = url.scheme_str()?.to_lowercase();
    let port = url.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, url.host()?.to_lowercase(), port))
}

/// The URL that a redirect leads to.
fn redirected(from: &str, to: &str) -> Result<String, Failure> {
    let (scheme, rest) = from.split_once("://").unwrap_or(("https", from));
    let host = rest.split('/').next().unwrap_or_default();
    let path = from.split(['?', '#']).next().unwrap_or(from);
    let is_absolute = to.split(['/', '?', '#']).next().is_some_and(|start| start.ends_with(':'));
    let url = match to {
        _ if is_absolute => to.to_string(),
        _ if to.starts_with("//") => format!("{scheme}:{to}"),
        _ if to.starts_with('/') => format!("{scheme}://{host}{to}"),
        _ => format!("{}/{to}", path.rsplit_once('/').map_or(path, |(folder, _)| folder)),
    };
    if !["https://", "http://"].iter().any(|start| url.to_lowercase().starts_with(start)) {
        return Err(Failure::lasting(format!("the hub redirects to {to:?}, not a web address")));
    }
    if scheme.eq_ignore_ascii_case("https") && !url.to_lowercase().starts_with("https://") {
        return Err(Failure::lasting("the hub redirects from https to an unencrypted address"));
    }
    Ok(url)
}

fn refused(status: StatusCode) -> Failure {
    let why = match status.as_u16() {
        404 => "not found on the hub (404): check the name and the revision".to_string(),
        code @ (401 | 403) => format!(
            "the hub refuses access ({code}): wrong name, or a private or gated repository; set HF_TOKEN"
        ),
        code => format!("the hub answered {code}: try again later"),
    };
    Failure { why, may_pass: status.is_server_error() || status.as_u16() == 429 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say_and_never_out_of_encryption() {
        let to = |from: &str, to: &str| redirected(from, to).map_err(|e| e.why);
        let from = "https://hub.example/a/b";
        assert_eq!(to(from, "/c").unwrap(), "https://hub.example/c");
        assert_eq!(to(from, "c?x=1").unwrap(), "https://hub.example/a/c?x=1");
        assert_eq!(to(from, "//cdn.example/c").unwrap(), "https://cdn.example/c");
        assert_eq!(
            to(from, "/login?next=https://x").unwrap(),
            "https://hub.example/login?next=https://x"
        );
        assert_eq!(to("https://hub.example/a?b=/c/d", "e").unwrap(), "https://hub.example/e");
        assert!(to(from, "file:///etc/passwd").is_err());
        assert_eq!(to(from, "https://cdn.example/c").unwrap(), "https://cdn.example/c");
        assert!(to(from, "http://cdn.example/c").is_err());
        assert!(to("http://127.0.0.1:80/a", "http://cdn.example/c").is_ok());
        assert_eq!(origin("https://Hub.example/a"), origin("https://hub.example:443"));
        assert_ne!(origin("http://127.0.0.1:1/a"), origin("http://127.0.0.1:2/a"));
        assert_ne!(origin("http://hub.example"), origin("https://hub.example"));
    }
}
