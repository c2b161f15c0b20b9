//! What strangers send, and that nobody else notices.

use super::client::Client;
use super::house::House;
use super::{JSON, PROTOBUF, assert_secure};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Everything that comes until the other side closes; it must close.
fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut all = Vec::new();
    let mut piece = [0; 64 * 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("it was not closed: {error}"),
        }
    }
}

/// What is answered to these bytes, and that the connection ends behind it.
fn sent(house: &House, bytes: &[u8]) -> String {
    let mut client = house.client();
    client.stream.write_all(bytes).unwrap();
    String::from_utf8_lossy(&until_closed(&mut client.stream)).into_owned()
}

fn is_well(house: &House) {
    assert_eq!(house.client().get("/livez", &[]).status, 200);
}

#[test]
fn requests_that_two_readers_would_read_in_two_ways_are_refused_and_nothing_behind_them_is_served() {
    let house = House::alone(|_| {});
    let hidden = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
    for head in [
        "POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd",
        "POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-length: +4\r\n\r\nabcd",
        "POST /v1/events HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /livez HTTP/1.1\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        "GET /live\0z HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: a\r\nx : b\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: a\r\nx: b\r\n folded\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}",
        "GET /livez HTTP/9.9\r\nhost: a\r\n\r\n",
        "not http at all\r\n\r\n",
    ] {
        let answer = sent(&house, format!("{head}{hidden}").as_bytes());
        assert!(!answer.contains("200 OK"), "{head:?}: {answer}");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{head:?}: {answer}");
    }
    is_well(&house);
}

#[test]
fn a_head_that_does_not_end_ends_the_connection_the_first_time_and_later() {
    let house = House::alone(|config| {
        config.head_deadline_ms = 3_000;
        config.keep_alive_s = 1;
    });
    let mut first = house.client();
    first.stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nx: ").unwrap();
    let answer = until_closed(&mut first.stream);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    // The same behind a good request on the same connection.
    let mut later = house.client();
    assert_eq!(later.get("/livez", &[]).status, 200);
    later.stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").unwrap();
    until_closed(&mut later.stream);
    // And in one piece with it, so that nothing more ever comes.
    let mut at_once = house.client();
    at_once.stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\nGET /livez HTTP/1.1\r\nx: ").unwrap();
    assert!(until_closed(&mut at_once.stream).starts_with(b"HTTP/1.1 200"));
    // One who never says anything.
    until_closed(&mut house.client().stream);
    is_well(&house);
}

#[test]
fn a_body_that_trickles_does_not_keep_its_connection() {
    let house = House::with_bus(|config| config.body_deadline_ms = 200);
    let mut client = house.client();
    client.head("POST /api/v1/recovery/orders", &[JSON, ("content-length", "1000")]);
    client.stream.write_all(b"{").unwrap();
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    assert_secure(&answer);
    // A body where none is read.
    let mut client = house.client();
    client.head("GET /livez", &[("content-length", "1000000")]);
    assert_eq!(client.answer().status, 200);
    until_closed(&mut client.stream);
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let house = House::alone(|config| {
        config.write_deadline_ms = 200;
        config.keep_alive_s = 1;
        config.head_deadline_ms = 3_000;
    });
    let whole = house.client().get("/api/v1/openapi.json", &[]).body.len();
    let mut client = house.client();
    let asked = 400;
    for _ in 0..asked {
        // A server that stopped reading, because its answers are not read, leaves no room some time.
        if client.stream.write_all(b"GET /api/v1/openapi.json HTTP/1.1\r\nhost: a\r\n\r\n").is_err() {
            break;
        }
    }
    let mut peek = client.stream.try_clone().unwrap();
    wait_for_reset(&peek);
    let got = until_closed(&mut peek).len();
    assert!(got < whole * asked, "{got} of {}", whole * asked);
    is_well(&house);
}

