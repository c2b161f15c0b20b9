//! Where a request comes from, and under which name it asked for us.
//!
//! A header that says for whom a request was forwarded is believed only from a proxy that the settings name, and only the one header
//! that this proxy writes: a client can send any other one itself.

use super::config::GatewayConfig;
use super::problem::Problem;
use actix_web::HttpRequest;
use actix_web::http::{StatusCode, header};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};

/// Longest chain of proxies that is looked at.
const HOPS_MAX: usize = 16;

/// Which header a proxy writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: client, proxy`
    #[default]
    XForwardedFor,
    /// `Forwarded: for=client` (RFC 7239)
    Forwarded,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// The client.
    pub(super) source: IpAddr,
    /// Whether a proxy of the settings brought it.
    pub(super) by_proxy: bool,
}

/// Whom to believe.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    networks: Vec<IpNet>,
    header: ForwardedHeader,
}

impl Proxies {
    pub(super) fn new(config: &GatewayConfig) -> Self {
        Proxies { networks: config.proxies(), header: config.forwarded_header }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// The client of a request: the last address that is not one of our proxies.
    pub(super) fn source(&self, request: &HttpRequest) -> Forwarded {
        let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip()).to_canonical();
        if !self.trusts(peer) {
            return Forwarded { source: peer, by_proxy: false };
        }
        let name = match self.header {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        };
        let lines: Vec<&str> = request.headers().get_all(name).filter_map(|value| value.to_str().ok()).collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
        let mut source = peer;
        for hop in hops.take(HOPS_MAX) {
            let address = match self.header {
                ForwardedHeader::XForwardedFor => address(hop.trim()),
                ForwardedHeader::Forwarded => hop.split(';').find_map(|pair| {
                    let (name, value) = pair.trim().split_once('=')?;
                    name.eq_ignore_ascii_case("for").then(|| address(value.trim().trim_matches('"')))?
                }),
            };
            // What cannot be read was not written by a proxy of ours: the hop before is the last that is known.
            let Some(address) = address else { break };
            source = address;
            if !self.trusts(address) {
                break;
            }
        }
        Forwarded { source, by_proxy: true }
    }
}

/// `10.0.0.1`, `10.0.0.1:80`, `::1`, `[::1]`, `[::1]:80`
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(text);
    let bare = if bare.matches(':').count() == 1 { bare.split(':').next().unwrap_or(bare) } else { bare };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// The names under which requests without a key may ask for this gateway.
///
/// A page in somebody's browser can have its own name point at 127.0.0.1 and then read whatever is served there without a key. Such a
/// name is a public one, with a dot in it; addresses, `localhost` and names of one word cannot be that.
#[derive(Debug, Default)]
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    pub(super) fn new(config: &GatewayConfig) -> Self {
        let mut names = config.hosts.clone();
        names.extend(config.listen.rsplit_once(':').map(|(host, _)| host.to_owned()));
        Hosts(names)
    }

    /// # Errors
    /// 421.
    pub(super) fn check(&self, request: &HttpRequest) -> Result<(), Problem> {
        let named = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
        let named = named.or_else(|| request.uri().authority().map(|authority| authority.as_str())).unwrap_or_default();
        if self.knows(named) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "without a key this gateway answers to addresses and names of this machine; add others to gateway.hosts",
        ))
    }

    fn knows(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let host = host.trim_end_matches('.');
        !host.contains('.')
            || address(host).is_some()
            || host.len() > 10 && host.as_bytes()[host.len() - 10..].eq_ignore_ascii_case(b".localhost")
            || self.0.iter().any(|known| known.eq_ignore_ascii_case(host))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::test::TestRequest;

    fn source(proxies: &[&str], header: ForwardedHeader, peer: &str, lines: &[(&str, &str)]) -> Forwarded {
        let networks = proxies.iter().map(|network| network.parse().unwrap()).collect();
        let mut request = TestRequest::get().peer_addr(peer.parse().unwrap());
        for (name, value) in lines {
            request = request.append_header((*name, *value));
        }
        Proxies { networks, header }.source(&request.to_http_request())
    }

    #[test]
    fn only_proxies_of_the_settings_say_who_the_client_is() {
        use ForwardedHeader::{Forwarded as Rfc, XForwardedFor as X};
        let ours = ["10.0.0.0/8", "fd00::/8"];
        let told = |header, peer, lines: &[_]| source(&ours, header, peer, lines).source.to_string();
        assert_eq!(told(X, "192.0.2.9:5", &[("x-forwarded-for", "203.0.113.1")]), "192.0.2.9");
        assert_eq!(told(X, "10.1.1.1:5", &[("x-forwarded-for", "203.0.113.1")]), "203.0.113.1");
        assert_eq!(told(X, "[::ffff:10.1.1.1]:5", &[("x-forwarded-for", "203.0.113.1:99")]), "203.0.113.1");
        // What the client itself put in front is not believed, nor is the header that our proxy does not write.
        assert_eq!(told(X, "10.1.1.1:5", &[("x-forwarded-for", "127.0.0.1, 203.0.113.1, 10.2.2.2")]), "203.0.113.1");
        assert_eq!(told(X, "10.1.1.1:5", &[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "203.0.113.1")]), "203.0.113.1");
        assert_eq!(told(X, "10.1.1.1:5", &[("forwarded", "for=127.0.0.1")]), "10.1.1.1");
        assert_eq!(told(X, "10.1.1.1:5", &[("x-forwarded-for", "127.0.0.1, unknown")]), "10.1.1.1");
        assert_eq!(told(Rfc, "10.1.1.1:5", &[("forwarded", r#"For="[2001:db8::1]:77";proto=https, for=10.3.3.3"#)]), "2001:db8::1");
    }

    #[test]
    fn a_public_name_that_points_here_is_not_ours() {
        let hosts = Hosts(vec!["homeostat.example.org".into()]);
        for good in ["", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "box", "a.localhost", "Homeostat.Example.org:1", "::1"] {
            assert!(hosts.knows(good), "{good}");
        }
        for bad in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example.", "notlocalhost.x"] {
            assert!(!hosts.knows(bad), "{bad}");
        }
    }
}
