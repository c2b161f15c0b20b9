//! The table `[gateway]` of the settings.

use super::auth::is_loopback;
use super::client::ForwardedHeader;
use super::tls::{GatewayTls, TlsError};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How HTTP is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Address and port to listen on; port 0 takes any free one.
    pub listen: String,
    /// Who needs an API key: `beyond_loopback`, everybody if the gateway listens on an address that other machines can reach; or
    /// `always`, also those on this machine. Probes need none.
    pub auth: AuthMode,
    /// Ask nobody for a key although the gateway listens beyond loopback. Whoever reaches the port can then read alerts, write telemetry
    /// and give orders: for demonstrations, and behind a proxy that asks for keys itself.
    pub insecure_allow_remote: bool,
    /// Proxies that say truly for whom they forward a request: addresses or networks (`10.0.0.0/8`). Limits hold for that client then,
    /// and a client from another machine needs a key even where this machine does not.
    pub trusted_proxies: Vec<String>,
    /// Which header those proxies write: `x-forwarded-for` or `forwarded`. No other one is believed.
    pub forwarded_header: ForwardedHeader,
    /// Names, beside its address and those of this machine, under which the gateway may be asked without a key. A page in a browser can
    /// point a name of its own at this machine.
    pub hosts: Vec<String>,
    /// Requests to the API a minute from one source (an address, or a /64 of IPv6); then 429. Not for those who need no key.
    pub api_per_minute: u64,
    /// Requests to the API a minute with one key, from all sources; then 429.
    pub key_per_minute: u64,
    /// Telemetry a second with one key, MiB after decompression, and four times as much at once; then 503.
    pub intake_mb_per_s: u64,
    /// Threads that serve requests.
    pub workers: usize,
    /// Connections open at once, per worker. For one more, the one that has waited longest without a request at work is closed.
    pub connections_max: usize,
    /// How long an idle connection is kept, seconds.
    pub keep_alive_s: u64,
    /// How long a client may take to send the head of a request, milliseconds; then 408.
    pub head_deadline_ms: u64,
    /// How long a client may take to send a body, milliseconds; then 408.
    pub body_deadline_ms: u64,
    /// How long an answer may wait for a client to read it, milliseconds, and a second more for every KiB that was read; then the connection
    /// is cut.
    pub write_deadline_ms: u64,
    /// How long a request may take in all, milliseconds; then 503.
    pub request_deadline_ms: u64,
    /// How long the stream may take to acknowledge what an intake stores, milliseconds; then 503.
    pub store_deadline_ms: u64,
    /// Largest body of an OTLP request after decompression, bytes; then 413. The specification suggests 20 MiB.
    pub otlp_body_max_bytes: usize,
    /// Largest body of `/v1/events` after decompression, bytes; then 413.
    pub events_body_max_bytes: usize,
    /// Objects of each mind (statements, breakers, series, …) that `/metrics/per-object` shows; what is left out is counted there.
    pub metrics_objects_max: usize,
    /// Requests to the API at work at once; more are answered 503 at once.
    pub api_max: usize,
    /// Intake requests at work at once, their bodies read; more are answered 503 at once, and their senders try again.
    pub intake_max: usize,
    /// Memory for the bodies of all intake requests at work together, MiB; then 503.
    pub intake_memory_mb: usize,
    /// Clients of `/api/v1/stream` at once; then 503.
    pub stream_clients_max: usize,
    /// How often an idle stream says that it is still there, seconds.
    pub stream_keep_alive_s: u64,
    /// Certificate and key, if the gateway is to speak TLS.
    pub tls: GatewayTls,
    /// How long requests at work may take to end when the process stops, seconds.
    pub stop_deadline_s: u64,
    /// API keys.
    pub keys: crate::keys::KeysConfig,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        GatewayConfig {
            listen: "127.0.0.1:8080".to_owned(),
            auth: AuthMode::default(),
            insecure_allow_remote: false,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            hosts: Vec::new(),
            api_per_minute: 100,
            key_per_minute: 600,
            intake_mb_per_s: 64,
            workers: 2,
            connections_max: 1_024,
            keep_alive_s: 75,
            head_deadline_ms: 5_000,
            body_deadline_ms: 15_000,
            write_deadline_ms: 30_000,
            request_deadline_ms: 30_000,
            store_deadline_ms: 10_000,
            otlp_body_max_bytes: 20 * 1024 * 1024,
            events_body_max_bytes: 4 * 1024 * 1024,
            metrics_objects_max: 200,
            api_max: 256,
            intake_max: 64,
            intake_memory_mb: 256,
            stream_clients_max: 64,
            stream_keep_alive_s: 15,
            tls: GatewayTls::default(),
            stop_deadline_s: 5,
            keys: crate::keys::KeysConfig::default(),
        }
    }
}

