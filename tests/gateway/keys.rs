//! Who is let in, and how often.

use super::client::{Answer, Client};
use super::house::House;
use super::{JSON, PROTOBUF, assert_problem, assert_secure};
use futures::future::{BoxFuture, ready};
use homeostat::gateway::{Authenticate, GatewayConfig, Principal, Refusal};
use homeostat_schemas::Scope;
use serde_json::json;
use std::sync::Arc;

/// `hst_test_<scopes>` is a key with these scopes, `hst_test_busy` one that cannot be judged now.
struct Keys;

impl Authenticate for Keys {
    fn authenticate<'a>(&'a self, key: &'a str, _: std::net::IpAddr) -> BoxFuture<'a, Result<Arc<Principal>, Refusal>> {
        let judged = match key.strip_prefix("hst_test_") {
            Some("busy") => Err(Refusal::Busy),
            Some(scopes) => {
                scopes.split(',').map(|scope| scope.parse().map_err(|_| Refusal::Invalid)).collect::<Result<_, _>>().map(|scopes| {
                    Arc::new(Principal { key: "k1".to_owned(), owner: "shop".to_owned(), scopes, version: 1, expires_ms: None })
                })
            }
            None => Err(Refusal::Invalid),
        };
        Box::pin(ready(judged))
    }

    fn any(&self) -> BoxFuture<'_, bool> {
        Box::pin(ready(true))
    }
}

fn house(change: impl FnOnce(&mut GatewayConfig)) -> House {
    House::with_keys(true, Keys, change)
}

fn bearer(scopes: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer hst_test_{scopes}"))
}

fn get(client: &mut Client, path: &str, scopes: &str) -> Answer {
    let (name, value) = bearer(scopes);
    client.get(path, &[(name, &value)])
}

#[test]
fn every_refusal_is_the_same_401() {
    let house = house(|_| {});
    let long = format!("Bearer {}", "x".repeat(4_000));
    let cases: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("authorization", "Bearer junk")],
        vec![("authorization", "Bearer hst_live_0123456789ab_not_a_key")],
        vec![("authorization", "Basic aHN0OmhzdA==")],
        vec![("authorization", &long)],
        vec![("authorization", "Bearer hst_test_metrics"), ("authorization", "Bearer hst_test_metrics")],
        vec![("authorization", "Bearer hst_test_metrics"), ("x-api-key", "hst_test_metrics")],
        vec![("x-api-key", "junk")],
        vec![("cookie", "key=hst_test_metrics")],
    ];
    let mut seen = Vec::new();
    for path in ["/metrics", "/api/v1/status", "/api/v1/alerts/x", "/api/v1/openapi.json", "/api/v1/%73tatus"] {
        for headers in &cases {
            let answer = house.client().get(path, headers);
            assert_problem(&answer, 401);
            let mut headers: Vec<_> = answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
            headers.sort();
            seen.push((headers, answer.body));
        }
    }
    for (path, kind) in [("/v1/traces", PROTOBUF), ("/v1/events", JSON), ("/api/v1/recovery/orders", JSON)] {
        let answer = house.client().post(path, &[kind], b"{}");
        assert_problem(&answer, 401);
        assert_eq!(answer.header("connection"), Some("close"), "its body was not read");
        assert_eq!(answer.body, seen[0].1);
    }
    assert!(seen[0].0.iter().any(|(name, value)| name == "www-authenticate" && value.starts_with("Bearer")));
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    assert_problem(&get(&mut house.client(), "/api/v1/status", "busy"), 503);
}

