//! The SQL reflex: what a statement *is*, without what it was *about*.
//!
//! [`Normaliser`] reads a statement once, byte by byte, and yields its normal form (literals replaced by `?`), the
//! form's [`Fingerprint`], a keyed hash of the literals, and the few facts a mind needs at event rate ([`Verb`],
//! [`Shape`]). [`summary`] names a statement the way OpenTelemetry's `db.query.summary` does.
//!
//! # Promises
//! - `R-1` never fails and never panics: any bytes that are UTF-8 have a normal form, cut anywhere.
//! - `R-2` never keeps a literal: no number, string, dollar-quoted body, comment or hint reaches the normal form. An
//!   unterminated token consumes the rest of the statement.
//! - `R-3` idempotent: the normal form is its own normal form, with the same fingerprint.
//! - `R-4` literals do not split a shape: the same template with other literals, or with placeholders instead of
//!   them, has the same fingerprint, and so has a list of any length inside `IN (…)`, `VALUES (…)` or `ARRAY[…]`.
//! - `R-5` one pass, linear time, bounded memory: at most twice the statement plus a fixed number of frames.
//!
//! # The normal form
//! Words in lower case, one space between tokens, none around `.` and `::` or inside brackets; comments, hints, `ASC`
//! and the final semicolon dropped; `==` and `!=` written `=` and `<>`. Identifiers keep their identity as the
//! dialect sees it: PostgreSQL tells `"T"` from `t` but not `"t"` from `T`; MySQL and SQLite are taken as
//! case-insensitive. Casts after a literal are dropped, casts of columns stay.
//!
//! ```
//! use homeostat_reflexes::sql::{Dialect, Normaliser};
//! let mut normaliser = Normaliser::new();
//! let seen = normaliser.normalise("SELECT * FROM t WHERE id IN (1, 2, 3) -- Ana", Dialect::Postgresql);
//! assert_eq!(seen.normal, "select * from t where id in (?)");
//! ```

mod bytes;
mod dialect;
mod fingerprint;
mod frames;
mod keywords;
mod lexer;
mod literals;
mod names;
mod normaliser;
mod other;
mod output;
mod params;
mod shape;
mod summary;
mod symbols;
mod templates;
mod verb;
mod words;

pub use dialect::{Dialect, UnknownDialect};
pub use fingerprint::{Fingerprint, InvalidFingerprint};
pub use normaliser::{Normalised, Normaliser};
pub use params::hash_parameters;
pub use shape::Shape;
pub use summary::{SUMMARY_MAX, summary, tables};
pub use templates::Templates;
pub use verb::Verb;