/// Who needs an API key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Everybody, if the gateway listens on an address that other machines can reach.
    #[default]
    BeyondLoopback,
    /// Everybody.
    Always,
}

/// Settings with which the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address is none.
    #[error("gateway.listen: `{listen}` is no address: {reason}; write for example 127.0.0.1:8080")]
    Listen {
        /// The setting.
        listen: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No network.
    #[error("gateway.trusted_proxies: `{0}` is neither an address nor a network; write for example 10.0.0.7 or 10.0.0.0/8")]
    Proxy(String),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operating system refuses the address.
    #[error("gateway.listen: {address} cannot be used: {source}; is another process using it?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server did not start.
    #[error("the gateway did not start: {0}")]
    Start(String),
}

impl GatewayConfig {
    /// Whether the address can be one, without asking anybody: a name is not looked up, as it may mean something else here than
    /// where the gateway will run.
    ///
    /// # Errors
    /// As [`addresses`](Self::addresses).
    pub fn check(&self) -> Result<(), GatewayError> {
        if let Some(wrong) = self.trusted_proxies.iter().find(|text| network(text).is_none()) {
            return Err(GatewayError::Proxy(wrong.clone()));
        }
        self.tls.files()?;
        if self.listen.parse::<SocketAddr>().is_ok() {
            return self.addresses().map(drop);
        }
        let bad = |reason: &str| Err(GatewayError::Listen { listen: self.listen.clone(), reason: reason.to_owned() });
        match self.listen.rsplit_once(':') {
            None => bad("it has no port"),
            Some((_, port)) if port.parse::<u16>().is_err() => bad("its port is no number up to 65535"),
            Some((host, _)) if host.is_empty() || host.contains(|c: char| c.is_whitespace() || matches!(c, ':' | '/' | '@')) => {
                bad("its host is neither an address nor a name")
            }
            Some(_) => Ok(()),
        }
    }

    /// How its address begins: `http`, or `https`.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.tls.cert.is_some() { "https" } else { "http" }
    }

    /// Does a request need a key, if the gateway listens there?
    #[must_use]
    pub fn keys_needed(&self, bound: IpAddr) -> bool {
        self.auth == AuthMode::Always || !is_loopback(bound) && !self.insecure_allow_remote
    }

    /// The networks of the proxies; what is none is left out, [`check`](Self::check) has said so.
    pub(super) fn proxies(&self) -> Vec<IpNet> {
        self.trusted_proxies.iter().filter_map(|text| network(text)).collect()
    }

    /// The addresses to listen on. A name may have several (`localhost`).
    ///
    /// # Errors
    /// No address.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, GatewayError> {
        use std::net::ToSocketAddrs as _;
        let bad = |reason: String| GatewayError::Listen { listen: self.listen.clone(), reason };
        let addresses: Vec<SocketAddr> = self.listen.to_socket_addrs().map_err(|error| bad(error.to_string()))?.collect();
        if addresses.is_empty() {
            return Err(bad("the name has no address".to_owned()));
        }
        Ok(addresses)
    }

    /// Is this URL (`http://127.0.0.1:8080/v1/traces`) the gateway's own, on this machine, as far as the settings tell?
    #[must_use]
    pub fn is_at(&self, url: &str, this_host: &str) -> bool {
        let Some((scheme, rest)) = url.trim().split_once("://") else { return false };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
        let usual = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
        let (there, here) = (place(authority, usual), place(&self.listen, 0));
        let ((there, port), (here, own_port)) = (there, here);
        if port != own_port || port == 0 {
            return false;
        }
        let local = |host: &str| {
            host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
        };
        let every = here.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        there.eq_ignore_ascii_case(here)
            || local(there) && local(here)
            || every && !this_host.is_empty() && there.eq_ignore_ascii_case(this_host)
    }

    pub(super) const fn body_deadline(&self) -> Duration {
        Duration::from_millis(self.body_deadline_ms)
    }

    pub(super) const fn request_deadline(&self) -> Duration {
        Duration::from_millis(self.request_deadline_ms)
    }

    pub(super) const fn store_deadline(&self) -> Duration {
        Duration::from_millis(self.store_deadline_ms)
    }
}

