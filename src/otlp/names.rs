//! Names from outside: made short, and free of values.

use homeostat_schemas::event::SERVICE_MAX;
use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_64;

/// The service of a resource without a name, as the specification says.
const UNKNOWN_SERVICE: &str = "unknown_service";
/// Longest route, operation and span name.
pub(super) const NAME_MAX: usize = 256;

/// A service's name: 1 to 64 bytes.
pub(super) fn service(name: Option<&str>) -> String {
    bounded(name.filter(|name| !name.is_empty()).unwrap_or(UNKNOWN_SERVICE), SERVICE_MAX)
}

/// At most `max` bytes. What is longer ends in a hash of the whole, so that two long names stay two names.
pub(super) fn bounded(name: &str, max: usize) -> String {
    if name.len() <= max {
        return name.to_owned();
    }
    let hash = format!("~{:08x}", xxh3_64(name.as_bytes()) >> 32);
    let mut short = cut(name, max.saturating_sub(hash.len())).to_owned();
    short.push_str(&hash);
    short
}

/// The longest beginning of `text` that has at most `max` bytes.
pub(super) fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default()
}

/// An HTTP method; what is none of the known ones is `HTTP`, the word that the conventions put into span names then.
pub(super) fn method(text: Option<&str>) -> &'static str {
    const KNOWN: [&str; 10] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "QUERY"];
    let text = text.unwrap_or_default();
    KNOWN.into_iter().find(|known| text.eq_ignore_ascii_case(known)).unwrap_or("HTTP")
}

/// A span's name without what could be a value: words with digits, addresses and quotes become `?`.
///
/// Span names should be free of values, but are written by hand in applications.
pub(super) fn without_values(name: &str) -> Cow<'_, str> {
    let separator = |c: char| c.is_whitespace() || c.is_control() || "/?&=,;()[]{}<>:|\"'`".contains(c);
    let value = |word: &str| {
        let version =
            word.strip_prefix('v').is_some_and(|rest| !rest.is_empty() && rest.len() <= 2 && rest.bytes().all(|b| b.is_ascii_digit()));
        word.contains('@') || (!version && word.bytes().any(|b| b.is_ascii_digit()))
    };
    if !name.split(separator).any(value) && !name.contains(char::is_control) {
        return Cow::Borrowed(name);
    }
    let mut clean = String::with_capacity(name.len());
    let mut rest = name;
    while !rest.is_empty() {
        let end = rest.find(separator).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        clean.push_str(if value(word) { "?" } else { word });
        let mut tail = tail.chars();
        if let Some(c) = tail.next() {
            clean.push(if c.is_control() { ' ' } else { c });
        }
        rest = tail.as_str();
    }
    Cow::Owned(clean)
}

/// The host (and port, unless it is the scheme's own) of an address, without user, path or query.
pub(super) fn authority(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let usual = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let host = host.strip_suffix(usual).unwrap_or(host);
    (!host.is_empty()).then_some(host)
}

/// Bytes as lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_stay_apart_and_short() {
        let (a, b) = (service(Some(&"ä".repeat(60))), service(Some(&format!("{}b", "ä".repeat(59)))));
        assert!(a.len() <= SERVICE_MAX && b.len() <= SERVICE_MAX && a != b, "{a} {b}");
        assert_eq!(service(None), "unknown_service");
        assert_eq!(service(Some("")), "unknown_service");
        assert_eq!(service(Some("unknown_service:node")), "unknown_service:node");
    }

    #[test]
    fn values_leave_a_span_name_and_templates_stay() {
        for (name, clean) in [
            ("GET /orders/{oid} http send", "GET /orders/{oid} http send"),
            ("request handler - /orders/:id", "request handler - /orders/:id"),
            ("GET /api/v1/orders/17?user=ana@example.com", "GET /api/v1/orders/??user=?"),
            ("charge card 4111-1111", "charge card ?"),
            ("line\r\nbreak", "line  break"),
        ] {
            assert_eq!(without_values(name), clean);
        }
    }

    #[test]
    fn an_address_is_its_host() {
        assert_eq!(authority("https://ana:secret@shop.example:443/a?b=c"), Some("shop.example"));
        assert_eq!(authority("http://127.0.0.1:16202/orders/25"), Some("127.0.0.1:16202"));
        assert_eq!(authority("/orders/25"), None);
        assert_eq!(authority("http:///x"), None);
    }
}
