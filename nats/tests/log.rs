//! Append, compare-and-swap, look-up, streams and their migration, refused publishes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use homeostat_nats::{AppendError, Bus, BusConfig, BusError, Message, StreamConfig};
use support::{event, soon, world, world_with};

#[tokio::test(flavor = "multi_thread")]
async fn appends_are_stored_in_order_and_can_be_looked_up() {
    let w = world().await;
    let bounds = w.log.bounds().await.unwrap();
    assert_eq!((bounds.last, bounds.messages), (0, 0));
    let message = event(1).with("traceparent", "00-1").with("Content-Type", "application/json");
    assert_eq!(soon(w.log.append(message)).await.unwrap(), 1);
    let seqs = soon(w.log.append_all((2..=3_000).map(event).collect())).await.unwrap();
    assert_eq!(seqs, (2..=3_000).collect::<Vec<u64>>());
    let first = w.log.get(1).await.unwrap().unwrap();
    assert_eq!((first.seq, &first.payload[..]), (1, &b"event 1"[..]));
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert!(first.at_ms > 1_700_000_000_000);
    let last = w.log.last_on("homeostat.v1.event.query.shop").await.unwrap().unwrap();
    assert_eq!((last.seq, &last.payload[..]), (3_000, &b"event 3000"[..]));
    assert!(w.log.get(3_001).await.unwrap().is_none());
    assert!(w.log.last_on("homeostat.v1.event.query.nobody").await.unwrap().is_none());
    assert!(w.bus.ping(Duration::from_secs(5)).await.unwrap() < Duration::from_secs(5));
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_message_id_is_stored_once() {
    let w = world().await;
    let message = event(1).with("Nats-Msg-Id", "f00");
    assert_eq!(w.log.append(message.clone()).await.unwrap(), 1);
    assert_eq!(w.log.append(message).await.unwrap(), 1);
    assert_eq!(w.log.bounds().await.unwrap().messages, 1);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_compare_and_swaps_one_wins() {
    let w = world().await;
    let answer = |n: usize| Message::new("homeostat.v1.answer.probe", format!("{n}"));
    let all = (0..20).map(|n| w.log.append_if(answer(n), 0));
    let results = soon(futures::future::join_all(all)).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    let conflicts = results.iter().filter(|r| matches!(r, Err(AppendError::Conflict { expected: 0, .. })));
    assert_eq!(conflicts.count(), 19);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipelined_append_says_which_messages_were_not_stored() {
    let w = world().await;
    let mut messages: Vec<Message> = (0..600).map(event).collect();
    messages[3] = Message::new("homeostat.v1.event.query.big", vec![0; 2_000_000]);
    messages[400] = Message::new("elsewhere.x", "");
    let error = soon(w.log.append_all(messages)).await.unwrap_err();
    let failed: Vec<usize> = error.failed.iter().map(|(index, _)| *index).collect();
    assert_eq!((error.total, failed), (600, vec![3, 400]));
    assert_eq!(w.log.bounds().await.unwrap().messages, 598);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_finds_the_same_log_and_a_recreated_one_is_noticed() {
    let w = world().await;
    let other = w.second().await;
    assert_eq!(other.incarnation(), w.log.incarnation());
    w.bus.jetstream().delete_stream("homeostat").await.unwrap();
    let fresh = w.second().await;
    assert_ne!(fresh.incarnation(), w.log.incarnation());
    assert!(matches!(w.log.bounds().await, Err(BusError::Recreated { .. })));
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_start_at_once_agree_on_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let server = homeostat_nats::Embedded::start(support::server_config(dir.path())).await.unwrap();
    let config = server.bus_config(&BusConfig::default());
    let starts = (0..6).map(|_| async {
        let bus = Bus::connect(&config).await.unwrap();
        bus.ensure_log().await.unwrap().incarnation().to_owned()
    });
    let mut ids = soon(futures::future::join_all(starts)).await;
    ids.dedup();
    assert_eq!(ids.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_migrated_and_never_drop_data_unasked() {
    let w = world().await;
    soon(w.log.append_all(vec![Message::new("homeostat.v1.event.query.shop", vec![1; 10_000]); 50])).await.unwrap();
    let with = |stream: StreamConfig| {
        let config = BusConfig { stream, ..w.bus.config().clone() };
        async move { soon(async { Bus::connect(&config).await.unwrap().ensure_log().await }).await }
    };
    let raised = StreamConfig { max_bytes: 5 << 30, archive_max_bytes: 1 << 29, ..StreamConfig::default() };
    let log = with(raised.clone()).await.unwrap();
    assert_eq!(log.incarnation(), w.log.incarnation());
    let info = w.bus.jetstream().get_stream("homeostat").await.unwrap();
    assert_eq!(info.cached_info().config.max_bytes, 5 << 30);
    assert!(info.cached_info().config.allow_atomic_publish);
    let lowered = StreamConfig { max_bytes: 100_000, ..raised };
    let error = with(lowered.clone()).await.unwrap_err();
    assert!(matches!(error, BusError::WouldDropData { limit: "max_bytes", .. }), "{error}");
    assert_eq!(w.log.bounds().await.unwrap().messages, 50);
    with(StreamConfig { allow_data_loss: true, ..lowered }).await.unwrap();
    assert!(w.log.bounds().await.unwrap().messages < 10);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_held_by_another_stream_are_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let server = homeostat_nats::Embedded::start(support::server_config(dir.path())).await.unwrap();
    let bus = Bus::connect(&server.bus_config(&BusConfig::default())).await.unwrap();
    let foreign = homeostat_nats::async_nats::jetstream::stream::Config {
        name: "other".to_owned(),
        subjects: vec!["homeostat.>".to_owned()],
        ..Default::default()
    };
    bus.jetstream().create_stream(foreign).await.unwrap();
    let error = soon(bus.ensure_log()).await.unwrap_err().to_string();
    assert!(error.contains("another stream holds these subjects"), "{error}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_keeps_outputs_after_the_log_dropped_them() {
    let w = world_with(StreamConfig { max_bytes: 256 * 1024, ..StreamConfig::default() }).await;
    for kind in ["alert.query.slow.shop", "command.cache.warm.shop", "outcome.cache.warm.shop", "ask.probe"] {
        w.log.append(Message::new(format!("homeostat.v1.{kind}"), kind)).await.unwrap();
    }
    soon(async {
        while w.log.archive_bounds().await.unwrap().messages < 3 {
            tokio::task::yield_now().await
        }
    })
    .await;
    soon(w.log.append_all(vec![Message::new("homeostat.v1.event.query.shop", vec![1; 100_000]); 8])).await.unwrap();
    assert!(w.log.bounds().await.unwrap().first > 4);
    let archive = w.bus.jetstream().get_stream("homeostat_archive").await.unwrap();
    let mut kept = Vec::new();
    for seq in 1..=3 {
        kept.push(archive.get_raw_message(seq).await.unwrap().subject.to_string());
    }
    assert_eq!(
        kept,
        ["homeostat.v1.alert.query.slow.shop", "homeostat.v1.command.cache.warm.shop", "homeostat.v1.outcome.cache.warm.shop"]
    );
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_root_lives_beside_it() {
    let w = world().await;
    let config = BusConfig { root: "acme.v1".to_owned(), ..w.bus.config().clone() };
    let other = soon(async { Bus::connect(&config).await.unwrap().ensure_log().await.unwrap() }).await;
    assert_eq!(other.stream(), "acme");
    other.append(Message::new(other.subject("tick"), "")).await.unwrap();
    assert_eq!(w.log.bounds().await.unwrap().messages, 0);
    assert!(matches!(other.append(event(1)).await, Err(BusError::Invalid { .. })));
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_message_expires_by_itself() {
    let w = world().await;
    w.log.append(Message::new("homeostat.v1.dead.query", "x").with("Nats-TTL", "1s")).await.unwrap();
    w.log.append(event(1)).await.unwrap();
    soon(async {
        while w.log.get(1).await.unwrap().is_some() {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert_eq!(w.log.bounds().await.unwrap().messages, 1);
    w.server.stop().await;
}

/// A server on which one user may not write alerts.
async fn restricted(dir: &std::path::Path) -> (std::process::Child, String) {
    let port = support::free_port();
    let conf = dir.join("server.conf");
    let text = format!(
        r#"
        listen: "127.0.0.1:{port}"
        jetstream {{ store_dir: "{}" }}
        authorization {{ users: [
            {{ user: boss, password: b }}
            {{ user: app, password: a, permissions: {{ publish: {{ deny: ["homeostat.v1.alert.>"] }} }} }}
        ] }}
        "#,
        dir.join("js").display()
    );
    std::fs::write(&conf, text).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let binary = std::iter::once(support::tools_dir())
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join("nats-server"))
        .find(|path| path.is_file())
        .expect("nats-server: run scripts/install-nats-server");
    let child = std::process::Command::new(binary).arg("--config").arg(&conf).stderr(std::process::Stdio::null()).spawn().unwrap();
    (child, format!("nats://127.0.0.1:{port}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_publish_is_noticed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, url) = restricted(dir.path()).await;
    let user = |name: &str, password: &str| BusConfig {
        url: url.clone(),
        user: Some(name.to_owned()),
        password: Some(password.to_owned()),
        request_timeout_ms: 20_000,
        ..BusConfig::default()
    };
    let boss = user("boss", "b");
    let bus = soon(async {
        loop {
            if let Ok(bus) = Bus::connect(&boss).await {
                break bus;
            }
        }
    })
    .await;
    bus.ensure_log().await.unwrap();
    let app = Bus::connect(&user("app", "a")).await.unwrap().open_log().await.unwrap();
    app.append(event(1)).await.unwrap();
    let alert = Message::new("homeostat.v1.alert.query.slow.shop", "");
    let start = std::time::Instant::now();
    let error = soon(app.append(alert.clone())).await.unwrap_err();
    assert!(matches!(error, BusError::Denied { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(15), "it waited for the deadline");
    // On core NATS there is nobody to tell but the state.
    let mut state = app.bus().state();
    let before = state.borrow_and_update().violations;
    app.bus().publish(&alert).await.unwrap();
    soon(state.wait_for(|s| s.violations > before)).await.unwrap();
    let wrong = Bus::connect(&user("app", "wrong")).await.unwrap_err();
    assert!(matches!(wrong, BusError::Connect { .. }), "{wrong}");
    server.kill().unwrap();
    server.wait().unwrap();
}
