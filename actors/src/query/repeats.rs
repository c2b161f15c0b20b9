//! One trace, judged: which shapes were repeated under one caller, how often, for how long, and what would help.
//!
//! Repeats are grouped by (trace, caller, shape). The caller is the path of span names from the request down to the span that
//! sent the query, not that span's id: twelve resolvers of the same name under one request are one loop, two different
//! functions are two callers, and so are two lines of code, when the sender says where it sent from. A query whose caller was
//! never reported stands under that caller's id. A query without any caller belongs to its trace's request if there is exactly
//! one, and to nobody otherwise: without a request or a caller there is no loop to point at (Sentry's detector refuses that
//! case too).

use super::config::NPlusOneConfig;
use super::shapes::{Params, Shape, Shapes};
use super::traces::{Run, Trace, What};
use std::collections::{BTreeMap, BTreeSet};

/// What a group of repeats is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Different parameters: could be one question.
    NPlusOne,
    /// The same parameters: could be asked once.
    Duplicate,
    /// Writes: could be one statement.
    Write,
}

/// A group of repeats that is a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repeats {
    pub(super) kind: Kind,
    pub(super) shape: u32,
    /// The same for the same group, whenever its trace is judged.
    pub(super) group: u64,
    pub(super) route: Option<Box<str>>,
    pub(super) count: usize,
    /// Time during which at least one of them ran.
    pub(super) total_us: u64,
    /// Time of all of them together.
    pub(super) sum_us: u64,
    /// Different parameters, as far as known.
    pub(super) distinct: usize,
}

/// Where a query was sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    path: u64,
    /// The request it belongs to, as an index into the callers.
    request: Option<usize>,
}

fn mix(a: u64, b: u64) -> u64 {
    let mut mixed = (a ^ b.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 32;
    mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ b
}

/// What is known of the way from a caller up to its request.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Nobody has asked yet.
    Unasked,
    /// It is being walked right now: whoever comes here again has gone in a circle.
    Walked,
    /// Walked: the origin, and the name that its path ends with.
    Known(Origin, Option<u64>),
}

/// The callers of a trace, to be asked for the origin of each query.
///
/// Parents are whatever the senders say: missing, their own, in a circle. Each caller's way is walked once and remembered, so
/// that the cost is that of the number of callers, however they hang together.
struct Callers<'a> {
    trace: &'a Trace,
    /// Span and place, by span.
    by_span: Vec<(u64, usize)>,
    /// The only request there is.
    only: Option<usize>,
    /// Is there a request?
    any: bool,
    /// By place.
    ways: Vec<Way>,
}

impl<'a> Callers<'a> {
    fn of(trace: &'a Trace) -> Self {
        let mut by_span: Vec<(u64, usize)> = trace.callers.iter().enumerate().map(|(index, caller)| (caller.span, index)).collect();
        // A request and a span may carry one id: the request stands for both, whichever came first.
        by_span.sort_unstable_by_key(|(span, index)| (*span, matches!(trace.callers[*index].what, What::Span(_)), *index));
        by_span.dedup_by_key(|(span, _)| *span);
        let mut requests = trace.callers.iter().enumerate().filter(|(_, caller)| matches!(caller.what, What::Request(_)));
        let (first, second) = (requests.next(), requests.next());
        let only = first.filter(|_| second.is_none()).map(|(index, _)| index);
        Callers { trace, by_span, only, any: first.is_some(), ways: vec![Way::Unasked; trace.callers.len()] }
    }

    fn find(&self, span: u64) -> Option<usize> {
        let at = self.by_span.binary_search_by_key(&span, |(span, _)| *span).ok()?;
        Some(self.by_span[at].1)
    }

    /// The origin of a query with this parent. `None` when it belongs to nobody.
    fn origin(&mut self, parent: u64) -> Option<Origin> {
        if parent == 0 {
            let request = self.only?;
            return Some(Origin { path: self.trace.callers[request].span, request: Some(request) });
        }
        Some(match self.find(parent) {
            Some(index) => self.walk(index).0,
            None => self.top(parent),
        })
    }

    /// The origin of whatever hangs directly below a span that nothing more is known above of.
    fn top(&self, span: u64) -> Origin {
        Origin { path: span, request: self.only }
    }

    /// Up to the request, the root, or what is not known; then down again by names.
    fn walk(&mut self, from: usize) -> (Origin, Option<u64>) {
        // The spans on the way whose names make up the path, the lowest first.
        let mut trail: Vec<(usize, u64)> = Vec::new();
        let mut index = from;
        let (mut origin, mut last) = loop {
            let caller = &self.trace.callers[index];
            match (self.ways[index], &caller.what) {
                (Way::Known(origin, last), _) => break (origin, last),
                (Way::Walked, _) => {
                    // Nothing leads into a circle but its own spans. So that it does not matter where it was entered, the least
                    // of their ids is taken for the root; the way there is walked anew.
                    let circle = trail.iter().rposition(|(known, _)| *known == index).unwrap_or(0);
                    let root = trail[circle..].iter().map(|(index, _)| *index).min_by_key(|index| self.trace.callers[*index].span);
                    for (index, _) in trail.drain(..) {
                        self.ways[index] = Way::Unasked;
                    }
                    let root = root.unwrap_or(index);
                    self.ways[root] = Way::Known(self.top(self.trace.callers[root].span), None);
                    index = from;
                }
                (Way::Unasked, What::Request(_)) => break (Origin { path: caller.span, request: Some(index) }, None),
                (Way::Unasked, What::Span(_)) if caller.parent == 0 => break (self.top(caller.span), None),
                (Way::Unasked, What::Span(name)) => {
                    self.ways[index] = Way::Walked;
                    trail.push((index, *name));
                    match self.find(caller.parent) {
                        Some(above) => index = above,
                        None => break (self.top(caller.parent), None),
                    }
                }
            }
        };
        for (index, name) in trail.into_iter().rev() {
            // A function that calls itself is one caller at every depth.
            if last != Some(name) {
                origin.path = mix(origin.path, name);
                last = Some(name);
            }
            self.ways[index] = Way::Known(origin, last);
        }
        (origin, last)
    }
}

