//! A web address and an MQTT broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use blemish::Error;
use percent_encoding::percent_decode_str;
use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::deliver::{LOOK_EVERY, Receiver};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The ports of MQTT, plain and with TLS (IANA).
const MQTT_PORT: u16 = 1883;
const MQTTS_PORT: u16 = 8883;

/// The certificates that this machine trusts.
fn trusted() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

fn parsed(flag: &str, url: &str, schemes: &[&str], like: &str) -> Result<Uri, Error> {
    let uri = url.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    uri.filter(|uri| uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme)))
        .ok_or_else(|| Error::setting(flag, format!("is no address; give one like {like}")))
}

/// A web address.
pub struct Webhook {
    agent: Agent,
    url: String,
}

impl Webhook {
    pub fn new(url: &str) -> Result<Self, Error> {
        parsed("webhook", url, &["http", "https"], "http://plant:9000/inspection")?;
        let certificates = trusted();
        let certificates = certificates.iter().map(|one| Certificate::from_der(one).to_owned());
        let roots = RootCerts::new_with_certs(&certificates.collect::<Vec<_>>());
        let agent = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            // A redirect would drop the result.
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("blemish/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(Self { agent: agent.into(), url: url.into() })
    }
}

impl Receiver for Webhook {
    fn name(&self) -> &str {
        "--webhook"
    }

    fn send(&mut self, row: &str) -> Result<(), String> {
        let request = self.agent.post(&self.url).content_type("application/json");
        let status = request.send(row).map_err(|error| error.to_string())?.status();
        if status.is_success() { Ok(()) } else { Err(format!("the answer is {status}")) }
    }
}

/// A part of an address, where `%40` is `@`.
fn decoded(part: &str) -> Result<String, Error> {
    let text = percent_decode_str(part).decode_utf8();
    Ok(text.map_err(|_| Error::setting("mqtt", "is not UTF-8 after decoding its %"))?.into_owned())
}

fn tls() -> Result<TlsConfiguration, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted());
    if roots.is_empty() {
        let why = "needs certificates that this machine trusts; install some, or set SSL_CERT_FILE";
        return Err(Error::setting("mqtt", why));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Error::setting("mqtt", error.to_string()))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConfiguration::Rustls(Arc::new(config)))
}

/// A topic of an MQTT broker.
pub struct Mqtt {
    options: MqttOptions,
    topic: String,
    /// None after a failure: what it has under way is dropped with it.
    open: Option<(Client, Connection)>,
}

impl Mqtt {
    pub fn new(url: &str) -> Result<Self, Error> {
        const LIKE: &str = "mqtt://broker:1883/line3/inspection";
        let uri = parsed("mqtt", url, &["mqtt", "mqtts"], LIKE)?;
        let topic = decoded(uri.path().trim_start_matches('/'))?;
        if topic.is_empty() || topic.contains(['+', '#']) {
            let why = format!("has no topic that can be published to; give one like {LIKE}");
            return Err(Error::setting("mqtt", why));
        }
        // A name of its own for each process, because a broker ends the older one of two.
        let id = format!("blemish-{}", std::process::id());
        let host = uri.host().unwrap_or_default();
        let has_tls = uri.scheme_str() == Some("mqtts");
        let port = uri.port_u16().unwrap_or(if has_tls { MQTTS_PORT } else { MQTT_PORT });
        let mut options = MqttOptions::new(id, host.trim_matches(['[', ']']), port);
        options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(1 << 20, 1 << 20);
        let user = uri.authority().and_then(|all| all.as_str().rsplit_once('@'));
        if let Some((user, password)) =
            user.map(|(user, _)| user.split_once(':').unwrap_or((user, "")))
        {
            options.set_credentials(decoded(user)?, decoded(password)?);
        }
        if has_tls {
            options.set_transport(Transport::tls_with_config(tls()?));
        }
        Ok(Self { options, topic, open: None })
    }

    fn publish(
        (client, connection): &mut (Client, Connection),
        topic: &str,
        row: &str,
    ) -> Result<(), String> {
        client
            .try_publish(topic, QoS::AtLeastOnce, false, row.as_bytes())
            .map_err(|error| error.to_string())?;
        let start = Instant::now();
        loop {
            let left = PATIENCE.checked_sub(start.elapsed());
            let left = left.ok_or("the broker does not confirm the result")?;
            match connection.recv_timeout(left) {
                Ok(Ok(Event::Incoming(Packet::PubAck(_)))) => return Ok(()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("the broker does not answer".into()),
            }
        }
    }
}

impl Receiver for Mqtt {
    fn name(&self) -> &str {
        "--mqtt"
    }

    fn send(&mut self, row: &str) -> Result<(), String> {
        let open = self.open.get_or_insert_with(|| Client::new(self.options.clone(), 4));
        let result = Self::publish(open, &self.topic, row);
        if result.is_err() {
            self.open = None;
        }
        result
    }

    fn idle(&mut self) {
        // It answers the broker, and tells it that the client is there.
        let events = self.open.as_mut().map(|(_, connection)| connection.recv_timeout(LOOK_EVERY));
        if let Some(Ok(Err(_))) = events {
            self.open = None;
        }
    }
}
