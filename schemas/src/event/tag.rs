//! The `kind` field of each kind.

use super::EventKind;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt};

/// The `kind` field: a word that must be the one of the struct it stands in, and costs no memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tag<const KIND: u8>;

impl<const KIND: u8> Tag<KIND> {
    const NAME: &'static str = match EventKind::from_u8(KIND) {
        Some(kind) => kind.name(),
        None => "",
    };
}

impl<const KIND: u8> Serialize for Tag<KIND> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Self::NAME)
    }
}

impl<'de, const KIND: u8> Deserialize<'de> for Tag<KIND> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word<const KIND: u8>;
        impl<const KIND: u8> de::Visitor<'_> for Word<KIND> {
            type Value = Tag<KIND>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{}`, the kind its subject names", Tag::<KIND>::NAME)
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
                if word == Tag::<KIND>::NAME { Ok(Tag) } else { Err(E::invalid_value(de::Unexpected::Str(word), &self)) }
            }
        }
        deserializer.deserialize_str(Word::<KIND>)
    }
}

impl<const KIND: u8> JsonSchema for Tag<KIND> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        Self::NAME.into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "const": Self::NAME })
    }
}
