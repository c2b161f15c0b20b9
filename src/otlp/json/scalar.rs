//! Scalars as the JSON mapping of protobuf writes them, and as exporters write them in fact.

use crate::otlp::model::id;
use serde::de::{self, Deserializer, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A text, borrowed where it stands in the body without escapes.
#[derive(Default)]
pub(super) struct Text<'de>(pub(super) Cow<'de, str>);

impl<'de> de::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Words)
    }
}

/// Whatever scalar stood there.
pub(super) enum Scalar<'de> {
    Null,
    Signed(i64),
    Unsigned(u64),
    Real(f64),
    Text(Cow<'de, str>),
}

impl<'de> de::Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a text or null")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Null)
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Signed(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Scalar::Unsigned(value))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Real(value))
            }
            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Scalar<'_> {
    /// A 64-bit integer without a sign, as a number or a text; nothing is 0.
    pub(super) fn unsigned<E: de::Error>(self) -> Result<u64, E> {
        let value = match self {
            Scalar::Null => Some(0),
            Scalar::Signed(value) => u64::try_from(value).ok(),
            Scalar::Unsigned(value) => Some(value),
            Scalar::Real(value) => whole(value).and_then(|value| u64::try_from(value).ok()),
            Scalar::Text(text) => text.parse().ok(),
        };
        value.ok_or_else(|| E::custom("no 64-bit integer"))
    }

    /// A 64-bit integer, as a number or a text.
    pub(super) fn signed<E: de::Error>(self) -> Result<Option<i64>, E> {
        let value = match self {
            Scalar::Null => return Ok(None),
            Scalar::Signed(value) => Some(value),
            Scalar::Unsigned(value) => i64::try_from(value).ok(),
            Scalar::Real(value) => whole(value).and_then(|value| i64::try_from(value).ok()),
            Scalar::Text(text) => text.parse().ok(),
        };
        value.map(Some).ok_or_else(|| E::custom("no 64-bit integer"))
    }

    /// A value of an enumeration, by its number or its name.
    pub(super) fn enumeration<T>(self, number: impl Fn(i64) -> T, name: impl Fn(&str) -> T) -> T {
        match self {
            Scalar::Null => number(0),
            Scalar::Signed(value) => number(value),
            Scalar::Unsigned(value) => number(i64::try_from(value).unwrap_or(i64::MAX)),
            Scalar::Real(value) => number(whole(value).and_then(|value| i64::try_from(value).ok()).unwrap_or(i64::MAX)),
            Scalar::Text(text) => text.parse().map_or_else(|_| name(&text), number),
        }
    }
}

/// `1e3` and `5.0` are integers in the JSON mapping of protobuf.
fn whole(value: f64) -> Option<i128> {
    // A conversion from f64 saturates; i128 holds every whole number that could still be in range.
    (value.fract() == 0.0 && value.abs() < 2e19).then_some(value as i128)
}

/// A real number, or one of the names JSON has no number for.
pub(super) struct Double(pub(super) Option<f64>);

impl<'de> de::Deserialize<'de> for Double {
    #[allow(clippy::cast_precision_loss)] // a real number beyond 2^53 was one of several neighbours anyway
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Double(match Scalar::deserialize(deserializer)? {
            Scalar::Null => None,
            Scalar::Signed(value) => Some(value as f64),
            Scalar::Unsigned(value) => Some(value as f64),
            Scalar::Real(value) => Some(value),
            Scalar::Text(text) => Some(match &*text {
                "NaN" => f64::NAN,
                "Infinity" => f64::INFINITY,
                "-Infinity" => f64::NEG_INFINITY,
                text => text.parse().map_err(|_| de::Error::custom("no number"))?,
            }),
        }))
    }
}

/// An id in hex; `None` when it is empty, all zero or no id at all, which makes its span one that cannot be used.
pub(super) struct Hex<const N: usize>(pub(super) Option<[u8; N]>);

impl<'de, const N: usize> de::Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<Text<'de>>::deserialize(deserializer)?.unwrap_or_default().0;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; N];
        if text.len() != 2 * N {
            return Ok(Hex(None));
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Ok(Hex(None)),
            }
        }
        Ok(Hex(id(&bytes)))
    }
}