/// An address or a network.
fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical())))
}

/// Host and port of `host:port`, `[address]:port`, or either without the port.
fn place(text: &str, usual: u16) -> (&str, u16) {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(0)),
        _ => (text, usual),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_are_needed_beyond_loopback_or_when_somebody_says_so() {
        let needed = |listen: &str, auth: AuthMode, insecure_allow_remote: bool| {
            let config = GatewayConfig { listen: listen.to_owned(), auth, insecure_allow_remote, ..GatewayConfig::default() };
            config.addresses().unwrap().iter().any(|address| config.keys_needed(address.ip()))
        };
        use AuthMode::{Always, BeyondLoopback};
        for local in ["127.0.0.1:0", "[::1]:8080", "127.9.9.9:1", "[::ffff:127.0.0.1]:1"] {
            assert!(!needed(local, BeyondLoopback, false) && needed(local, Always, true), "{local}");
        }
        for remote in ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:80"] {
            assert!(
                needed(remote, BeyondLoopback, false) && !needed(remote, BeyondLoopback, true) && needed(remote, Always, true),
                "{remote}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_an_error() {
        let check = |listen: &str| GatewayConfig { listen: listen.to_owned(), ..GatewayConfig::default() }.check();
        for good in ["127.0.0.1:0", "[::1]:8080", "0.0.0.0:1", "localhost:80", "a-name.that.nobody.knows:1"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for wrong in ["", "127.0.0.1", "127.0.0.1:99999", "http://localhost:80", ":80", "::1:x"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        let proxies = |network: &str| GatewayConfig { trusted_proxies: vec![network.to_owned()], ..GatewayConfig::default() }.check();
        assert!(["10.0.0.0/8", "10.0.0.1", "fd00::/8", "::1"].iter().all(|network| proxies(network).is_ok()));
        assert!(["10.0.0.0/33", "proxy", ""].iter().all(|network| proxies(network).is_err()));
    }

    #[test]
    fn its_own_address_is_known_under_all_its_names() {
        let at = |listen: &str, url: &str| GatewayConfig { listen: listen.to_owned(), ..GatewayConfig::default() }.is_at(url, "box");
        for own in ["http://127.0.0.1:8080", "http://localhost:8080/", "http://[::1]:8080/v1/traces", "HTTP://LOCALHOST:8080"] {
            assert!(at("127.0.0.1:8080", own), "{own}");
            assert!(at("0.0.0.0:8080", own), "{own}");
        }
        assert!(at("[::]:8080", "http://box:8080") && at("10.0.0.1:80", "http://u:p@10.0.0.1"));
        for other in ["http://127.0.0.1:4318", "http://collector:8080", "", "127.0.0.1:8080", "http://box:8080", "http://127.0.0.1"] {
            assert!(!at("127.0.0.1:8080", other), "{other}");
        }
        assert!(!at("127.0.0.1:0", "http://127.0.0.1:0"));
    }
}
