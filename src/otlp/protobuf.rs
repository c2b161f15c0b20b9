//! The protobuf encoding, read in place. Field numbers are those of `opentelemetry/proto/{collector/trace,trace,common}/v1`.
//!
//! Unknown fields are skipped, arrays and maps of attributes are not descended into: the depth is fixed by this file. A known
//! field of another wire type than the schema says is an error, as with every other reader of protobuf.

use super::attributes::{Attribute, digest_bytes};
use super::decode::DecodeError;
use super::model::{Batch, Resource, Span, SpanKind, id};
use std::borrow::Cow;

/// The value of one field.
#[derive(Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

/// What is still to be read of one message.
struct Fields<'a> {
    rest: &'a [u8],
    /// Where `rest` ends in the body, so that an error can say where it is.
    end: usize,
}

type Field<'a> = (u32, Value<'a>);

impl<'a> Fields<'a> {
    const fn new(message: &'a [u8], end: usize) -> Self {
        Fields { rest: message, end }
    }

    const fn at(&self) -> usize {
        self.end - self.rest.len()
    }

    const fn error(&self, why: &'static str) -> DecodeError {
        DecodeError::Protobuf { at: self.at(), why }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (index, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                if index == 9 && byte > 1 {
                    break;
                }
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(self.error(if self.rest.len() < 10 { "it ends within a number" } else { "a number of more than 64 bits" }))
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], DecodeError> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (head, tail) = split.ok_or_else(|| self.error("it ends within a field"))?;
        self.rest = tail;
        Ok(head)
    }

    #[inline]
    fn next(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or_else(|| self.error("an impossible field number"))?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.take(8)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(self.error("a group or an unknown wire type")),
        };
        Ok(Some((number, value)))
    }

    fn bytes(&self, value: Value<'a>) -> Result<&'a [u8], DecodeError> {
        if let Value::Bytes(bytes) = value { Ok(bytes) } else { Err(self.error("a field of the wrong type")) }
    }

    /// A message inside, which ends where this reader stands now.
    fn message(&self, value: Value<'a>) -> Result<Fields<'a>, DecodeError> {
        Ok(Fields::new(self.bytes(value)?, self.at()))
    }

    fn text(&self, value: Value<'a>) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(value)?).map_err(|_| self.error("a text that is not UTF-8"))
    }

    fn number(&self, value: Value<'a>) -> Result<u64, DecodeError> {
        if let Value::Varint(number) = value { Ok(number) } else { Err(self.error("a field of the wrong type")) }
    }

    fn fixed(&self, value: Value<'a>) -> Result<u64, DecodeError> {
        if let Value::Fixed64(number) = value { Ok(number) } else { Err(self.error("a field of the wrong type")) }
    }
}

pub(super) fn decode(body: &[u8]) -> Result<Batch<'_>, DecodeError> {
    let mut batch = Batch::default();
    let mut request = Fields::new(body, body.len());
    while let Some((number, value)) = request.next()? {
        if number == 1 {
            resource_spans(request.message(value)?, &mut batch)?;
        }
    }
    Ok(batch)
}

fn resource_spans<'a>(mut fields: Fields<'a>, batch: &mut Batch<'a>) -> Result<(), DecodeError> {
    let mut resource = Resource::default();
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                let mut inner = fields.message(value)?;
                while let Some((number, value)) = inner.next()? {
                    if number == 1
                        && let (key, Some(value)) = key_value(inner.message(value)?)?
                    {
                        resource.set(key, value);
                    }
                }
            }
            2 => {
                let mut scope = fields.message(value)?;
                while let Some((number, value)) = scope.next()? {
                    if number == 2 {
                        batch.push(span(scope.message(value)?)?);
                    }
                }
            }
            _ => {}
        }
    }
    batch.close(resource);
    Ok(())
}

fn span(mut fields: Fields<'_>) -> Result<Span<'_>, DecodeError> {
    let mut span = Span::default();
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => span.trace = id(fields.bytes(value)?),
            2 => span.id = id(fields.bytes(value)?),
            4 => span.parent = id(fields.bytes(value)?),
            5 => span.name = Cow::Borrowed(fields.text(value)?),
            // An enumeration is an int32 sent as a varint: the low half is the number.
            6 => span.kind = SpanKind::from_number(i64::from(fields.number(value)? as u32)),
            7 => span.start_ns = fields.fixed(value)?,
            8 => span.end_ns = fields.fixed(value)?,
            9 => {
                if let (key, Some(value)) = key_value(fields.message(value)?)? {
                    span.set(key, value);
                }
            }
            15 => {
                let mut status = fields.message(value)?;
                while let Some((number, value)) = status.next()? {
                    if number == 3 {
                        span.failed = status.number(value)? as u32 == 2;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(span)
}

fn key_value(mut fields: Fields<'_>) -> Result<(&str, Option<Attribute<'_>>), DecodeError> {
    let mut key = "";
    let mut attribute = None;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => key = fields.text(value)?,
            2 => attribute = Some(any_value(fields.message(value)?)?),
            _ => {}
        }
    }
    Ok((key, attribute))
}

fn any_value(mut fields: Fields<'_>) -> Result<Attribute<'_>, DecodeError> {
    let mut attribute = Attribute::Empty;
    while let Some((number, value)) = fields.next()? {
        attribute = match number {
            1 => Attribute::Text(Cow::Borrowed(fields.text(value)?)),
            2 => Attribute::Bool(fields.number(value)? != 0),
            3 => Attribute::Int(fields.number(value)? as i64),
            4 => Attribute::Double(f64::from_bits(fields.fixed(value)?)),
            5..=7 => Attribute::Other(digest_bytes(fields.bytes(value)?)),
            _ => continue,
        };
    }
    Ok(attribute)
}
