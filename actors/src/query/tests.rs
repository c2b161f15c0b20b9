//! Stories: what went in, and what came out, compared whole.
#![allow(clippy::unwrap_used, clippy::panic)]

mod labelled;
mod stories;
