//! Checkpoints: what is pointed to can be loaded, whoever crashed when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use homeostat_nats::checkpoint::CHUNK_BYTES;
use homeostat_nats::{Bus, BusConfig, CheckpointError, Checkpoints, Embedded, Log, Outbox, OutboxOptions, RunInfo, fault};
use support::{alert, process, soon, world};

fn state(n: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 31 + n) as u8).collect()
}

async fn save(store: &Checkpoints, outbox: &mut Outbox, position: u64, bytes: &[u8]) -> String {
    let name = store.save("query", position, bytes).await.unwrap();
    let head = outbox.note_checkpoint(position, name.clone()).await.unwrap();
    store.settle(&head).await.unwrap();
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_any_size_comes_back_as_it_was() {
    let w = world().await;
    let store = Checkpoints::of(&w.log);
    for bytes in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3_000_000] {
        let before = state(bytes, bytes);
        let name = soon(store.save("query", 7, &before)).await.unwrap();
        assert_eq!(soon(store.load("query", &name)).await.unwrap(), before);
        assert_eq!(Checkpoints::position_of(&name), Some(7));
    }
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_two_are_kept_and_older_ones_deleted() {
    let w = world().await;
    let store = Checkpoints::of(&w.log);
    let (mut outbox, _) = Outbox::open(&w.log, "query", OutboxOptions::default()).await.unwrap();
    let mut names = Vec::new();
    for n in 1..=5 {
        names.push(soon(save(&store, &mut outbox, n, &state(1, 700_000))).await);
    }
    let kept: Vec<String> = store.stored("query").await.unwrap().into_iter().collect();
    assert_eq!(kept, names[3..]);
    let pointer = store.pointer("query").await.unwrap().unwrap();
    assert_eq!((&pointer.current, pointer.previous.as_ref()), (&names[4], Some(&names[3])));
    // Settling again changes nothing.
    store.settle(outbox.head().unwrap()).await.unwrap();
    assert_eq!(store.pointer("query").await.unwrap().unwrap(), pointer);
    assert_eq!(store.candidates("query", outbox.head()).await.unwrap(), [names[4].clone(), names[3].clone()]);
    assert_eq!(store.candidates("query", None).await.unwrap().len(), 2);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crashed_writer_left_is_deleted_and_what_is_pointed_to_never() {
    let w = world().await;
    let store = Checkpoints::of(&w.log).with_leftover_age(Duration::ZERO);
    let (mut outbox, _) = Outbox::open(&w.log, "query", OutboxOptions::default()).await.unwrap();
    let before = store.save("query", 1, b"left behind").await.unwrap();
    let ahead = store.save("query", 9, b"somebody is at work").await.unwrap();
    let other = store.save("drift", 1, b"another actor's").await.unwrap();
    let first = save(&store, &mut outbox, 2, b"first").await;
    let second = save(&store, &mut outbox, 3, b"second").await;
    let kept = store.stored("query").await.unwrap();
    assert!(!kept.contains(&before));
    assert!(kept.contains(&first) && kept.contains(&second) && kept.contains(&ahead));
    assert!(store.stored("drift").await.unwrap().contains(&other));
    // A young one is left alone.
    let careful = Checkpoints::of(&w.log);
    let young = careful.save("query", 1, b"young").await.unwrap();
    save(&careful, &mut outbox, 4, b"third").await;
    assert!(careful.stored("query").await.unwrap().contains(&young));
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_does_not_move_the_pointer_back() {
    let w = world().await;
    let store = Checkpoints::of(&w.log);
    let (mut one, _) = Outbox::open(&w.log, "query", OutboxOptions::default()).await.unwrap();
    let name = store.save("query", 1, b"one").await.unwrap();
    let old = one.note_checkpoint(1, name).await.unwrap();
    let (mut two, _) = Outbox::open(&w.log, "query", OutboxOptions::default()).await.unwrap();
    let newer = save(&store, &mut two, 2, b"two").await;
    store.settle(&old).await.unwrap();
    assert_eq!(store.pointer("query").await.unwrap().unwrap().current, newer);
    assert_eq!(&store.load("query", &newer).await.unwrap()[..], b"two");
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_noticed() {
    let w = world().await;
    let store = Checkpoints::of(&w.log);
    let name = store.save("query", 1, &state(1, 2 * CHUNK_BYTES)).await.unwrap();
    let kv = w.bus.jetstream().get_key_value("homeostat_checkpoints").await.unwrap();
    let key = format!("chunk.query.{name}.1");
    kv.put(&key, state(2, CHUNK_BYTES).into()).await.unwrap();
    assert!(matches!(store.load("query", &name).await, Err(CheckpointError::Damaged { .. })));
    kv.put(&key, state(1, CHUNK_BYTES + 1).into()).await.unwrap();
    assert!(matches!(store.load("query", &name).await, Err(CheckpointError::Damaged { .. })));
    let stream = w.bus.jetstream().get_stream("KV_homeostat_checkpoints").await.unwrap();
    stream.purge().filter(format!("$KV.homeostat_checkpoints.{key}")).await.unwrap();
    assert!(matches!(store.load("query", &name).await, Err(CheckpointError::Missing { chunk: 1, .. })));
    assert!(matches!(store.load("query", "x.>").await, Err(CheckpointError::BadName(_))));
    w.server.stop().await;
}

/// One life of an actor that publishes and saves, as far as the fault point lets it: it goes on
/// where the log says that it stopped.
async fn life(log: &Log, until: u64) {
    let store = Checkpoints::of(log);
    let (mut outbox, head) = Outbox::open(log, "query", OutboxOptions::default()).await.unwrap();
    let mut position = 0;
    if let Some(name) = store.candidates("query", head.as_ref()).await.unwrap().first() {
        position = Checkpoints::position_of(name).unwrap();
        let loaded = store.load("query", name).await.unwrap();
        assert_eq!(loaded, state(usize::try_from(position).unwrap(), 600_000));
    }
    while position < until {
        position += 1;
        let outputs = vec![alert(position, 0), alert(position, 1)];
        outbox.publish(outputs, position, None).await.unwrap();
        if position % 3 == 0 {
            let bytes = state(usize::try_from(position).unwrap(), 600_000);
            save(&store, &mut outbox, position, &bytes).await;
        }
    }
}

/// Not a test: the process that dies at a fault point, started by the one below.
#[tokio::test(flavor = "multi_thread")]
async fn an_actor() {
    let Ok(run) = std::env::var("HOMEOSTAT_TEST_RUN") else { return };
    let run: RunInfo = serde_json::from_str(&run).unwrap();
    let bus = Bus::connect(&run.bus_config(&BusConfig::default())).await.unwrap();
    life(&bus.ensure_log().await.unwrap(), 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_an_actor_loses_and_repeats_nothing() {
    let mut deaths = 0;
    for (point, _) in fault::POINTS {
        let dir = tempfile::tempdir().unwrap();
        let server = soon(Embedded::start(support::server_config(dir.path()))).await.unwrap();
        let bus = soon(Bus::connect(&server.bus_config(&BusConfig::default()))).await.unwrap();
        let log = soon(bus.ensure_log()).await.unwrap();
        let run = serde_json::to_string(server.run_info()).unwrap();
        for pass in [1, 2, 4] {
            let fault = format!("{point}:{pass}");
            let variables = [("HOMEOSTAT_TEST_RUN", run.as_str()), ("HOMEOSTAT_FAULT", fault.as_str())];
            let mut actor = process("an_actor", &variables);
            let status = tokio::task::spawn_blocking(move || actor.output()).await.unwrap().unwrap().status;
            deaths += usize::from(std::os::unix::process::ExitStatusExt::signal(&status) == Some(9));
        }
        soon(life(&log, 12)).await;
        let w = support::World { server, bus, log, dir };
        let wanted: Vec<String> = (1..=12).flat_map(|p| [format!("{p}.0"), format!("{p}.1")]).collect();
        assert_eq!(w.alerts().await, wanted, "{point}");
        // Leftovers are young, but bounded by the number of deaths.
        let kept = Checkpoints::of(&w.log).stored("query").await.unwrap();
        assert!((2..=5).contains(&kept.len()), "{point}: {kept:?}");
        soon(w.server.stop()).await;
    }
    assert!(deaths > fault::POINTS.len() * 3 / 2, "only {deaths} deaths: the points are not passed");
}
