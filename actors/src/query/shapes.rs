//! Shapes: what is left of a statement without its literals, for one service, with everything that is known of it.
//!
//! A statement is lexed once and remembered by its hash, so that the same text costs a look-up the next time. The memory of
//! texts is only that: it is not part of the state, and nothing depends on what it has forgotten.

use super::advice::Advice;
use super::config::{QueryConfig, StatementKind};
use super::family::analyse;
use super::lookup::Lookup;
use super::names::{Names, dialect, is_key_value};
use super::regression::Pace;
use super::review::Sample;
use super::role::{Role, is_write, role};
use super::stats::Stats;
use super::window::Window;
use homeostat_reflexes::sql::{Dialect, Fingerprint, Normalised, Normaliser, Verb};
use homeostat_schemas::UnixMs;
use homeostat_schemas::event::Query;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// The shape of whatever found no place of its own.
pub(super) const NO_SHAPE: u32 = u32::MAX;
/// How many statement texts are remembered.
const MEMO_LEN: usize = 1 << 15;
/// How many places in the code are kept for one shape.
const SOURCES_MAX: usize = 4;
/// Longest place in the code that is kept, bytes.
const SOURCE_MAX_BYTES: usize = 200;
/// How many tables of one shape are kept.
const TABLES_MAX: usize = 8;
/// How many systems are told apart.
const SYSTEMS_MAX: usize = 64;

/// A shape of one service.
#[derive(Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) service: u32,
    pub(super) fingerprint: Fingerprint,
    pub(super) system: u32,
    pub(super) verb: Verb,
    pub(super) role: Role,
    pub(super) write: bool,
    pub(super) locking: bool,
    /// The normal form, cut at `statement_max_bytes`.
    pub(super) statement: Box<str>,
    pub(super) sources: Vec<Box<str>>,
    pub(super) stats: Stats,
    pub(super) window: Window,
    pub(super) pace: Pace,
    /// The fingerprint of its meaning, when it could be parsed.
    pub(super) family: Option<Fingerprint>,
    /// Its tables, hashed.
    pub(super) tables: Vec<u64>,
    /// Executions that returned at least `limit_min_rows` rows.
    pub(super) many_rows: u64,
    /// The parameters of the last while, as long as it is hot.
    pub(super) sample: Option<Box<Sample>>,
    /// What was advised.
    pub(super) advice: Vec<Advice>,
    /// When a planner was asked about it.
    pub(super) asked_ms: UnixMs,
    /// Is `query.slow` open?
    pub(super) slow: bool,
    /// Requests in which it was repeated, and its executions in them.
    pub(super) repeated_in: u64,
    pub(super) repeats: u64,
}

impl Shape {
    /// Its kind for N+1; `None` when repeats of it are no finding.
    pub(super) fn repeatable(&self) -> Option<StatementKind> {
        if matches!(self.role, Role::Data | Role::Keys) { StatementKind::of(self.verb) } else { None }
    }

    /// May this execution be one of a loop? One that asks for several keys at once is none, nor one of which that is not known.
    pub(super) fn may_loop(&self, seen: Recognised) -> bool {
        self.repeatable().is_some() && (self.role != Role::Keys || seen.single_keys)
    }

    /// Does one execution in twenty return more rows than anybody reads?
    pub(super) fn returns_many(&self) -> bool {
        self.stats.calls >= 5 && self.many_rows.saturating_mul(20) >= self.stats.calls
    }

    /// Is its statement there in full?
    pub(super) fn is_whole(&self) -> bool {
        self.role != Role::Cut && !self.statement.ends_with('…')
    }

    /// Keeps a place in the code.
    pub(super) fn seen_at(&mut self, source: &str) {
        if source.len() > SOURCE_MAX_BYTES || self.sources.len() >= SOURCES_MAX || self.sources.iter().any(|known| &**known == source) {
            return;
        }
        self.sources.push(source.into());
    }
}

/// What a statement was recognised as.
#[derive(Clone, Copy)]
pub(super) struct Recognised {
    /// Its shape, or [`NO_SHAPE`].
    pub(super) shape: u32,
    /// A keyed hash of its parameters, as far as the statement or the sender says.
    pub(super) params: Params,
    /// Each of its `IN (…)` is seen to hold one key.
    pub(super) single_keys: bool,
}

/// What is known of the parameters of one execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Params {
    /// There are some, and nobody said which.
    Unknown,
    /// There are none: the same question every time.
    None,
    /// Their keyed hash.
    Hash(u64),
}

#[derive(Clone, Copy)]
struct Remembered {
    text: u128,
    seen: Recognised,
}

/// Every shape.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Shapes {
    pub(super) services: Names,
    pub(super) systems: Names,
    shapes: Vec<Option<Shape>>,
    free: Vec<u32>,
    places: Lookup,
    /// What found no place, by service.
    pub(super) other: BTreeMap<u32, Stats>,
    #[serde(skip)]
    memo: Vec<Option<Remembered>>,
    #[serde(skip)]
    normaliser: Normaliser,
}

