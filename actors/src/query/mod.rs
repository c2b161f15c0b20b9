//! The query mind: which statements are slow, and which are asked again and again where once would do.
//!
//! From `query` events it keeps statistics per service and shape (a statement without its literals). `request` and `span`
//! events say who sent the queries, so that repeats inside one request come to light.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | the thresholds |
//! | `shapes`, `stats`, `histogram`, `window` | what is known of each shape |
//! | `slow` | `query.slow` |
//! | `regression` | `query.regressed` |
//! | [`advice`], [`index`], [`family`], `review` | `query.advice` |
//! | [`plan`] | what a planner is asked, and what its plan suggests |
//! | `effects` | `query.advice_effective`, `query.advice_ineffective` |
//! | `caches` | `query.cache_cold` |
//! | `traces`, `repeats`, `role` | `query.n_plus_one`, `query.duplicate`, `query.n_plus_one_write` |
//! | [`view`] | what it shows |
//! | [`digest`] | the same counting over a log that a database wrote by itself |
//!
//! Promises
//! - Q-1 At most `shapes_max` shapes and `services_max` services are told apart; the rest is counted, under `__other__`. When
//!   the settings become stricter, what is there stays and no more is taken in: the bound is then what was there, and falls
//!   with it. So it is with; traces above a new bound are closed at the next tick.
//! - Q-2 At most `traces_max` traces with `spans_max` spans are open; when one more comes, the one that has been quiet for
//!   longest is judged and closed.
//! - Q-3 What is slow or regressed is open: a shape is marked exactly as long as it is on the list that ticks walk over.
//! - Q-4 No literal of a statement is kept: what is stored, shown and published is its normal form. A hash of the parameters
//!   lives as long as its trace.
//! - Q-5 Order does not matter inside a trace, and the same span delivered again counts once, as long as the trace is open.
//! - Q-6 At most `caches_max` caches are told apart; the one that has been silent for longest makes room.
//! - Q-7 At most `verify_max` questions to a planner are open.
//! - Q-8 At most `effects_max` shapes are watched for the effect of an index.

pub mod advice;
mod bounds;
mod caches;
pub mod config;
pub mod digest;
mod effects;
pub mod family;
mod histogram;
pub mod index;
mod lookup;
mod names;
pub mod plan;
mod regressed;
mod regression;
mod repeats;
mod review;
mod role;
mod shapes;
mod slow;
mod stats;
#[cfg(test)]
mod tests;
mod tokens;
mod traces;
pub mod view;
mod window;

pub use advice::{Advice, AdviceKind, AdviceStats, advise};
pub use config::{AdviceConfig, CacheConfig, NPlusOneConfig, QueryConfig, RegressionConfig, StatementKind};
pub use effects::INDEX_CREATED;
pub use view::{QueryRow, QueryTotals, QueryView, SlowExecution};

use crate::core::{Core, Cx, Input, Interest};
use crate::incidents::{Finding, Incidents};
use bounds::Bounds;
use caches::CacheUse;
use effects::{Effect, LookedUp};
use homeostat_schemas::event::{Flag, Query, Request, Span};
use homeostat_schemas::rule::{QUERY_DUPLICATE, QUERY_N_PLUS_ONE, QUERY_N_PLUS_ONE_WRITE, QUERY_REGRESSED, QUERY_SLOW};
use homeostat_schemas::{Event, EventKind, Ms, Rule, UnixMs};
use repeats::{Kind, Repeats};
use review::Asked;
use serde::{Deserialize, Serialize};
use shapes::{NO_SHAPE, Params, Recognised, Shapes};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use traces::{Caller, Part, Run, Traces, What};

const HOUR: Ms = 3_600_000;
/// How often room is made among the shapes, when there is none.
const RETIRE_EVERY: Ms = 60_000;
/// Longest statement in a summary, bytes.
const SUMMARY_MAX_BYTES: usize = 160;

/// The rules whose label `fingerprint` names a shape.
const FINDINGS: [&Rule; 5] = [&QUERY_SLOW, &QUERY_REGRESSED, &QUERY_N_PLUS_ONE, &QUERY_DUPLICATE, &QUERY_N_PLUS_ONE_WRITE];

