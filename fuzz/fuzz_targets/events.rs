//! A message of any bytes, in either format and of every kind, and a subject of any text: each event is good or rejected for itself, a good one
//! comes back as itself, and what is set aside stays within the message.
#![no_main]

use homeostat_schemas::batch::{Format, Frame, REJECTED_MAX, decode_events};
use homeostat_schemas::event::EventKind;
use homeostat_schemas::Root;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, payload)) = bytes.split_first() else { return };
    let kind = EventKind::ALL[usize::from(*first >> 1) % EventKind::ALL.len()];
    let format = if first & 1 == 0 { Format::Json } else { Format::MsgPack };
    let frame = Frame { kind, service: "shop", format, log_ms: Some(1_800_000_000_000) };
    let events = decode_events(frame, payload);
    let rejected: Vec<_> = events.iter().filter_map(|event| event.as_ref().err()).collect();
    assert!(rejected.len() <= REJECTED_MAX + 1);
    assert!(rejected.iter().map(|rejected| rejected.payload.len()).sum::<usize>() <= payload.len().max(1));
    for event in events.iter().flatten() {
        let json = serde_json::to_vec(event).expect("an event is JSON");
        let again = decode_events(Frame { format: Format::Json, ..frame }, &json);
        let [Ok(again)] = again.as_slice() else { panic!("what was written is not read: {}", String::from_utf8_lossy(&json)) };
        assert_eq!(serde_json::to_vec(again).expect("an event is JSON"), json);
    }
    if let Ok(text) = std::str::from_utf8(payload) {
        let root = Root::default();
        if let Ok(subject) = root.parse(text) {
            assert_eq!(root.parse(&root.subject(&subject)).as_ref(), Ok(&subject), "{text}");
        }
    }
});