/// Waits, without reading, until the other side has closed the connection.
fn wait_for_reset(stream: &TcpStream) {
    use std::os::fd::AsRawFd as _;
    let inode = std::fs::read_link(format!("/proc/self/fd/{}", stream.as_raw_fd())).unwrap();
    let inode = inode.to_string_lossy().trim_start_matches("socket:[").trim_end_matches(']').to_owned();
    let begun = std::time::Instant::now();
    loop {
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let state =
            table.lines().find(|line| line.split_whitespace().nth(9) == Some(&inode)).and_then(|line| line.split_whitespace().nth(3));
        // 01 is established: anything else is the beginning of the end.
        if state != Some("01") {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it was not cut off");
        std::thread::yield_now();
    }
}

#[test]
fn slow_sockets_push_out_each_other_and_nobody_who_asks() {
    let house = House::alone(|config| {
        config.connections_max = 20;
        config.head_deadline_ms = 600_000;
        config.keep_alive_s = 600;
    });
    let mut slow: Vec<Client> = Vec::new();
    for number in 0..300 {
        let mut client = house.client();
        let _ = client.stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nx: ");
        slow.push(client);
        if number % 10 == 9 {
            is_well(&house);
        }
    }
    let open = slow.iter().filter(|client| {
        client.stream.set_nonblocking(true).unwrap();
        matches!(client.stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    });
    assert!(open.count() < 300, "with room for 40, most are gone");
}

#[test]
fn whoever_has_something_to_say_is_heard_through_a_flood_of_junk() {
    let house = House::with_bus(|_| {});
    let (stop, junk) = (AtomicBool::new(false), AtomicU64::new(0));
    let address = house.gateway.address();
    let before = house.last();
    std::thread::scope(|scope| {
        for flood in 0..6 {
            let (stop, junk, address) = (&stop, &junk, &address);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut client = Client::to(address);
                    let answer = match flood % 3 {
                        0 => client.post("/v1/traces", &[PROTOBUF], &[0xff; 3_000]),
                        1 => client.post("/v1/events", &[JSON], b"[[[[[[[[[[{"),
                        _ => client.get("/%00/../../etc/passwd", &[("authorization", "Bearer junk")]),
                    };
                    assert!((400..500).contains(&answer.status), "{}", answer.status);
                    junk.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut client = Client::to(&address);
        for number in 0..200 {
            let event = json!({"kind": "heartbeat", "service": "shop", "at_ms": number, "up_s": 1, "interval_s": 1}).to_string();
            assert_eq!(client.post("/v1/events", &[JSON], event.as_bytes()).status, 200);
            assert_eq!(client.get("/api/v1/alerts", &[]).status, 200);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(house.last(), before + 200, "nothing lost, and nothing of the junk taken");
    assert!(junk.load(Ordering::Relaxed) > 50, "{junk:?}");
}

#[test]
fn names_with_control_characters_reach_no_log_line_no_metric_and_no_header() {
    let house = House::with_bus(|_| {});
    let name = "a\r\nset-cookie: x\u{1b}[2J\u{0}b";
    let event = json!({"kind": "heartbeat", "service": name, "at_ms": 5, "up_s": 1, "interval_s": 1}).to_string();
    let key = [JSON, ("idempotency-key", "a\tb")];
    assert_eq!(house.client().post("/v1/events", &key, event.as_bytes()).status, 200);
    for path in [
        "/metrics",
        "/metrics/per-object",
        "/api/v1/status",
        "/readyz/a%0d%0aset-cookie:%20x",
        "/api/v1/alerts?service=%0d%0aset-cookie:x",
        "/api/v1/alerts/%1b%5b2J",
    ] {
        let answer = house.client().get(path, &[]);
        assert!(answer.header("set-cookie").is_none(), "{path}");
        assert!(!answer.body.iter().any(|byte| byte.is_ascii_control() && *byte != b'\n'), "{path}: {}", answer.text());
    }
}

#[test]
fn an_outage_behind_it_does_not_hold_up_a_probe_and_is_nobody_elses_business() {
    let house = House::with_bus(|config| config.auth = homeostat::gateway::AuthMode::Always);
    house.readiness.standby(true);
    (0..2).for_each(|_| house.readiness.database(Some(Duration::ZERO)));
    let mut client = house.client();
    assert_eq!(client.get("/readyz", &[]).text(), "ready\n");
    (0..3).for_each(|_| house.readiness.database(None));
    house.readiness.bus(false);
    house.bus_down.send_replace(None);
    for path in ["/readyz", "/healthz?verbose", "/health/readiness", "/readyz/shop"] {
        let answer = client.get(path, &[]);
        assert_eq!(answer.status, 503, "{path}");
        let text = answer.text();
        assert!(
            !["nats", "sqlite", "bus", "database", "postgres", "connect"].iter().any(|word| text.to_lowercase().contains(word)),
            "{path}: {text}"
        );
    }
    assert_eq!(client.get("/livez", &[]).text(), "ok\n");
}
