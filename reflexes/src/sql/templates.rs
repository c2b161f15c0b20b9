//! Statements known by the text between their literals.
//!
//! A program sends the same few texts with other literals, again and again. Where a statement's text between the literals is
//! one that was seen before, its normal form is known as well, and comparing text takes a fraction of what lexing it takes.
//!
//! The texts stand in a tree: an edge is text that all statements below have in common, or a literal and the text behind it.
//! Whether a literal begins is told by two bytes, so that at most one edge leads on, however many texts begin alike.
//!
//! Promises
//! - `T-1` what is found has the fingerprint that it was learnt with, as if it had been normalised.
//! - `T-2` no literal is kept: a text of which anything but plain numbers and strings stands for `?` is not learnt.
//! - `T-3` bounded memory; learning never costs more than a fixed share of what finding saves.
//!
//! # Why `T-1` holds
//! The lexer reads from left to right, so that two statements can only part in their literals. Here a literal is a number of
//! digits and at most one dot, or a string without backslash and doubled quote, between bytes ([`OPENS`], [`CLOSES`]) that
//! belong to no longer token. What the lexer does with such a one does not depend on what it holds (but for the dot, hence the
//! two symbols of numbers). That it *is* a literal, and no part of a name, a cast or a longer string, is checked when the text
//! is learnt: with `?` in its place the normal form must be the same. What hides text from that check is left to the lexer:
//! comments, dollar quotes, braces, a second statement, and the dialects that guess what is a name.

use super::bytes::{is_space, is_word, peek, run};
use super::{Dialect, Fingerprint, Normaliser};
use memchr::memchr2;

/// Places in the tree at most, and bytes of text on its edges; beyond either all is forgotten.
const PLACES_MAX: usize = 1 << 15;
const TEXT_MAX: usize = 1 << 20;
/// Longer statements are not learnt, bytes.
const STATEMENT_MAX: usize = 1 << 14;
/// So many texts are learnt whether or not that pays…
const LEARNT_MIN: u64 = 1_000;
/// …and then one for so many that were found. To learn one costs less than four save.
const FOUND_PER_LEARNT: u64 = 16;

/// Bytes after which a literal may begin.
static OPENS: [bool; 256] = set(b" \t\r\n(,=<>+-*/");
/// Bytes that may follow a literal. NUL stands for the end.
static CLOSES: [bool; 256] = set(b" \t\r\n),;:=<>+-*/\0");

const fn set(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
}

/// The symbols of numbers. No text goes on with a digit where a literal may begin.
const WHOLE: u8 = b'0';
const DECIMAL: u8 = b'1';

/// How a statement goes on.
struct Step {
    /// Which edge leads on: a byte of text, the quote of a string, [`WHOLE`] or [`DECIMAL`].
    symbol: u8,
    /// Where the text of the edge begins: behind the literal, if there is one.
    text: usize,
}

/// Where no edge leads.
const NOWHERE: u32 = u32::MAX;

/// A place in the tree, and the edge that leads to it.
#[derive(Clone, Copy)]
struct Place {
    symbol: u8,
    /// The text of the edge, from where to where.
    from: u32,
    end: u32,
    /// The first edge that leads on, and the next one from the same place as this.
    child: u32,
    sibling: u32,
    /// Of statements that end here.
    number: Option<u32>,
}

const ROOT: Place = Place { symbol: 0, from: 0, end: 0, child: NOWHERE, sibling: NOWHERE, number: None };

/// Statements of one dialect, each with a number of the caller's choice for its fingerprint.
pub struct Templates {
    dialect: Dialect,
    places: Vec<Place>,
    text: Vec<u8>,
    found: u64,
    learnt: u64,
    /// While a statement is learnt: where its literals stand, and the statement without them.
    literals: Vec<(usize, usize)>,
    bare: String,
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Templates").field("dialect", &self.dialect).field("places", &self.places.len()).finish_non_exhaustive()
    }
}

