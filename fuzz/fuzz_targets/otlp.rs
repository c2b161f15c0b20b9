//! An export request of any bytes, in both encodings: a batch or an error, mapped without a panic, every span accounted for, and what
//! leaves is in normal form.
#![no_main]

// The module itself: to link the whole program would make fuzzing slow, and it needs nothing of it.
#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../../src"]
mod source {
    pub mod otlp;
}
use source::otlp;

use homeostat_schemas::Event;
use libfuzzer_sys::fuzz_target;
use otlp::{Encoding, Mapper, decode};

fuzz_target!(|body: &[u8]| {
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let Ok(batch) = decode(encoding, body) else { continue };
        let mapped = Mapper::default().map(&batch, 1_800_000_000_000);
        // A span is a handful of bytes at least, and gives a few events at most.
        let events: usize = mapped.groups.iter().map(|group| group.events.len()).sum();
        assert!(events <= body.len());
        for event in mapped.groups.iter().flat_map(|group| &group.events) {
            if let Event::Query(query) = event {
                let mut again = vec![event.clone()];
                Mapper::default().redact(&mut again);
                assert!(matches!(&again[0], Event::Query(redacted) if redacted.statement == query.statement), "{}", query.statement);
            }
            assert!(serde_json::to_vec(event).is_ok());
        }
    }
});
