//! A word of the bus, kept in a state.
//!
//! A checkpoint is compact: fields stand by their place. Words leave out what is empty, or hold a value of any form, so theirs must
//! stand by name; a kept word is therefore a document of its own (named `MessagePack`) within the checkpoint. To a reader of text it
//! is the word itself.
//!
//! Promise: whatever fields of a word are empty, what was kept is what is loaded.

use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A word, kept by the names of its fields in a checkpoint that keeps everything else by place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kept<T>(pub T);

impl<T: Serialize> Serialize for Kept<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Kept<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Kept)
    }
}

/// Of a field that is a word: `#[serde(with = "kept")]`.
pub(crate) fn serialize<T: Serialize, S: Serializer>(word: &T, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return word.serialize(serializer);
    }
    serializer.serialize_bytes(&rmp_serde::to_vec_named(word).map_err(S::Error::custom)?)
}

/// The other way.
pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Bytes;
    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<u8>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a word in MessagePack")
        }
        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
    if deserializer.is_human_readable() {
        return T::deserialize(deserializer);
    }
    let bytes = deserializer.deserialize_bytes(Bytes)?;
    rmp_serde::from_slice(&bytes).map_err(D::Error::custom)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use homeostat_schemas::{Alert, Answer, Command, Outcome};

    fn again<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(word: T) {
        let state = (1u8, Kept(word), 2u8);
        let bytes = postcard::to_allocvec(&state).unwrap();
        assert_eq!(postcard::from_bytes::<(u8, Kept<T>, u8)>(&bytes).unwrap(), state);
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<(u8, Kept<T>, u8)>(&text).unwrap(), state);
    }

    #[test]
    fn words_with_empty_fields_are_kept_whole() {
        again(Alert { trace: Some("t".to_owned()), ..Alert::default() });
        again(Alert::default());
        again(Outcome::default());
        again(Command { args: serde_json::json!({ "size": 26, "of": [null, "a", 2.5] }), ..Command::default() });
        again(Answer { took_us: 7, ..Answer::default() });
    }
}