#[test]
fn a_key_opens_what_its_scopes_say_and_nothing_else() {
    let house = house(|config| config.key_per_minute = 10_000);
    let expected = [
        ("/metrics", "metrics"),
        ("/api/v1/status", "status:read"),
        ("/api/v1/queries", "status:read"),
        ("/api/v1/openapi.json", "status:read"),
        ("/api/v1/alerts", "alerts:read"),
        ("/api/v1/alerts?all", "alerts:read"),
    ];
    let mut client = house.client();
    for (path, needed) in expected {
        for scope in Scope::ALL {
            let answer = get(&mut client, path, scope.name());
            if scope.name() == needed {
                assert_eq!(answer.status, 200, "{path} {scope}");
            } else {
                assert_problem(&answer, 403);
                assert!(answer.json()["detail"].as_str().unwrap().contains(needed), "{}", answer.text());
            }
        }
    }
    let (name, telemetry) = bearer("telemetry:write");
    let body = json!([
        {"kind": "heartbeat", "service": "shop", "at_ms": 5, "up_s": 1, "interval_s": 1},
        {"kind": "order", "service": "homeostat", "at_ms": 5, "action": "recovery.pause", "target": "all", "args": {}, "by": "mallory"},
    ]);
    let answer = house.client().post("/v1/events", &[JSON, (name, &telemetry)], body.to_string().as_bytes());
    let receipt = answer.json();
    assert_eq!((&receipt["accepted"], &receipt["rejected"][0]["index"]), (&json!(1), &json!(1)), "an order is no telemetry");
    assert!(receipt["rejected"][0]["reason"].as_str().unwrap().contains("commands:write"));
    let order = json!({"action": "pause", "target": "all", "by": "mallory"}).to_string();
    assert_problem(&house.client().post("/api/v1/recovery/orders", &[JSON, (name, &telemetry)], order.as_bytes()), 403);
    let (name, commands) = bearer("commands:write");
    assert_eq!(house.client().post("/api/v1/recovery/orders", &[JSON, (name, &commands)], order.as_bytes()).status, 202);
}

#[test]
fn probes_need_no_key_and_say_no_more_than_a_status_without_one() {
    let house = house(|_| {});
    let mut client = house.client();
    for path in ["/livez", "/health/liveness"] {
        assert_eq!(client.get(path, &[]).text(), "ok\n");
    }
    for path in ["/readyz", "/readyz?verbose", "/healthz?verbose", "/health/readiness?verbose"] {
        let answer = client.get(path, &[]);
        assert_eq!((answer.status, answer.text().as_str()), (503, "not ready\n"), "{path}");
        assert_secure(&answer);
    }
    assert!(get(&mut client, "/readyz?verbose", "probe").json()["checks"].is_array());
    assert_eq!(get(&mut client, "/readyz?verbose", "metrics").text(), "not ready\n");
    assert_problem(&get(&mut client, "/readyz", "not-a-scope"), 401);
}

#[test]
fn a_key_in_an_address_is_refused_with_or_without_need() {
    let open = House::alone(|_| {});
    let closed = house(|_| {});
    for house in [&open, &closed] {
        for query in ["key=x", "api_key=x", "access_token=x", "service=hst_live_0123"] {
            let answer = house.client().get(&format!("/api/v1/alerts?{query}"), &[("authorization", "Bearer hst_test_alerts:read")]);
            assert_problem(&answer, 400);
            assert!(!answer.text().contains("0123"), "{}", answer.text());
        }
    }
}