/// The query mind.
#[derive(Default, Serialize, Deserialize)]
pub struct QueryCore {
    shapes: Shapes,
    traces: Traces,
    incidents: Incidents,
    /// The shapes that are slow now.
    slow_open: BTreeSet<u32>,
    /// The latest slow executions, oldest first.
    slow_list: VecDeque<SlowExecution>,
    /// The shapes that are regressed now.
    regressed_open: BTreeSet<u32>,
    caches: BTreeMap<(String, String), CacheUse>,
    /// Questions to the planner that have not been answered.
    asked: BTreeMap<String, Asked>,
    /// There is no planner, as it turned out; until then nobody is asked again.
    planner_away_ms: UnixMs,
    /// Advised indexes by shape, and what became of them.
    effects: BTreeMap<u32, Effect>,
    looked_up: LookedUp,
    /// Where the next look into the catalogue begins.
    look_up_from: u32,
    /// Commands to create an index: id, service, target.
    creating: VecDeque<(String, String, String)>,
    reviewed_ms: UnixMs,
    retired: u64,
    retired_ms: UnixMs,
    bounds: Bounds,
}

impl Core for QueryCore {
    const NAME: &'static str = "query";
    const STATE_VERSION: u16 = 4;
    const INTEREST: Interest = Interest {
        events: &[EventKind::Query, EventKind::Request, EventKind::Span, EventKind::Cache, EventKind::Order],
        commands: true,
        outcomes: true,
        ..Interest::NONE
    };
    type Config = QueryConfig;
    type View = QueryView;

    fn step(&mut self, input: Input<'_>, cx: &mut Cx<'_, QueryConfig>) {
        self.bounds = self.bounds_under(cx.config);
        match input {
            Input::Event(Event::Query(query)) => self.query(query, cx),
            Input::Event(Event::Request(request)) => self.request(request, cx),
            Input::Event(Event::Span(span)) => self.span(span, cx),
            Input::Event(Event::Cache(cache)) => self.cache(cache, cx),
            Input::Event(Event::Order(order)) => self.order(order, cx),
            Input::Command(command) => self.command(command),
            Input::Outcome(outcome) => self.outcome(outcome, cx),
            Input::Tick => self.tick(cx),
            Input::End => {
                while let Some(slot) = self.traces.oldest() {
                    self.close(slot, cx);
                }
                self.review(cx);
                self.unanswered(UnixMs::MAX, cx);
            }
            Input::Answer(answer) => self.answer(answer, cx),
            Input::Event(_) | Input::Alert(_) | Input::Key(_) => {}
        }
    }

    fn broken_promise(&self, config: &QueryConfig) -> Option<&'static str> {
        let bounds = self.bounds_under(config);
        if self.shapes.len() > bounds.shapes || self.shapes.services.len() > bounds.services {
            return Some("Q-1");
        }
        if self.traces.len() > bounds.traces || self.traces.spans() > bounds.spans {
            return Some("Q-2");
        }
        if self.slow_open.iter().any(|number| self.shapes.get(*number).is_none_or(|shape| !shape.slow)) {
            return Some("Q-3");
        }
        if self.regressed_open.iter().any(|number| self.shapes.get(*number).is_none_or(|shape| shape.pace.regressed_ms().is_none())) {
            return Some("Q-3");
        }
        if self.caches.len() > bounds.caches {
            return Some("Q-6");
        }
        if self.asked.len() > bounds.asked {
            return Some("Q-7");
        }
        if self.effects.len() > bounds.effects {
            return Some("Q-8");
        }
        None
    }

    fn view(&self, _now: UnixMs, _config: &QueryConfig) -> QueryView {
        view::view(self)
    }

    fn incidents(&self) -> &Incidents {
        &self.incidents
    }
}

