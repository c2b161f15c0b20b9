//! The JSON encoding, read straight into a [`Batch`]: no tree of the document is ever built.
//!
//! As lenient as the specification asks: unknown fields are skipped, `null` is an absent field, 64-bit integers are numbers or
//! texts, enumerations numbers or names, ids hex in either case. Nesting is bounded by the parser (128).

use super::attributes::{Attribute, digest, digest_bytes};
use super::decode::DecodeError;
use super::model::{Batch, Resource, Span, SpanKind};
use scalar::{Double, Hex, Scalar, Text};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

mod scalar;

pub(super) fn decode(body: &[u8]) -> Result<Batch<'_>, DecodeError> {
    let mut batch = Batch::default();
    let mut reader = serde_json::Deserializer::from_slice(body);
    // A field may be `null`; a request may not.
    reader.deserialize_map(Object(&mut Request(&mut batch))).and_then(|()| reader.end()).map_err(|error| DecodeError::Json {
        line: error.line(),
        column: error.column(),
        why: match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Data => "a field of the wrong type",
            _ if error.to_string().starts_with("recursion limit") => "nested too deeply",
            _ => "not JSON",
        },
    })?;
    Ok(batch)
}

/// A message: takes the fields it knows.
trait Message<'de> {
    /// Takes the value of one field from the map, [`skip`]ping it when it means nothing here.
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// Reads an object into a message; `null` leaves it as it is.
struct Object<'x, M>(&'x mut M);

impl<'de, M: Message<'de>> DeserializeSeed<'de> for Object<'_, M> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, M: Message<'de>> Visitor<'de> for Object<'_, M> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            self.0.field(&name, &mut map)?;
        }
        Ok(())
    }
}

/// What becomes of the elements of an array.
trait Elements<'de> {
    /// Takes the next element; false when there is none.
    fn element<A: SeqAccess<'de>>(&mut self, elements: &mut A) -> Result<bool, A::Error>;
}

/// Reads an array; `null` is an empty one.
struct Array<E>(E);

impl<'de, E: Elements<'de>> DeserializeSeed<'de> for Array<E> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, E: Elements<'de>> Visitor<'de> for Array<E> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_unit<X>(self) -> Result<(), X> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while self.0.element(&mut elements)? {}
        Ok(())
    }
}

struct Request<'b, 'de>(&'b mut Batch<'de>);

impl<'de> Message<'de> for Request<'_, 'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "resourceSpans" => map.next_value_seed(Array(Resources(self.0))),
            _ => skip(map),
        }
    }
}

/// The array `resourceSpans`.
struct Resources<'b, 'de>(&'b mut Batch<'de>);

impl<'de> Elements<'de> for Resources<'_, 'de> {
    fn element<A: SeqAccess<'de>>(&mut self, elements: &mut A) -> Result<bool, A::Error> {
        let mut message = ResourceSpans { batch: self.0, resource: Resource::default() };
        let found = elements.next_element_seed(Object(&mut message))?.is_some();
        let resource = message.resource;
        self.0.close(resource);
        Ok(found)
    }
}

struct ResourceSpans<'b, 'de> {
    batch: &'b mut Batch<'de>,
    resource: Resource<'de>,
}

impl<'de> Message<'de> for ResourceSpans<'_, 'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "resource" => map.next_value_seed(Object(&mut self.resource)),
            "scopeSpans" => map.next_value_seed(Array(Scopes(self.batch))),
            _ => skip(map),
        }
    }
}

struct Scopes<'b, 'de>(&'b mut Batch<'de>);

impl<'de> Elements<'de> for Scopes<'_, 'de> {
    fn element<A: SeqAccess<'de>>(&mut self, elements: &mut A) -> Result<bool, A::Error> {
        Ok(elements.next_element_seed(Object(&mut ScopeSpans(self.0)))?.is_some())
    }
}

struct ScopeSpans<'b, 'de>(&'b mut Batch<'de>);

impl<'de> Message<'de> for ScopeSpans<'_, 'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "spans" => map.next_value_seed(Array(Spans(self.0))),
            _ => skip(map),
        }
    }
}

struct Spans<'b, 'de>(&'b mut Batch<'de>);

impl<'de> Elements<'de> for Spans<'_, 'de> {
    fn element<A: SeqAccess<'de>>(&mut self, elements: &mut A) -> Result<bool, A::Error> {
        let mut span = Span::default();
        let found = elements.next_element_seed(Object(&mut span))?.is_some();
        if found {
            self.0.push(span);
        }
        Ok(found)
    }
}

