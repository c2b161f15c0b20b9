//! One value that a model saw: a number, a text, a truth value, or nothing.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt};

/// One value of a feature. `null` and not-a-number both mean "missing" to drift and are counted apart from each other.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// Nothing was there.
    Null,
    /// A truth value: a category of two.
    Bool(bool),
    /// A number; may be not-a-number or infinite.
    Number(f64),
    /// A category.
    Text(String),
}

impl From<f64> for SampleValue {
    fn from(value: f64) -> Self {
        SampleValue::Number(value)
    }
}

impl From<bool> for SampleValue {
    fn from(value: bool) -> Self {
        SampleValue::Bool(value)
    }
}

impl From<&str> for SampleValue {
    fn from(value: &str) -> Self {
        SampleValue::Text(value.to_owned())
    }
}

impl From<String> for SampleValue {
    fn from(value: String) -> Self {
        SampleValue::Text(value)
    }
}

impl<T: Into<SampleValue>> From<Option<T>> for SampleValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(SampleValue::Null, Into::into)
    }
}

impl Serialize for SampleValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            SampleValue::Null => serializer.serialize_unit(),
            SampleValue::Bool(value) => serializer.serialize_bool(*value),
            SampleValue::Number(value) => serializer.serialize_f64(*value),
            SampleValue::Text(value) => serializer.serialize_str(value),
        }
    }
}

impl<'de> Deserialize<'de> for SampleValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl de::Visitor<'_> for AnyValue {
            type Value = SampleValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a text, a truth value or null")
            }
            fn visit_unit<E>(self) -> Result<SampleValue, E> {
                Ok(SampleValue::Null)
            }
            fn visit_none<E>(self) -> Result<SampleValue, E> {
                Ok(SampleValue::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<SampleValue, E> {
                Ok(SampleValue::Bool(value))
            }
            fn visit_f64<E>(self, value: f64) -> Result<SampleValue, E> {
                Ok(SampleValue::Number(value))
            }
            #[allow(clippy::cast_precision_loss)] // a feature's value is a real number; beyond 2^53 neighbours are one
            fn visit_u64<E>(self, value: u64) -> Result<SampleValue, E> {
                Ok(SampleValue::Number(value as f64))
            }
            #[allow(clippy::cast_precision_loss)]
            fn visit_i64<E>(self, value: i64) -> Result<SampleValue, E> {
                Ok(SampleValue::Number(value as f64))
            }
            fn visit_str<E>(self, value: &str) -> Result<SampleValue, E> {
                Ok(SampleValue::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<SampleValue, E> {
                Ok(SampleValue::Text(value))
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}

impl JsonSchema for SampleValue {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "SampleValue".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": ["number", "string", "boolean", "null"] })
    }
}
