//! Who sent a request, and what they may do.
//!
//! A key comes in a header and nowhere else: `Authorization: Bearer hst_…` or `X-API-Key: hst_…`. Whoever can reach a listener on
//! loopback is on this machine already and needs none, unless `gateway.auth` says otherwise; a key that is shown there is judged all
//! the same.
//!
//! Promises
//! - A-1 A path is served only to somebody who has the scope that its [`Endpoint`] names; the check is part of the path's own route,
//!   so that no spelling of an address goes around it.
//! - A-2 Every refusal is the same 401, whatever was wrong with the key, and its time says no more than its text.
//! - A-3 A key in an address is refused even where none is needed: it stands in logs and histories by then.

use super::Gate;
use super::client::Forwarded;
use super::problem::Problem;
use super::routes::{Access, Endpoint};
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use futures::future::BoxFuture;
use homeostat_schemas::Scope;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use crate::keys::{Principal, Refused as Refusal};

/// Longest text that could be a key, bytes.
const KEY_MAX: usize = 256;
/// How every key of ours begins.
const PREFIX: &str = "hst_";
/// A refusal goes out at a multiple of this after the request came: a key that is no key is known in nanoseconds, one that was revoked
/// after a look at the database, and nobody outside is to see which it was.
const REFUSAL_STEP: Duration = Duration::from_millis(10);
/// Names under which keys stand in addresses.
const QUERY_NAMES: &[&str] = &["key", "api_key", "api-key", "apikey", "x-api-key", "access_token", "token", "authorization"];

/// Judges keys.
pub trait Authenticate: Send + Sync {
    /// Whose key this is, or why it is not accepted. `source` is where it came from.
    fn authenticate<'a>(&'a self, key: &'a str, source: IpAddr) -> BoxFuture<'a, Result<Arc<Principal>, Refusal>>;

    /// Is there any key at all? Asked once, at the start of a gateway that needs them, so that it can say what to do.
    fn any(&self) -> BoxFuture<'_, bool>;
}

/// Who sent a request, and from where. Handlers take it as an argument.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub who: Who,
    /// The address it came from, behind the proxies of the settings.
    pub source: IpAddr,
}

/// Who sent a request.
#[derive(Debug, Clone)]
pub enum Who {
    /// Somebody on this machine, who was not asked for a key and may do everything.
    Local,
    /// Somebody who showed no key, where none is needed for what everybody may see.
    Anyone,
    /// The holder of a key.
    Key(Arc<Principal>),
}

impl Caller {
    /// May they?
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        match &self.who {
            Who::Local => true,
            Who::Anyone => false,
            Who::Key(principal) => principal.scopes.contains(&scope),
        }
    }

    /// # Errors
    /// 403 when they may not.
    pub fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.may(scope) { Ok(()) } else { Err(Problem::forbidden(scope)) }
    }

    /// The name for a record: `key:<id>`, or `local`.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.who {
            Who::Local => "local".to_owned(),
            Who::Anyone => "anyone".to_owned(),
            Who::Key(principal) => format!("key:{}", principal.key),
        }
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Caller, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Put there by the route's own check; a route without one serves nobody.
        ready(request.extensions().get::<Caller>().cloned().ok_or_else(Problem::unauthorized))
    }
}

/// Judges a request.
///
/// # Errors
/// 401, 403, 503, 400 for a key in the address, 421 for a name that is not this gateway's.
pub(super) async fn judge(gate: &Gate, request: &HttpRequest, endpoint: Option<&Endpoint>) -> Result<Caller, Problem> {
    let begun = Instant::now();
    if in_query(request.query_string()) {
        return Err(Problem::bad_request(
            "a key goes into the header Authorization: Bearer; one that was in an address stands in logs by now, so revoke it",
        ));
    }
    let Forwarded { source, by_proxy } = gate.forwarded.source(request);
    let needed = gate.keys_needed || by_proxy && !is_loopback(source);
    let who = match shown(request.headers()) {
        Shown::Key(key) if needed || key.starts_with(PREFIX) && gate.state.keys.is_some() => match verify(gate, key, source).await {
            Ok(principal) => Who::Key(principal),
            Err(Refusal::Busy) => return Err(Problem::unavailable("keys cannot be checked now; ask again")),
            Err(Refusal::Invalid) => {
                uniform(begun).await;
                return Err(Problem::unauthorized());
            }
        },
        Shown::Nothing | Shown::Key(_) | Shown::Ambiguous if !needed => {
            gate.hosts.check(request)?;
            Who::Local
        }
        Shown::Nothing if endpoint.is_none_or(|endpoint| endpoint.access.is_open()) => Who::Anyone,
        Shown::Nothing | Shown::Key(_) | Shown::Ambiguous => {
            uniform(begun).await;
            return Err(Problem::unauthorized());
        }
    };
    let caller = Caller { who, source };
    if let Some(Endpoint { access: Access::Needs(scope), .. }) = endpoint {
        caller.needs(*scope)?;
        // What is remembered of a key is worth nothing where one would not be told of its end.
        if let (Who::Key(_), Some(keys)) = (&caller.who, &gate.state.registry)
            && !keys.replicas.allows(*scope)
        {
            return Err(Problem::unavailable("the bus has not been heard, so keys cannot be trusted here now; ask another process"));
        }
    }
    Ok(caller)
}

