//! The name of a checkpoint: all that is needed to find it and to know it again.

use super::{CHUNK_BYTES, CHUNKS_MAX};

/// `{position}-{chunks}-{bytes}-{sha256}-{nonce}`, one subject token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) position: u64,
    pub(super) chunks: usize,
    pub(super) bytes: usize,
    pub(super) hash: String,
    /// Two writers of the same state must not share chunks: one might delete them.
    pub(super) nonce: String,
}

impl Name {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let name = Self {
            position: parts.next()?.parse().ok()?,
            chunks: parts.next()?.parse().ok()?,
            bytes: parts.next()?.parse().ok()?,
            hash: parts.next()?.to_owned(),
            nonce: parts.next()?.to_owned(),
        };
        let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        // The sizes bound what loading allocates, whatever the name says.
        let sound = parts.next().is_none()
            && name.chunks <= CHUNKS_MAX
            && name.chunks == name.bytes.div_ceil(CHUNK_BYTES).max(1)
            && name.hash.len() == 64
            && name.nonce.len() == 8
            && is_hex(&name.hash)
            && is_hex(&name.nonce);
        sound.then_some(name)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { position, chunks, bytes, hash, nonce } = self;
        write!(f, "{position}-{chunks}-{bytes}-{hash}-{nonce}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_reads_back(position: u64, bytes in 0..CHUNK_BYTES * CHUNKS_MAX, hash in "[0-9a-f]{64}", nonce in "[0-9a-f]{8}") {
            let name = Name { position, chunks: bytes.div_ceil(CHUNK_BYTES).max(1), bytes, hash, nonce };
            prop_assert_eq!(Name::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = Name::parse(&text);
        }
    }

    #[test]
    fn a_name_that_asks_for_more_memory_than_a_checkpoint_has_is_refused() {
        let hash = "0".repeat(64);
        for sizes in ["1-18446744073709551615", "9999999-5242879475712", "0-0", "2-1"] {
            assert_eq!(Name::parse(&format!("1-{sizes}-{hash}-00000000")), None, "{sizes}");
        }
    }
}
