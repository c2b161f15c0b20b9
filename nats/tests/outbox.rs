//! The outbox against a real server: once, in order, fenced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use homeostat_nats::{Fence, Identity, Message, Outbox, OutboxError, OutboxOptions, Output, StreamConfig};
use support::{alert, event, soon, world, world_with};

fn options() -> OutboxOptions {
    OutboxOptions::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_as_a_unit_behind_its_head() {
    let w = world().await;
    let (mut outbox, head) = Outbox::open(&w.log, "query", options()).await.unwrap();
    assert_eq!(head, None);
    let outputs = (0..5).map(|i| alert(7, i)).collect();
    let head = soon(outbox.publish(outputs, 9, None)).await.unwrap();
    assert_eq!((head.seq, head.position, head.epoch), (1, 9, 1));
    assert_eq!(head.last, Some(Identity { position: 7, index: 4 }));
    let all = w.everything().await;
    let subjects: Vec<_> = all.iter().map(|e| e.subject.as_str()).collect();
    assert_eq!(subjects[0], "homeostat.v1.chain.query");
    assert_eq!(subjects[1..], ["homeostat.v1.alert.query.slow.shop"; 5]);
    assert_eq!(w.alerts().await, ["7.0", "7.1", "7.2", "7.3", "7.4"]);
    assert_eq!(all[3].header("CE-ID"), Some("7.2"));
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_fence_refuses_everything_and_names_the_owner() {
    let w = world().await;
    let (mut one, _) = Outbox::open(&w.log, "query", options()).await.unwrap();
    let (mut two, _) = Outbox::open(&w.log, "query", options()).await.unwrap();
    soon(one.publish(vec![alert(1, 0)], 1, None)).await.unwrap();
    for outputs in [vec![alert(1, 0)], (0..3).map(|i| alert(2, i)).collect(), Vec::new()] {
        let empty = outputs.is_empty();
        let checkpoint = empty.then(|| "c".to_owned());
        match soon(two.publish(outputs, 2, checkpoint)).await {
            Err(OutboxError::Fenced(head)) => assert_eq!(head.owner, one.owner()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(w.alerts().await, ["1.0"]);
    // Whoever reloads goes on, and the former owner is fenced in turn.
    let (mut two, head) = Outbox::open(&w.log, "query", options()).await.unwrap();
    assert_eq!(head.unwrap().last, Some(Identity { position: 1, index: 0 }));
    let head = soon(two.publish(vec![alert(1, 0), alert(2, 0)], 2, None)).await.unwrap();
    assert_eq!(head.epoch, 2);
    assert!(matches!(soon(one.publish(vec![alert(2, 0)], 2, None)).await, Err(OutboxError::Fenced(_))));
    assert_eq!(w.alerts().await, ["1.0", "2.0"]);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_fence_two_owners_double_their_outputs() {
    let w = world().await;
    let off = || OutboxOptions { fence: Fence::Off, ..options() };
    let (mut one, _) = Outbox::open(&w.log, "query", off()).await.unwrap();
    let (mut two, _) = Outbox::open(&w.log, "query", off()).await.unwrap();
    soon(one.publish(vec![alert(1, 0)], 1, None)).await.unwrap();
    soon(two.publish(vec![alert(1, 0)], 1, None)).await.unwrap();
    assert_eq!(w.alerts().await, ["1.0", "1.0"]);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_and_a_half_thousand_outputs_go_in_three_batches_in_order() {
    let w = world().await;
    let (mut outbox, _) = Outbox::open(&w.log, "query", options()).await.unwrap();
    let outputs: Vec<Output> = (0..2_500).map(|i| alert(10 + u64::from(i) / 100, i % 100)).collect();
    let wanted: Vec<String> = outputs.iter().map(|o| o.identity.to_string()).collect();
    let head = soon(outbox.publish(outputs, 99, Some("c".to_owned()))).await.unwrap();
    assert_eq!((head.position, head.checkpoint.as_deref()), (99, Some("c")));
    let all = w.everything().await;
    let heads: Vec<_> = all.iter().filter(|e| e.subject.contains(".chain.")).map(|e| e.seq).collect();
    assert_eq!(heads, [1, 1001, 2001]);
    assert_eq!(w.alerts().await, wanted);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_acknowledgement_is_recognised_and_nothing_is_sent_twice() {
    let w = world().await;
    let (mut outbox, _) = Outbox::open(&w.log, "query", options()).await.unwrap();
    soon(outbox.publish(vec![alert(1, 0)], 1, None)).await.unwrap();
    // Calls dropped at every possible moment: some leave nothing, some half a batch, some a whole
    // one whose acknowledgement nobody heard.
    for micros in (0..4_000).step_by(100) {
        let position = 2 + micros;
        let outputs = vec![alert(position, 0), alert(position, 1)];
        let attempt = outbox.publish(outputs.clone(), position, None);
        let _ = tokio::time::timeout(Duration::from_micros(micros), attempt).await;
        let head = soon(outbox.publish(outputs, position, None)).await.unwrap();
        assert_eq!(head.last, Some(Identity { position, index: 1 }));
    }
    let alerts = w.alerts().await;
    let mut once = alerts.clone();
    once.dedup();
    assert_eq!(alerts, once);
    assert_eq!(alerts.len(), 1 + 40 * 2);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_attempt_that_arrives_late_is_completed_not_repeated() {
    let w = world().await;
    let (mut outbox, _) = Outbox::open(&w.log, "query", options()).await.unwrap();
    for micros in (200..3_000).step_by(200) {
        let position = micros;
        let first = vec![alert(position, 0)];
        let more = vec![alert(position, 0), alert(position, 1), alert(position + 1, 0)];
        let attempt = outbox.publish(first, position, None);
        let _ = tokio::time::timeout(Duration::from_micros(micros), attempt).await;
        soon(outbox.publish(more, position + 1, None)).await.unwrap();
    }
    let alerts = w.alerts().await;
    let wanted: Vec<String> =
        (200..3_000).step_by(200).flat_map(|p| [format!("{p}.0"), format!("{p}.1"), format!("{}.0", p + 1)]).collect();
    assert_eq!(alerts, wanted);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_again_and_again_loses_and_repeats_nothing() {
    let w = world().await;
    let (mut outbox, _) = Outbox::open(&w.log, "query", options()).await.unwrap();
    let writing = async {
        for position in 1..=600 {
            let outputs = (0..4).map(|i| alert(position, i)).collect();
            soon(outbox.publish(outputs, position, None)).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let killing = async {
        for _ in 0..4 {
            w.kill_server().await;
            soon(async { while w.bus.ping(Duration::from_millis(500)).await.is_err() {} }).await;
        }
    };
    tokio::join!(writing, killing);
    let wanted: Vec<String> = (1..=600).flat_map(|p| (0..4).map(move |i| format!("{p}.{i}"))).collect();
    assert_eq!(w.alerts().await, wanted);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_head_begins_the_chain_anew() {
    let small = StreamConfig { max_bytes: 256 * 1024, ..StreamConfig::default() };
    let w = world_with(small).await;
    let (mut outbox, _) = Outbox::open(&w.log, "query", options()).await.unwrap();
    let (mut zombie, _) = Outbox::open(&w.log, "query", options()).await.unwrap();
    soon(outbox.publish(vec![alert(1, 0)], 1, None)).await.unwrap();
    let big = Message::new("homeostat.v1.event.query.shop", vec![b'x'; 100_000]);
    soon(w.log.append_all(vec![big.clone(); 8])).await.unwrap();
    assert!(w.log.last_on("homeostat.v1.chain.query").await.unwrap().is_none());
    // Its own knowledge is older than the log's beginning, and identities still count.
    let head = soon(outbox.publish(vec![alert(1, 0), alert(2, 0)], 2, None)).await.unwrap();
    assert!(head.seq > 8);
    assert_eq!(w.alerts().await, ["2.0"]);
    // Another one with old knowledge does not get past the new head.
    assert!(matches!(soon(zombie.publish(vec![alert(2, 0)], 2, None)).await, Err(OutboxError::Fenced(_))));
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_head_is_an_error_not_a_new_beginning() {
    let w = world().await;
    let (mut outbox, _) = Outbox::open(&w.log, "query", options()).await.unwrap();
    soon(w.log.append(event(0))).await.unwrap();
    soon(outbox.publish(vec![alert(1, 0)], 1, None)).await.unwrap();
    let stream = w.bus.jetstream().get_stream("homeostat").await.unwrap();
    stream.purge().filter("homeostat.v1.chain.query").await.unwrap();
    let error = soon(outbox.publish(vec![alert(2, 0)], 2, None)).await.unwrap_err();
    assert!(matches!(error, OutboxError::Vanished { .. }), "{error}");
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_out_of_order_are_a_mistake_of_the_caller() {
    let w = world().await;
    let (mut outbox, _) = Outbox::open(&w.log, "query", options()).await.unwrap();
    for outputs in [vec![alert(2, 0), alert(1, 0)], vec![alert(1, 0), alert(1, 0)]] {
        let error = outbox.publish(outputs, 2, None).await.unwrap_err();
        assert!(matches!(error, OutboxError::OutOfOrder { .. }), "{error}");
    }
    let bad = Output { message: Message::new("a b", ""), ..alert(1, 1) };
    assert!(soon(outbox.publish(vec![alert(1, 0), bad], 1, None)).await.is_err());
    let foreign = Output { message: Message::new("somewhere.else", ""), ..alert(1, 1) };
    assert!(soon(outbox.publish(vec![alert(1, 0), foreign], 1, None)).await.is_err());
    assert_eq!(w.log.bounds().await.unwrap().messages, 0);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_writes_nothing() {
    let w = world().await;
    let (mut outbox, _) = Outbox::open(&w.log, "query", options()).await.unwrap();
    let head = soon(outbox.publish(vec![alert(1, 0)], 1, None)).await.unwrap();
    let same = soon(outbox.publish(vec![alert(1, 0)], 50, None)).await.unwrap();
    assert_eq!(head, same);
    let noted = soon(outbox.note_checkpoint(60, "c".to_owned())).await.unwrap();
    assert_eq!((noted.position, noted.last, noted.checkpoint.as_deref()), (60, head.last, Some("c")));
    // The pointer stays when outputs follow.
    let head = soon(outbox.publish(vec![alert(61, 0)], 61, None)).await.unwrap();
    assert_eq!(head.checkpoint.as_deref(), Some("c"));
    assert_eq!(w.log.bounds().await.unwrap().last, 5);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_at_once_write_one_sequence() {
    let w = world().await;
    let other = w.second().await;
    // Both work through the same inputs, as two deterministic minds would, and take each other's
    // chain over again and again.
    let owner = |log: homeostat_nats::Log| async move {
        let mut fenced = 0;
        'own: loop {
            let (mut outbox, head) = Outbox::open(&log, "query", options()).await.unwrap();
            let from = head.and_then(|head| head.last).map_or(0, |last| last.position);
            for position in from..=300 {
                let outputs = (0..3).map(|i| alert(position, i)).collect();
                match soon(outbox.publish(outputs, position, None)).await {
                    Ok(_) => {}
                    Err(OutboxError::Fenced(_)) => {
                        fenced += 1;
                        continue 'own;
                    }
                    Err(other) => panic!("{other}"),
                }
                tokio::task::yield_now().await;
            }
            return fenced;
        }
    };
    let (one, two) = tokio::join!(tokio::spawn(owner(w.log.clone())), tokio::spawn(owner(other)));
    assert!(one.unwrap() + two.unwrap() > 0, "they never met");
    let wanted: Vec<String> = (0..=300).flat_map(|p| (0..3).map(move |i| format!("{p}.{i}"))).collect();
    assert_eq!(w.alerts().await, wanted);
    w.server.stop().await;
}