fn place(service: u32, fingerprint: Fingerprint) -> u64 {
    // An odd multiplier keeps the fingerprints of one service apart and spreads the services.
    fingerprint.0 ^ u64::from(service).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Shapes {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, index: u32) -> Option<&Shape> {
        self.shapes.get(index as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Shape> {
        self.shapes.get_mut(index as usize)?.as_mut()
    }

    /// Every shape, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Shape)> {
        (0..).zip(&self.shapes).filter_map(|(index, shape)| Some((index, shape.as_ref()?)))
    }

    /// The places of every shape, free ones too.
    pub(super) fn numbers(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.shapes.len()).unwrap_or(u32::MAX)
    }

    /// Which shape an execution has; a new one is entered as long as there is room.
    pub(super) fn recognise(&mut self, query: &Query, service: u32, now: UnixMs, config: &QueryConfig) -> Recognised {
        let system = query.system.as_deref().map_or(0, |name| self.systems.number(name, SYSTEMS_MAX));
        let text = xxh3_128_with_seed(query.statement.as_bytes(), u64::from(service) << 32 | u64::from(system));
        #[allow(clippy::cast_possible_truncation)] // any bits of a hash will do
        let line = text as usize % MEMO_LEN;
        let mut recognised = match self.memo.get(line) {
            Some(Some(known)) if known.text == text => known.seen,
            _ => {
                let seen = self.read(query, service, system, now, config);
                if self.memo.is_empty() {
                    self.memo.resize(MEMO_LEN, None);
                }
                self.memo[line] = Some(Remembered { text, seen });
                seen
            }
        };
        if let Some(params) = &query.params {
            recognised.params = Params::Hash(xxh3_64(params.as_bytes()));
        }
        recognised
    }

    fn read(&mut self, query: &Query, service: u32, system: u32, now: UnixMs, config: &QueryConfig) -> Recognised {
        let dialect = dialect(query.system.as_deref());
        let normalised = self.normaliser.normalise(&query.statement, dialect);
        let params = match normalised.params {
            Some(hash) => Params::Hash(hash),
            None if normalised.shape.has_placeholders() => Params::Unknown,
            None => Params::None,
        };
        let of = |shape| Recognised { shape, params, single_keys: normalised.shape.has_single_keys() };
        let fingerprint = normalised.fingerprint;
        let key = place(service, fingerprint);
        if let Some(index) = self.places.get(key) {
            // Two shapes with one key are one in 2^64; the later one is counted with the rest.
            let same = self
                .shapes
                .get(index as usize)
                .and_then(Option::as_ref)
                .is_some_and(|s| s.service == service && s.fingerprint == fingerprint);
            return of(if same { index } else { NO_SHAPE });
        }
        if self.places.len() >= config.shapes_max {
            return of(NO_SHAPE);
        }
        let (verb, role) = deed(&normalised, dialect);
        let key_value = query.system.as_deref().is_some_and(is_key_value);
        let analysis = StatementKind::of(verb).map(|_| analyse(normalised.normal, dialect));
        let shape = Shape {
            service,
            fingerprint,
            system,
            verb: if key_value { Verb::KeyValue } else { verb },
            role,
            write: is_write(normalised.normal, verb) || analysis.as_ref().is_some_and(|analysis| analysis.writes),
            locking: normalised.shape.has_locking(),
            statement: cut(normalised.normal, config.statement_max_bytes).into(),
            sources: Vec::new(),
            stats: Stats::new(now),
            window: Window::default(),
            pace: Pace::default(),
            family: analysis.as_ref().map(|analysis| analysis.family),
            tables: analysis
                .iter()
                .flat_map(|analysis| &analysis.tables)
                .take(TABLES_MAX)
                .map(|table| xxh3_64(table.to_ascii_lowercase().as_bytes()))
                .collect(),
            many_rows: 0,
            sample: None,
            advice: Vec::new(),
            asked_ms: 0,
            slow: false,
            repeated_in: 0,
            repeats: 0,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.shapes[index as usize] = Some(shape);
                index
            }
            None => {
                let Ok(index) = u32::try_from(self.shapes.len()) else { return of(NO_SHAPE) };
                self.shapes.push(Some(shape));
                index
            }
        };
        self.places.insert(key, index);
        of(index)
    }

    /// Makes room when there is none: what has not been seen since `before` joins the rest. Never a shape that is slow or
    /// regressed now, nor one that `keep` asks for.
    pub(super) fn retire(&mut self, before: UnixMs, keep: impl Fn(u32) -> bool) -> usize {
        let mut retired = 0;
        for index in 0..self.shapes.len() {
            #[allow(clippy::cast_possible_truncation)] // an index is a u32, see `read`
            let number = index as u32;
            let idle =
                |shape: &Shape| shape.stats.last_seen_ms < before && !shape.slow && shape.pace.regressed_ms().is_none() && !keep(number);
            let Some(shape) = self.shapes[index].take_if(|shape| idle(shape)) else { continue };
            self.places.remove(place(shape.service, shape.fingerprint));
            self.other.entry(shape.service).or_insert_with(|| Stats::new(shape.stats.first_seen_ms)).merge(&shape.stats);
            self.free.push(number);
            retired += 1;
        }
        if retired > 0 {
            self.memo.clear();
        }
        retired
    }
}

/// What a text does, and its role. Of several statements the first decides that is not about the session or a transaction:
/// `SET x = ?; SELECT …` is that `SELECT`.
fn deed(text: &Normalised<'_>, dialect: Dialect) -> (Verb, Role) {
    let whole = (text.verb, role(text.normal, text.verb, text.shape));
    let framed = matches!(text.verb, Verb::Session | Verb::Transaction) && text.shape.has_several_statements();
    if !framed || text.shape.is_unterminated() {
        return whole;
    }
    let mut normaliser = Normaliser::new();
    for statement in text.normal.split("; ").skip(1) {
        let seen = normaliser.normalise(statement, dialect);
        let role = role(seen.normal, seen.verb, seen.shape);
        if role != Role::Housekeeping {
            return (seen.verb, role);
        }
    }
    whole
}

/// The text up to `max` bytes, ending on a character, with `…` when something was left out.
pub(super) fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