impl<'de> Message<'de> for Resource<'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "attributes" => map.next_value_seed(Array(KeyValues(|key: &str, value| self.set(key, value)))),
            _ => skip(map),
        }
    }
}

impl<'de> Message<'de> for Span<'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "traceId" => self.trace = map.next_value::<Hex<16>>()?.0,
            "spanId" => self.id = map.next_value::<Hex<8>>()?.0,
            "parentSpanId" => self.parent = map.next_value::<Hex<8>>()?.0,
            "name" => self.name = map.next_value::<Option<Text<'de>>>()?.unwrap_or_default().0,
            "kind" => self.kind = map.next_value::<Scalar<'de>>()?.enumeration(SpanKind::from_number, SpanKind::from_name),
            "startTimeUnixNano" => self.start_ns = map.next_value::<Scalar<'de>>()?.unsigned()?,
            "endTimeUnixNano" => self.end_ns = map.next_value::<Scalar<'de>>()?.unsigned()?,
            "attributes" => map.next_value_seed(Array(KeyValues(|key: &str, value| self.set(key, value))))?,
            "status" => map.next_value_seed(Object(&mut Status(&mut self.failed)))?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

struct Status<'x>(&'x mut bool);

impl<'de> Message<'de> for Status<'_> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "code" => *self.0 = map.next_value::<Scalar<'de>>()?.enumeration(|number| number == 2, |name| name == "STATUS_CODE_ERROR"),
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// An array of attributes, each handed on.
struct KeyValues<F>(F);

impl<'de, F: FnMut(&str, Attribute<'de>)> Elements<'de> for KeyValues<F> {
    fn element<A: SeqAccess<'de>>(&mut self, elements: &mut A) -> Result<bool, A::Error> {
        let mut element = KeyValue::default();
        let found = elements.next_element_seed(Object(&mut element))?.is_some();
        if found {
            (self.0)(&element.key, element.value);
        }
        Ok(found)
    }
}

struct KeyValue<'de> {
    key: Cow<'de, str>,
    value: Attribute<'de>,
}

impl Default for KeyValue<'_> {
    fn default() -> Self {
        KeyValue { key: Cow::Borrowed(""), value: Attribute::Empty }
    }
}

impl<'de> Message<'de> for KeyValue<'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "key" => self.key = map.next_value::<Option<Text<'de>>>()?.unwrap_or_default().0,
            "value" => map.next_value_seed(Object(&mut self.value))?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// An `AnyValue`.
impl<'de> Message<'de> for Attribute<'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let value = match name {
            "stringValue" => map.next_value::<Option<Text<'de>>>()?.map(|Text(text)| Attribute::Text(text)),
            "boolValue" => map.next_value::<Option<bool>>()?.map(Attribute::Bool),
            "intValue" => map.next_value::<Scalar<'de>>()?.signed()?.map(Attribute::Int),
            "doubleValue" => map.next_value::<Double>()?.0.map(Attribute::Double),
            "bytesValue" => map.next_value::<Option<Text<'de>>>()?.map(|Text(text)| Attribute::Other(digest_bytes(text.as_bytes()))),
            "arrayValue" | "kvlistValue" => {
                let mut list = List(0);
                map.next_value_seed(Object(&mut list))?;
                Some(Attribute::Other(list.0))
            }
            _ => return skip(map),
        };
        if let Some(value) = value {
            *self = value;
        }
        Ok(())
    }
}

/// An array or a map of attributes, of which only a digest is kept.
struct List(u64);

impl<'de> Message<'de> for List {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "values" => map.next_value_seed(Array(self)),
            _ => skip(map),
        }
    }
}

impl<'de> Elements<'de> for &mut List {
    fn element<A: SeqAccess<'de>>(&mut self, elements: &mut A) -> Result<bool, A::Error> {
        let mut element = Element(KeyValue::default());
        let found = elements.next_element_seed(Object(&mut element))?.is_some();
        if found {
            self.0 = self.0.rotate_left(7).wrapping_add(digest(&element.0.key, &element.0.value));
        }
        Ok(found)
    }
}

/// An element of either: a value, or a value with its key.
struct Element<'de>(KeyValue<'de>);

impl<'de> Message<'de> for Element<'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "key" | "value" => self.0.field(name, map),
            _ => self.0.value.field(name, map),
        }
    }
}