#[test]
fn a_flood_without_a_key_runs_dry_and_takes_nothing_from_a_key_behind_the_same_address() {
    let house = house(|config| {
        config.api_per_minute = 20;
        config.key_per_minute = 15;
    });
    let mut client = house.client();
    let statuses: Vec<u16> = (0..40).map(|_| client.get("/api/v1/status", &[("authorization", "Bearer junk")]).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 20, "{statuses:?}");
    let dry = client.get("/api/v1/status", &[("authorization", "Bearer junk")]);
    assert_problem(&dry, 429);
    assert!(dry.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_problem(&client.get("/nothing", &[]), 404);

    let first = get(&mut client, "/api/v1/status", "status:read");
    assert_eq!(first.status, 200);
    assert_eq!(first.header("ratelimit-policy"), Some("\"api\";q=15;w=60"), "of two limits, the one with less left");
    assert!(first.header("ratelimit").unwrap().starts_with("\"api\";r=14;t="), "{:?}", first.headers);
    let more: Vec<u16> = (0..20).map(|_| get(&mut client, "/api/v1/status", "status:read").status).collect();
    assert_eq!((more.iter().filter(|status| **status == 200).count(), more[19]), (14, 429));
    // Probes, metrics and intake are never answered 429.
    assert_eq!(get(&mut client, "/metrics", "metrics").status, 200);
    assert_eq!(client.get("/livez", &[]).status, 200);
    let (name, value) = bearer("telemetry:write");
    for _ in 0..30 {
        assert_eq!(client.post("/v1/traces", &[PROTOBUF, (name, &value)], b"").status, 200);
    }
}

#[test]
fn sources_are_told_apart_behind_a_proxy_of_the_settings() {
    let house = house(|config| {
        config.api_per_minute = 2;
        config.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    });
    let mut client = house.client();
    let mut ask = |source: &str| {
        let (name, value) = bearer("status:read");
        client.get("/api/v1/status", &[(name, &value), ("x-forwarded-for", source)]).status
    };
    assert_eq!([ask("2001:db8::1"), ask("2001:db8::ffff"), ask("2001:db8::3")], [200, 200, 429], "one subscriber has a /64");
    assert_eq!(
        [ask("2001:db8:0:1::1"), ask("198.51.100.1"), ask("6.6.6.6, 198.51.100.1"), ask("7.7.7.7, 198.51.100.1")],
        [200, 200, 200, 429]
    );
}

#[test]
fn a_client_from_elsewhere_needs_a_key_though_the_proxy_is_here() {
    let house = House::alone(|config| config.trusted_proxies = vec!["127.0.0.1".to_owned()]);
    let mut client = house.client();
    assert_eq!(client.get("/api/v1/status", &[]).status, 200);
    assert_problem(&client.get("/api/v1/status", &[("x-forwarded-for", "203.0.113.9")]), 401);
    assert_eq!(client.get("/livez", &[("x-forwarded-for", "203.0.113.9")]).status, 200);
}

#[test]
fn without_a_verifier_whoever_needs_a_key_is_refused() {
    let house = House::alone(|config| config.auth = homeostat::gateway::AuthMode::Always);
    let mut client = house.client();
    assert_problem(&client.get("/api/v1/status", &[("authorization", "Bearer hst_test_status:read")]), 401);
    assert_eq!(client.get("/livez", &[]).status, 200);
}

#[test]
fn more_telemetry_than_a_sender_may_send_is_put_off_and_not_dropped() {
    let house = house(|config| config.intake_mb_per_s = 1);
    let (name, value) = bearer("telemetry:write");
    // A field that nobody knows, 3 MiB of it: a good export request without spans.
    let length = 3 * 1024 * 1024u32;
    let mut body = vec![
        0x7a,
        (length & 0x7f) as u8 | 0x80,
        (length >> 7 & 0x7f) as u8 | 0x80,
        (length >> 14 & 0x7f) as u8 | 0x80,
        (length >> 21) as u8,
    ];
    body.resize(body.len() + length as usize, 0);
    let answers: Vec<Answer> = (0..3).map(|_| house.client().post("/v1/traces", &[PROTOBUF, (name, &value)], &body)).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 503], "the second one went beyond, the third waits for it");
    assert!(answers[2].header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
}

#[test]
fn a_public_name_that_points_here_is_not_served_without_a_key() {
    let house = House::alone(|config| config.hosts = vec!["homeostat.example.org".to_owned()]);
    let status = |host: &str| {
        use std::io::Write as _;
        let mut client = house.client();
        write!(client.stream, "GET /api/v1/status HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
        client.answer().status
    };
    assert_eq!(
        [status("localhost:1"), status("127.0.0.1"), status("homeostat.example.org"), status("rebound.example.com")],
        [200, 200, 200, 421]
    );
}
