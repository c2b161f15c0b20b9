//! Stories: what went in, and what came out, compared whole.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_precision_loss)]

mod advised;
mod callers;
mod effects;
mod labelled;
mod loops;
mod privacy;
mod roles;
mod stories;
mod stricter;
