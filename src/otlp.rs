//! OpenTelemetry traces into events: pure, no I/O, no clock.
//!
//! ```text
//! body ──decode──▶ Batch (borrows the body) ──Mapper::map──▶ events by kind and service
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`decode`] | content types and errors; [`protobuf`] and [`json`] read the two encodings |
//! | [`model`] | what is kept of a request: spans with the attributes anybody here asks for |
//! | [`attributes`] | the attribute names, old, new and both at once |
//! | [`map`] | spans into events; [`query`], [`request`], [`call`] and [`family`] say what each span is |
//! | [`names`] | names from outside, made short and free of values |
//! | [`answer`] | what an exporter gets back, in its own encoding |
//!
//! The wire formats are read by hand and not with the generated types: those keep every attribute of every span, so that a
//! body of 20 MiB can cost gigabytes, and their JSON refuses what the specification allows (enum names, unknown fields).
//!
//! Promises
//! - T-1 Any bytes give a batch or an error, never a panic; nesting is bounded, memory is a small multiple of the body.
//! - T-2 No literal of a statement and no path or host with values in it leaves here, except where a name is what was asked for.
//! - T-3 A span is counted once, whichever attribute names it carries and however many layers reported the same call.
//! - T-4 What cannot be used is counted and said back to the exporter; it never costs its siblings.

pub mod answer;
pub mod attributes;
mod call;
pub mod decode;
mod family;
mod json;
pub mod map;
pub mod model;
mod names;
mod protobuf;
mod query;
mod request;
mod status;

pub use decode::{DecodeError, Encoding, decode};
pub use map::{Group, Mapped, Mapper, ServiceSpans};
pub use model::{Batch, SPANS_MAX};