impl Templates {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, places: vec![ROOT], text: Vec::new(), found: 0, learnt: 0, literals: Vec::new(), bare: String::new() }
    }

    /// The number of a statement that was learnt with other literals, or with the same.
    #[inline]
    pub fn find(&mut self, statement: &str) -> Option<u32> {
        let text = statement.as_bytes();
        let mut place = self.places.first()?;
        let mut at = 0;
        while at < text.len() {
            let step = step(text, at, self.dialect)?;
            place = self.places.get(self.edge(place, step.symbol) as usize)?;
            let edge = self.text.get(place.from as usize..place.end as usize)?;
            if !text.get(step.text..)?.starts_with(edge) {
                return None;
            }
            at = step.text + edge.len();
        }
        self.found += u64::from(place.number.is_some());
        place.number
    }

    /// Learns a statement that was not found, unless that is impossible or no longer pays. `number` is what will be found for
    /// whatever has this fingerprint, which is the statement's.
    pub fn learn(&mut self, statement: &str, fingerprint: Fingerprint, number: u32, normaliser: &mut Normaliser) {
        let guesses = matches!(self.dialect, Dialect::Generic | Dialect::Sqlite);
        if guesses || statement.len() > STATEMENT_MAX || self.learnt >= LEARNT_MIN + self.found / FOUND_PER_LEARNT {
            return;
        }
        let mut literals = std::mem::take(&mut self.literals);
        if is_plain(statement.as_bytes(), self.dialect, &mut literals) {
            self.learnt += 1;
            self.bare.clear();
            let mut from = 0;
            for &(start, end) in &literals {
                self.bare.push_str(statement.get(from..start).unwrap_or_default());
                self.bare.push('?');
                from = end;
            }
            self.bare.push_str(statement.get(from..).unwrap_or_default());
            let bare = normaliser.normalise(&self.bare, self.dialect);
            if bare.fingerprint == fingerprint && !bare.shape.is_unterminated() {
                self.insert(statement.as_bytes(), &literals, number);
            }
        }
        self.literals = literals;
    }

    /// The edge from a place that begins so.
    #[inline]
    fn edge(&self, place: &Place, symbol: u8) -> u32 {
        let mut edge = place.child;
        while let Some(place) = self.places.get(edge as usize) {
            if place.symbol == symbol {
                break;
            }
            edge = place.sibling;
        }
        edge
    }

    fn insert(&mut self, text: &[u8], literals: &[(usize, usize)], number: u32) {
        // Each literal adds an edge, and the place where the text leaves the others adds two.
        if self.places.len() + literals.len() + 3 > PLACES_MAX || self.text.len() + text.len() > TEXT_MAX {
            self.places.clear();
            self.places.push(ROOT);
            self.text.clear();
        }
        let mut literals = literals.iter().copied().peekable();
        let (mut here, mut at) = (0, 0);
        while at < text.len() {
            let Some(step) = step(text, at, self.dialect) else { return };
            literals.next_if(|(start, _)| *start == at);
            let known = self.places.get(here).map_or(NOWHERE, |place| self.edge(place, step.symbol));
            if known == NOWHERE {
                at = literals.peek().map_or(text.len(), |(start, _)| *start);
                here = self.grow(here, step.symbol, text.get(step.text..at).unwrap_or_default());
            } else {
                here = known as usize;
                at = step.text + self.common(here, text.get(step.text..).unwrap_or_default());
            }
        }
        if let Some(place) = self.places.get_mut(here) {
            place.number = Some(number);
        }
    }

    /// A new edge from a place, behind those that are there: what is frequent is learnt early and found first. Says where it leads.
    #[allow(clippy::cast_possible_truncation)] // both are bounded far below
    fn grow(&mut self, here: usize, symbol: u8, edge: &[u8]) -> usize {
        let (new, from) = (self.places.len(), self.text.len() as u32);
        self.text.extend_from_slice(edge);
        let mut last = self.places.get(here).map_or(NOWHERE, |place| place.child);
        while let Some(next) = self.places.get(last as usize).map(|place| place.sibling).filter(|next| *next != NOWHERE) {
            last = next;
        }
        if let Some(last) = self.places.get_mut(last as usize) {
            last.sibling = new as u32;
        } else if let Some(here) = self.places.get_mut(here) {
            here.child = new as u32;
        }
        self.places.push(Place { symbol, from, end: self.text.len() as u32, ..ROOT });
        new
    }

    /// How much of the edge to a place this text goes along. Where it leaves the edge early, there is a place from then on.
    #[allow(clippy::cast_possible_truncation)] // both are bounded far below
    fn common(&mut self, here: usize, text: &[u8]) -> usize {
        let new = self.places.len() as u32;
        let Some(place) = self.places.get_mut(here) else { return text.len() };
        let edge = self.text.get(place.from as usize..place.end as usize).unwrap_or_default();
        let common = edge.iter().zip(text).take_while(|(a, b)| a == b).count();
        if let Some(&symbol) = edge.get(common) {
            let cut = place.from + common as u32;
            let rest = Place { symbol, from: cut, sibling: NOWHERE, ..*place };
            (place.end, place.child, place.number) = (cut, new, None);
            self.places.push(rest);
        }
        common
    }
}

