//! What is shown as a key, and what is handed over as a hash: any text.
#![no_main]

// The module itself: to link the whole program would make fuzzing slow, and it needs nothing of it.
#[allow(dead_code)]
#[path = "../../src/keys/format.rs"]
mod format;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let own = [1; 32];
    for shown in [text.to_owned(), format!("hst_live_{text}"), format!("hst_test_0123456789ab_{text}")] {
        if let Some(parts) = format::parse(&shown) {
            assert!(shown.len() <= format::SHOWN_MAX);
            // Nobody guesses 64 bits of a keyed hash.
            assert!(!parts.minted_by(&own), "{shown}");
            assert!(parts.foreign || shown.len() == format::KEY_LEN);
        }
    }
});
