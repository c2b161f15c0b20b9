//! A statement's name: its operations and their targets, in the order in which they occur and as they are written,
//! after OpenTelemetry's rules for `db.query.summary` (semantic conventions, "Generating query summary").
//!
//! Lexical like the normaliser: no grammar, only what stands after which word. A target is what stands where a table
//! (or an index, a view, a routine) is named; values stand elsewhere, so they cannot get in.

mod scan;
mod targets;

use super::Dialect;
use targets::{Kind, Piece};

/// The longest summary, in characters; OpenTelemetry cuts there.
pub const SUMMARY_MAX: usize = 255;

/// The summary of a statement: `SELECT orders customers`, `CREATE TABLE Users`, `find products`. At most
/// [`SUMMARY_MAX`] characters, cut between words. Empty when the statement names no operation.
#[must_use]
pub fn summary(statement: &str, dialect: Dialect) -> String {
    let mut text = String::new();
    let mut length = 0usize;
    for Piece { text: piece, .. } in targets::pieces(statement, dialect) {
        if piece.is_empty() {
            continue;
        }
        let room = usize::from(length > 0);
        let added = piece.chars().count() + room;
        if length + added > SUMMARY_MAX {
            break;
        }
        if room == 1 {
            text.push(' ');
        }
        text.extend(piece.chars().map(|c| if c.is_control() { ' ' } else { c }));
        length += added;
    }
    text
}

/// The tables that a statement names, in order of appearance, each once, in the spelling of the statement without
/// quotes. Names that `WITH` defines are no tables. At most 64.
#[must_use]
pub fn tables(statement: &str, dialect: Dialect) -> Vec<String> {
    let mut tables: Vec<String> = Vec::new();
    for piece in targets::pieces(statement, dialect) {
        if piece.kind == Kind::Table {
            let name = scan::unquoted(piece.text);
            if !tables.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                tables.push(name);
            }
        }
    }
    tables
}