/// How a text goes on at `at`; `None` when that is a literal, but no plain one.
#[inline]
fn step(text: &[u8], at: usize, dialect: Dialect) -> Option<Step> {
    let rest = text.get(at..)?;
    let byte = *rest.first()?;
    let (symbol, len) = match byte {
        b'0'..=b'9' if opens(text, at) => number(rest),
        b'\'' => (byte, string(rest)?),
        b'"' if dialect == Dialect::Mysql => (byte, string(rest)?),
        _ => return Some(Step { symbol: byte, text: at }),
    };
    CLOSES[peek(rest, len) as usize].then_some(Step { symbol, text: at + len })
}

/// Whether the byte before `at` lets a literal begin there.
#[inline]
fn opens(text: &[u8], at: usize) -> bool {
    at > 0 && OPENS[peek(text, at - 1) as usize]
}

/// The symbol and the length of the number with which a text begins.
#[inline]
fn number(text: &[u8]) -> (u8, usize) {
    let whole = run(text, 0, |byte| byte.is_ascii_digit());
    match peek(text, whole) {
        b'.' => (DECIMAL, run(text, whole + 1, |byte| byte.is_ascii_digit())),
        _ => (WHOLE, whole),
    }
}

/// The length of the string with which a text begins, if nothing in it wants a second look.
#[inline]
fn string(text: &[u8]) -> Option<usize> {
    let (&quote, content) = text.split_first()?;
    let end = memchr2(quote, b'\\', content)?;
    (peek(content, end) == quote).then_some(end + 2)
}

/// Whether each literal of a statement is a plain one, and where they stand. What hides text is none.
fn is_plain(text: &[u8], dialect: Dialect, literals: &mut Vec<(usize, usize)>) -> bool {
    literals.clear();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let next = peek(text, at + 1);
        let hides = match byte {
            b'#' | b'{' | b'\\' => true,
            b'-' => next == b'-',
            b'/' => next == b'*',
            b'$' => !next.is_ascii_digit(),
            b';' => text.get(at + 1..).is_some_and(|rest| rest.iter().any(|byte| !is_space(*byte))),
            _ => false,
        };
        let Some(step) = step(text, at, dialect).filter(|_| !hides) else { return false };
        if step.text > at {
            literals.push((at, step.text));
            // A quote may stick to what is before it.
            if !opens(text, at) {
                return false;
            }
        } else if byte.is_ascii_digit() && !(at > 0 && is_word(peek(text, at - 1))) {
            return false;
        }
        at = step.text.max(at + 1);
    }
    true
}