impl QueryCore {
    fn query(&mut self, query: &Query, cx: &mut Cx<'_, QueryConfig>) {
        let config = cx.config;
        let service = self.shapes.services.number(&query.service, config.services_max);
        let trace = traces::valid(query.trace.as_deref());
        let span = traces::valid(query.span.as_deref()).map_or(0, traces::span_hash);
        let slot = trace.map(|trace| self.enter(service, trace, cx));
        if let Some(slot) = slot
            && span != 0
            && self.traces.knows(slot, span)
        {
            return;
        }
        let recognised = self.shapes.recognise(query, service, cx.now, config);
        let cached = query.cached == Some(true);
        let suppressed = query.suppressed == Some(true);
        if let Some(slot) = slot {
            let part = match self.shapes.get(recognised.shape) {
                Some(shape) if !cached && !suppressed && shape.may_loop(recognised) && !is_left_alone(query, config) => Part::Run(Run {
                    shape: recognised.shape,
                    parent: traces::valid(query.parent.as_deref()).map_or(0, traces::span_hash),
                    source: query.source.as_deref().map_or(0, traces::span_hash),
                    params: recognised.params,
                    end_us: query.at_ms.saturating_mul(1_000),
                    took_us: query.took_us,
                    rows: query.rows.map(|rows| u32::try_from(rows).unwrap_or(u32::MAX)),
                }),
                _ => Part::Quiet,
            };
            self.traces.add(slot, span, part, false, cx.now, config);
        }
        let failed = query.error.as_ref().is_some_and(Flag::is_set);
        self.count(query, service, recognised, failed, cx);
        let connecting = self.shapes.get(recognised.shape).is_some_and(|shape| shape.verb == homeostat_reflexes::sql::Verb::Connect);
        if recognised.shape != NO_SHAPE && !cached && !suppressed && !connecting {
            self.observe_slow(recognised.shape, query.took_us, trace, cx);
            if !failed {
                self.observe_pace(recognised.shape, query.took_us, trace, cx);
                self.observe_effect(recognised.shape, query.took_us, cx);
            }
        }
    }

    fn count(&mut self, query: &Query, service: u32, seen: Recognised, failed: bool, cx: &Cx<'_, QueryConfig>) {
        let stats = match self.shapes.get_mut(seen.shape) {
            Some(shape) => {
                if query.rows.is_some_and(|rows| rows >= cx.config.advice.limit_min_rows) {
                    shape.many_rows = shape.many_rows.saturating_add(1);
                }
                if let (Some(sample), Params::Hash(params)) = (&mut shape.sample, seen.params) {
                    sample.note(params);
                } else if let (Some(sample), Params::None) = (&mut shape.sample, seen.params) {
                    sample.note(0);
                }
                if let Some(source) = &query.source {
                    shape.seen_at(source);
                }
                &mut shape.stats
            }
            None => self.shapes.other.entry(service).or_insert_with(|| stats::Stats::new(cx.now)),
        };
        if query.cached == Some(true) {
            stats.cached = stats.cached.saturating_add(1);
            stats.last_seen_ms = cx.now;
            return;
        }
        stats.add(cx.now, query.took_us, query.rows.unwrap_or(0), failed, query.took_us > cx.config.slow_us());
    }

    fn request(&mut self, request: &Request, cx: &mut Cx<'_, QueryConfig>) {
        let Some(trace) = traces::valid(request.trace.as_deref()) else { return };
        let span = traces::valid(request.span.as_deref()).map_or(0, traces::span_hash);
        let parent = traces::valid(request.parent.as_deref()).map_or(0, traces::span_hash);
        let service = self.shapes.services.number(&request.service, cx.config.services_max);
        let slot = self.enter(service, trace, cx);
        let known = if span == 0 { self.traces.has_request(slot, &request.route) } else { self.traces.knows(slot, !span) };
        if !known {
            self.traces.add(
                slot,
                if span == 0 { 0 } else { !span },
                Part::Caller(traces::request(&request.route, span, parent)),
                true,
                cx.now,
                cx.config,
            );
        }
    }

    fn span(&mut self, event: &Span, cx: &mut Cx<'_, QueryConfig>) {
        let (Some(trace), Some(span)) = (traces::valid(Some(&event.trace)), traces::valid(Some(&event.span))) else { return };
        let span = traces::span_hash(span);
        let parent = traces::valid(event.parent.as_deref()).map_or(0, traces::span_hash);
        let service = self.shapes.services.number(&event.service, cx.config.services_max);
        let slot = self.enter(service, trace, cx);
        // A span of its own, told apart from a query's or a request's of the same id.
        let seen = span.rotate_left(1);
        if !self.traces.knows(slot, seen) {
            let caller = Caller { span, parent, what: What::Span(traces::name_hash(&event.name, &event.op)) };
            self.traces.add(slot, seen, Part::Caller(caller), parent == 0, cx.now, cx.config);
        }
    }

    /// The slot of a trace. Makes room first.
    fn enter(&mut self, service: u32, trace: &str, cx: &mut Cx<'_, QueryConfig>) -> u32 {
        while self.traces.is_full(cx.config)
            && let Some(oldest) = self.traces.oldest()
        {
            self.traces.evicted += 1;
            self.close(oldest, cx);
        }
        self.traces.enter(service, trace, cx.now)
    }