/// Every group of repeats in a trace whose root has come. With `all`, the trace is over: also those whose request has not come.
pub(super) fn repeats(trace: &Trace, shapes: &Shapes, config: &NPlusOneConfig, all: bool) -> Vec<Repeats> {
    let least = config.min_count.max(2);
    if trace.runs.len() < least {
        return Vec::new();
    }
    let mut by_shape: Vec<&Run> = trace.runs.iter().collect();
    by_shape.sort_by_key(|run| run.shape);
    let often: Vec<&[&Run]> = by_shape.chunk_by(|a, b| a.shape == b.shape).filter(|runs| runs.len() >= least).collect();
    if often.is_empty() {
        return Vec::new();
    }
    let mut callers = Callers::of(trace);
    let mut origins: BTreeMap<u64, Option<Origin>> = BTreeMap::new();
    let mut found = Vec::new();
    for runs in often {
        let number = runs[0].shape;
        let Some(shape) = shapes.get(number).filter(|shape| is_watched(shape, config)) else { continue };
        let mut groups: BTreeMap<u64, (Origin, Vec<&Run>)> = BTreeMap::new();
        for run in runs {
            let origin = origins.entry(run.parent).or_insert_with(|| callers.origin(run.parent));
            if let Some(origin) = origin {
                groups.entry(mix(origin.path, run.source)).or_insert_with(|| (*origin, Vec::new())).1.push(run);
            }
        }
        for (path, (origin, runs)) in groups {
            let over = all || origin.request.is_some() || !callers.any;
            if runs.len() < least || !over {
                continue;
            }
            let Some(kind) = kind(shape, &runs, least) else { continue };
            let total_us = union_us(&runs);
            if total_us < config.min_total_ms.saturating_mul(1_000) {
                continue;
            }
            let route = origin.request.and_then(|index| match &trace.callers[index].what {
                What::Request(route) => Some(route.clone()),
                What::Span(_) => None,
            });
            found.push(Repeats {
                kind,
                shape: number,
                group: mix(path, shape.fingerprint.0) ^ kind as u64,
                route,
                count: runs.len(),
                total_us,
                sum_us: sum_us(&runs),
                distinct: distinct(&runs).0,
            });
        }
    }
    found
}

fn is_watched(shape: &Shape, config: &NPlusOneConfig) -> bool {
    shape.repeatable().is_some_and(|kind| config.kinds.contains(&kind))
        && !config.ignore_queries.iter().any(|text| !text.is_empty() && shape.statement.contains(text.as_str()))
}

/// How many different parameters there are, and how many executions of which nothing is known.
fn distinct(runs: &[&Run]) -> (usize, usize) {
    let known: BTreeSet<Params> = runs.iter().map(|run| run.params).filter(|params| *params != Params::Unknown).collect();
    (known.len(), runs.iter().filter(|run| run.params == Params::Unknown).count())
}

/// What the repeats are. The question is what a cache would leave: if so many different ones that they are still too many, it
/// is an N+1, otherwise they are duplicates. Parameters nobody knows count as different: that is what a loop does.
fn kind(shape: &Shape, runs: &[&Run], least: usize) -> Option<Kind> {
    if shape.write {
        // One statement that already changes several rows is a bulk write, sent in portions.
        let known: Vec<u64> = runs.iter().filter_map(|run| run.rows.map(u64::from)).collect();
        let bulk =
            shape.verb == homeostat_reflexes::sql::Verb::Insert && !known.is_empty() && known.iter().sum::<u64>() >= 2 * known.len() as u64;
        return (!bulk).then_some(Kind::Write);
    }
    let (distinct, unknown) = distinct(runs);
    if distinct + unknown >= least {
        Some(Kind::NPlusOne)
    } else if shape.locking {
        // Asked again because the answer may have changed: a queue is polled, a lock is taken anew.
        None
    } else {
        Some(Kind::Duplicate)
    }
}

/// The time during which at least one of them ran, and never more than all of them took together.
///
/// Ends are known in whole milliseconds: of executions shorter than that, sent one after the other, several seem to run at
/// once. So each may have ended up to a millisecond later than it says.
fn union_us(runs: &[&Run]) -> u64 {
    const BLUR_US: u64 = 999;
    let mut spans: Vec<(u64, u64)> =
        runs.iter().map(|run| (run.end_us.saturating_sub(run.took_us), run.end_us.saturating_add(BLUR_US))).collect();
    spans.sort_unstable();
    let mut total = 0u64;
    let mut until = 0;
    for (start, end) in spans {
        total = total.saturating_add(end.saturating_sub(start.max(until)));
        until = until.max(end);
    }
    total.min(sum_us(runs))
}

fn sum_us(runs: &[&Run]) -> u64 {
    runs.iter().fold(0, |sum, run| sum.saturating_add(run.took_us))
}