async fn verify(gate: &Gate, key: &str, source: IpAddr) -> Result<Arc<Principal>, Refusal> {
    match &gate.state.keys {
        Some(keys) => keys.authenticate(key, source).await,
        None => Err(Refusal::Invalid),
    }
}

/// Waits until the next multiple of [`REFUSAL_STEP`].
async fn uniform(begun: Instant) {
    let steps = begun.elapsed().as_nanos() / REFUSAL_STEP.as_nanos() + 1;
    let until = begun + REFUSAL_STEP * u32::try_from(steps).unwrap_or(1);
    tokio::time::sleep_until(until.into()).await;
}

/// What stands in the headers.
#[derive(Debug, PartialEq, Eq)]
enum Shown<'h> {
    Nothing,
    Key(&'h str),
    /// More than one, or something that no key can be.
    Ambiguous,
}

fn shown(headers: &HeaderMap) -> Shown<'_> {
    let authorization = headers.get_all(header::AUTHORIZATION).map(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    let own = headers.get_all("x-api-key").map(|value| value.to_str().ok().map(str::trim));
    let mut all = authorization.chain(own);
    match (all.next(), all.next()) {
        (None, _) => Shown::Nothing,
        (Some(Some(key)), None) if (1..=KEY_MAX).contains(&key.len()) => Shown::Key(key),
        _ => Shown::Ambiguous,
    }
}

/// Does a key, or something under the name of one, stand in the query string?
fn in_query(query: &str) -> bool {
    let ours = |text: &str| ["hst_live_", "hst_test_"].iter().any(|prefix| text.contains(prefix));
    ours(query)
        || query.split('&').any(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            QUERY_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
        })
}

/// Is it this machine?
pub(super) fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback() || address.to_ipv4_mapped().is_some_and(|address: Ipv4Addr| address.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_key_is_shown_once_and_in_one_way() {
        for good in [("authorization", "Bearer k"), ("authorization", "bearer  k"), ("X-API-Key", " k ")] {
            assert_eq!(shown(&headers(&[good])), Shown::Key("k"), "{good:?}");
        }
        assert_eq!(shown(&headers(&[])), Shown::Nothing);
        let long = "k".repeat(KEY_MAX + 1);
        for bad in [
            &[("authorization", "Bearer")][..],
            &[("authorization", "Basic a2s=")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
            &[("authorization", "Bearer a"), ("x-api-key", "a")],
            &[("x-api-key", &long)],
        ] {
            assert_eq!(shown(&headers(bad)), Shown::Ambiguous, "{bad:?}");
        }
    }

    #[test]
    fn keys_in_addresses_are_seen() {
        for bad in ["key=1", "a=1&API_KEY=x", "access_token", "x=hst_live_abc", "hst_test_abc"] {
            assert!(in_query(bad), "{bad}");
        }
        for good in ["", "service=shop", "monkey=1", "service=key"] {
            assert!(!in_query(good), "{good}");
        }
    }

    #[test]
    fn whoever_is_nobody_may_nothing() {
        let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let principal = Principal { key: "k".into(), owner: "shop".into(), scopes: [Scope::Metrics].into(), version: 1, expires_ms: None };
        let may = |who: Who| {
            let caller = Caller { who, source };
            Scope::ALL.iter().filter(|scope| caller.may(**scope)).count()
        };
        assert_eq!([may(Who::Anyone), may(Who::Key(Arc::new(principal))), may(Who::Local)], [0, 1, Scope::ALL.len()]);
    }
}