    fn tick(&mut self, cx: &mut Cx<'_, QueryConfig>) {
        for slot in self.traces.ready(cx.now, cx.config) {
            self.judge(slot, false, cx);
        }
        while self.traces.is_over(cx.config)
            && let Some(oldest) = self.traces.oldest()
        {
            self.traces.evicted += 1;
            self.close(oldest, cx);
        }
        while let Some(slot) = self.traces.idle(cx.now, cx.config) {
            self.close(slot, cx);
        }
        self.slide_slow(cx);
        self.rebase(cx);
        self.review_now_and_then(cx);
        self.forget_caches(cx);
        if !self.incidents.is_empty() {
            self.incidents.sweep(cx);
        }
        if self.shapes.len() >= cx.config.shapes_max && cx.now.saturating_sub(self.retired_ms) >= RETIRE_EVERY {
            self.retired_ms = cx.now;
            let used = self.traces.shapes_in_use();
            let before = cx.now.saturating_sub(cx.config.shape_idle_h.saturating_mul(HOUR));
            self.retired += self.shapes.retire(before, |shape| used.contains(&shape)) as u64;
        }
    }

    /// Judges a trace for the last time and forgets it.
    fn close(&mut self, slot: u32, cx: &mut Cx<'_, QueryConfig>) {
        self.judge(slot, true, cx);
        self.traces.forget(slot);
    }

    fn judge(&mut self, slot: u32, all: bool, cx: &mut Cx<'_, QueryConfig>) {
        for repeats in repeats::repeats(self.traces.get(slot), &self.shapes, &cx.config.n_plus_one, all) {
            if self.traces.note(slot, repeats.group) {
                self.repeated(slot, &repeats, cx);
            }
        }
    }

    fn repeated(&mut self, slot: u32, repeats: &Repeats, cx: &mut Cx<'_, QueryConfig>) {
        let count = repeats.count as u64;
        if let Some(shape) = self.shapes.get_mut(repeats.shape) {
            shape.repeated_in = shape.repeated_in.saturating_add(1);
            shape.repeats = shape.repeats.saturating_add(count);
        }
        let Some(shape) = self.shapes.get(repeats.shape) else { return };
        let (rule, what) = match repeats.kind {
            Kind::NPlusOne => (&QUERY_N_PLUS_ONE, "times"),
            Kind::Duplicate => (&QUERY_DUPLICATE, "times the same"),
            Kind::Write => (&QUERY_N_PLUS_ONE_WRITE, "single writes"),
        };
        let place = repeats.route.as_deref().map(|route| format!(" in {route}")).unwrap_or_default();
        let total_ms = repeats.total_us.div_ceil(1_000);
        let statement = shapes::cut(&shape.statement, SUMMARY_MAX_BYTES);
        let mut finding =
            Finding::new(rule, self.shapes.services.name(shape.service), format!("{count} {what}, {total_ms} ms{place}  {statement}"))
                .label("fingerprint", shape.fingerprint.to_string())
                .evidence("statement", &*shape.statement)
                .evidence("repeats", count)
                .evidence("total_ms", view::ms(repeats.total_us))
                .evidence("mean_ms", view::ms(repeats.sum_us / count.max(1)))
                .evidence("distinct_params", repeats.distinct)
                .evidence("calls", shape.repeats)
                .evidence("traces", shape.repeated_in);
        if let Some(route) = &repeats.route {
            finding = finding.label("route", &**route);
        }
        if !shape.sources.is_empty() {
            finding = finding.evidence("sources", slow::sources(shape));
        }
        finding.trace = Some(self.traces.get(slot).id.to_string());
        self.incidents.fire(finding, cx);
        let (kind, reason) = match repeats.kind {
            Kind::NPlusOne => (AdviceKind::EagerLoading, format!("it ran {count} times{place}: load the related rows together")),
            Kind::Duplicate => {
                (AdviceKind::Cache, format!("it ran {count} times{place} with the same parameters: ask once and keep the answer"))
            }
            Kind::Write => (AdviceKind::BulkWrite, format!("it ran {count} times{place}: write several rows a statement")),
        };
        self.advise(repeats.shape, vec![advice::plain(kind, reason)], cx);
    }
}

/// Does this execution say by itself that its repeats are no finding?
fn is_left_alone(query: &Query, config: &QueryConfig) -> bool {
    query.truncated == Some(true)
        || query.paging == Some(true)
        || query
            .source
            .as_deref()
            .is_some_and(|source| config.n_plus_one.ignore_sources.iter().any(|text| !text.is_empty() && source.contains(text.as_str())))
}
