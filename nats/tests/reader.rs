//! The reader against a real server: no gap, no repeat, whatever happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use homeostat_nats::{Entry, Message, Reader, ReaderError, ReaderOptions, StreamConfig};
use support::{World, event, soon, world, world_with};

async fn read_to(reader: &mut Reader, last: u64) -> Vec<Entry> {
    let mut all = Vec::new();
    while all.last().is_none_or(|entry: &Entry| entry.seq < last) {
        all.extend(soon(reader.next()).await.unwrap());
    }
    all
}

fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}

fn filtered(subject: &str) -> ReaderOptions {
    ReaderOptions { filters: vec![subject.to_owned()], ..ReaderOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_everything_in_order_from_any_sequence() {
    let w = world().await;
    soon(w.log.append_all((1..=5_000).map(event).collect())).await.unwrap();
    for from in [0, 1, 2, 4_999, 5_000] {
        let mut reader = Reader::open(&w.log, from, ReaderOptions::default()).await.unwrap();
        let all = read_to(&mut reader, 5_000).await;
        assert_eq!(seqs(&all), (from.max(1)..=5_000).collect::<Vec<_>>());
        assert_eq!(&all[0].payload[..], format!("event {}", from.max(1)).as_bytes());
    }
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_at_the_end_and_takes_what_comes() {
    let w = world().await;
    let mut reader = Reader::open(&w.log, 1, ReaderOptions::default()).await.unwrap();
    for n in 1..=50 {
        let (seq, batch) = tokio::join!(w.log.append(event(n)), soon(reader.next()));
        assert_eq!(seqs(&batch.unwrap()), [seq.unwrap()]);
    }
    assert_eq!((reader.position(), reader.restarts()), (51, 1 - 1));
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_bounded_by_count_and_by_bytes() {
    let w = world().await;
    let big = Message::new("homeostat.v1.event.query.shop", vec![1; 300_000]);
    soon(w.log.append_all((1..=500).map(event).collect())).await.unwrap();
    soon(w.log.append_all(vec![big; 20])).await.unwrap();
    let options = ReaderOptions { batch_max: 64, bytes_max: 1_000_000, ..ReaderOptions::default() };
    let mut reader = Reader::open(&w.log, 1, options).await.unwrap();
    let mut all = Vec::new();
    while all.len() < 520 {
        let batch = soon(reader.next()).await.unwrap();
        assert!(batch.len() <= 64);
        assert!(batch.iter().map(|e| e.payload.len()).sum::<usize>() <= 1_300_000);
        all.extend(seqs(&batch));
    }
    assert_eq!(all, (1..=520).collect::<Vec<_>>());
    assert_eq!(reader.restarts(), 0);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_skip_without_alarm() {
    let w = world().await;
    for n in 1..=30 {
        let kind = if n % 3 == 0 { "alert.query.slow.shop" } else { "event.query.shop" };
        w.log.append(Message::new(format!("homeostat.v1.{kind}"), "")).await.unwrap();
    }
    let mut reader = Reader::open(&w.log, 1, filtered("homeostat.v1.alert.>")).await.unwrap();
    let all = read_to(&mut reader, 30).await;
    assert_eq!(seqs(&all), (1..=10).map(|n| n * 3).collect::<Vec<_>>());
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_may_be_dropped_at_any_moment() {
    let w = world().await;
    let mut reader = Reader::open(&w.log, 1, ReaderOptions { batch_max: 7, ..ReaderOptions::default() }).await.unwrap();
    let writing = async {
        for n in 1..=300 {
            w.log.append(event(n)).await.unwrap();
        }
    };
    let reading = async {
        let mut all = Vec::new();
        let mut micros = 0;
        while all.last() != Some(&300) {
            micros = (micros + 37) % 900;
            if let Ok(batch) = tokio::time::timeout(Duration::from_micros(micros), reader.next()).await {
                all.extend(seqs(&batch.unwrap()));
            }
        }
        all
    };
    let ((), all) = soon(async { tokio::join!(writing, reading) }).await;
    assert_eq!(all, (1..=300).collect::<Vec<_>>());
    w.server.stop().await;
}

/// Publishes 1..=count, each exactly once though the server may be dying.
async fn write_through(w: &World, count: u64) {
    for n in 1..=count {
        let message = event(usize::try_from(n).unwrap());
        while w.log.append_if(message.clone(), n - 1).await.is_err() {
            match w.log.last_on(&message.subject).await {
                Ok(Some(entry)) if entry.seq == n => break,
                _ => tokio::task::yield_now().await,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_gap_and_no_repeat_when_the_server_is_killed_again_and_again() {
    let w = world().await;
    let mut reader = Reader::open(&w.log, 1, ReaderOptions::default()).await.unwrap();
    let writing = write_through(&w, 4_000);
    let reading = read_to(&mut reader, 4_000);
    let killing = async {
        for _ in 0..4 {
            w.kill_server().await;
            soon(async { while w.bus.ping(Duration::from_millis(500)).await.is_err() {} }).await;
        }
    };
    let ((), all, ()) = tokio::join!(writing, reading, killing);
    assert_eq!(seqs(&all), (1..=4_000).collect::<Vec<_>>());
    for entry in &all {
        assert_eq!(&entry.payload[..], format!("event {}", entry.seq).as_bytes());
    }
    assert!(reader.restarts() >= 1);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_deleted_is_made_anew() {
    let w = world().await;
    let mut reader = Reader::open(&w.log, 1, ReaderOptions::default()).await.unwrap();
    w.log.append(event(1)).await.unwrap();
    assert_eq!(seqs(&soon(reader.next()).await.unwrap()), [1]);
    let stream = w.bus.jetstream().get_stream("homeostat").await.unwrap();
    let mut names = stream.consumer_names();
    let mut deleted = 0;
    while let Some(name) = futures::StreamExt::next(&mut names).await {
        let name = name.unwrap();
        if name.starts_with("reader_") {
            stream.delete_consumer(&name).await.unwrap();
            deleted += 1;
        }
    }
    assert_eq!(deleted, 1);
    w.log.append(event(2)).await.unwrap();
    assert_eq!(seqs(&soon(reader.next()).await.unwrap()), [2]);
    assert_eq!(reader.restarts(), 1);
    w.server.stop().await;
}

async fn overtaken(w: &World, options: ReaderOptions) -> (Vec<u64>, Vec<(u64, u64)>) {
    let subject = "homeostat.v1.event.query.shop";
    w.log.append(event(1)).await.unwrap();
    let mut reader = Reader::open(&w.log, 1, options).await.unwrap();
    let mut read = seqs(&soon(reader.next()).await.unwrap());
    let big = Message::new(subject, vec![1; 50_000]);
    let last = *soon(w.log.append_all(vec![big; 60])).await.unwrap().last().unwrap();
    let mut holes = Vec::new();
    while read.last() != Some(&last) {
        match soon(reader.next()).await {
            Ok(batch) => read.extend(seqs(&batch)),
            Err(ReaderError::Overtaken { wanted, first }) => holes.push((wanted, first)),
            Err(other) => panic!("{other}"),
        }
    }
    (read, holes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_removed_is_said_and_the_rest_is_read() {
    for options in [ReaderOptions::default(), filtered("homeostat.v1.event.>")] {
        let w = world_with(StreamConfig { max_bytes: 256 * 1024, ..StreamConfig::default() }).await;
        // What one pull request asks for is on its way before it can be removed: keep it small.
        let options = ReaderOptions { batch_max: 2, ..options };
        let (read, holes) = overtaken(&w, options).await;
        assert!(!holes.is_empty());
        let missing: Vec<u64> = (1..=61).filter(|seq| !read.contains(seq)).collect();
        assert!(!missing.is_empty());
        for seq in missing {
            assert!(holes.iter().any(|(wanted, first)| (wanted..first).contains(&&seq)), "{seq} is not in {holes:?}");
        }
        assert!(read.is_sorted());
        w.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_gone_or_still_to_come_is_said_at_once() {
    let w = world_with(StreamConfig { max_bytes: 256 * 1024, ..StreamConfig::default() }).await;
    let big = Message::new("homeostat.v1.event.query.shop", vec![1; 50_000]);
    soon(w.log.append_all(vec![big; 20])).await.unwrap();
    let first = w.log.bounds().await.unwrap().first;
    let mut reader = Reader::open(&w.log, 2, ReaderOptions::default()).await.unwrap();
    match soon(reader.next()).await {
        Err(ReaderError::Overtaken { wanted: 2, first: said }) => assert_eq!(said, first),
        other => panic!("{other:?}"),
    }
    assert_eq!(seqs(&read_to(&mut reader, 20).await), (first..=20).collect::<Vec<_>>());
    // From the beginning, what went before does not matter.
    let mut reader = Reader::open(&w.log, 1, ReaderOptions::default()).await.unwrap();
    assert_eq!(seqs(&read_to(&mut reader, 20).await), (first..=20).collect::<Vec<_>>());
    let mut reader = Reader::open(&w.log, 22, ReaderOptions::default()).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(soon(reader.next()).await, Err(ReaderError::Ahead { wanted: 22, last: 20 })));
    }
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_message_that_expired_is_no_alarm() {
    let w = world().await;
    w.log.append(event(1)).await.unwrap();
    w.log.append(Message::new("homeostat.v1.dead.query", "x").with("Nats-TTL", "1s")).await.unwrap();
    w.log.append(event(3)).await.unwrap();
    soon(async {
        while w.log.get(2).await.unwrap().is_some() {
            tokio::task::yield_now().await
        }
    })
    .await;
    let mut reader = Reader::open(&w.log, 1, ReaderOptions::default()).await.unwrap();
    assert_eq!(seqs(&read_to(&mut reader, 3).await), [1, 3]);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_log_ends_the_reader() {
    let w = world().await;
    w.log.append(event(1)).await.unwrap();
    let mut reader = Reader::open(&w.log, 1, ReaderOptions::default()).await.unwrap();
    soon(reader.next()).await.unwrap();
    w.bus.jetstream().delete_stream("homeostat").await.unwrap();
    w.second().await;
    let error = soon(reader.next()).await.unwrap_err();
    assert!(error.to_string().contains("re-created"), "{error}");
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_never_arrived_is_fetched_again() {
    let w = world().await;
    let mut reader = Reader::open(&w.log, 1, ReaderOptions::default()).await.unwrap();
    w.log.append(event(1)).await.unwrap();
    assert_eq!(seqs(&soon(reader.next()).await.unwrap()), [1]);
    // Somebody else takes deliveries of our consumer, as a slow client or a cut line would.
    let stream = w.bus.jetstream().get_stream("homeostat").await.unwrap();
    let name = soon(futures::StreamExt::next(&mut stream.consumer_names())).await.unwrap().unwrap();
    let client = w.bus.client();
    let mut thief = client.subscribe("thief").await.unwrap();
    let pull = format!("$JS.API.CONSUMER.MSG.NEXT.homeostat.{name}");
    client.publish_with_reply(pull, "thief", r#"{"batch":5,"expires":60000000000}"#.into()).await.unwrap();
    client.flush().await.unwrap();
    for n in 2..=20 {
        w.log.append(event(n)).await.unwrap();
    }
    assert!(soon(futures::StreamExt::next(&mut thief)).await.unwrap().status.is_none());
    assert_eq!(seqs(&read_to(&mut reader, 20).await), (2..=20).collect::<Vec<_>>());
    assert!(reader.restarts() >= 1);
    w.server.stop().await;
}
