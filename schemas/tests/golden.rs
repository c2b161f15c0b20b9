//! Golden samples: what others write is read, and what is written again is the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use homeostat_schemas::batch::{Format, Frame};
use homeostat_schemas::{Alert, Answer, Ask, Command, Event, EventKind, KeyFact, Outcome, decode_events};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn samples(ending: &str) -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut samples: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    samples.sort();
    samples
}

fn frame(name: &str, format: Format) -> Frame<'static> {
    let kind = EventKind::from_name(name.split('.').nth(1).unwrap()).unwrap();
    Frame { kind, service: "shop", format, log_ms: Some(1_760_000_000_000) }
}

fn again<T: DeserializeOwned + Serialize>(name: &str, bytes: &[u8]) {
    let word: T = serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    let before: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(serde_json::to_value(&word).unwrap(), before, "{name}");
    // MessagePack carries the same.
    let packed: T = rmp_serde::from_slice(&rmp_serde::to_vec_named(&word).unwrap()).unwrap();
    assert_eq!(serde_json::to_value(&packed).unwrap(), before, "{name}");
}

#[test]
fn every_sample_is_read_and_written_again_the_same() {
    let mut kinds = BTreeSet::new();
    for (name, bytes) in samples("json") {
        match name.split('.').next().unwrap() {
            "event" => {
                let events = decode_events(frame(&name, Format::Json), &bytes);
                let event = events[0].as_ref().unwrap_or_else(|rejected| panic!("{name}: {}", rejected.reason));
                assert_eq!(serde_json::to_value(event).unwrap(), serde_json::from_slice::<Value>(&bytes).unwrap(), "{name}");
                assert_eq!(&Event::from_json(&bytes).unwrap(), event, "{name}");
                kinds.insert(event.kind());
            }
            "alert" => again::<Alert>(&name, &bytes),
            "command" => again::<Command>(&name, &bytes),
            "outcome" => again::<Outcome>(&name, &bytes),
            "ask" => again::<Ask>(&name, &bytes),
            "key" => again::<KeyFact>(&name, &bytes),
            "answer" => again::<Answer>(&name, &bytes),
            other => panic!("{other} is no word"),
        }
    }
    assert_eq!(kinds, EventKind::ALL.iter().copied().collect(), "every kind has a sample");
}

#[test]
fn messagepack_of_another_implementation_says_the_same_as_json() {
    let json = samples("json");
    let packed = samples("msgpack");
    assert!(packed.len() >= EventKind::ALL.len());
    for (name, bytes) in packed {
        let (_, text) = json.iter().find(|(other, _)| *other == name).unwrap();
        assert_eq!(decode_events(frame(&name, Format::MsgPack), &bytes), decode_events(frame(&name, Format::Json), text), "{name}");
    }
}
