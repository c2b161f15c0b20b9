//! Did the index help? `query.advice_effective` and `query.advice_ineffective`, decided by the stream.
//!
//! From the moment an index is advised the executions of its shape are compared with what they were: logarithms of times, before the
//! index was there and after it. That it is there says the database's catalogue (the hand `index_advice` looks once a minute) or an
//! order. What ran between the last look that did not find it and the one that did counts for neither side.
//!
//! The verdict is Welch's comparison of the two means with three standard errors: *effective* when the executions are faster by at
//! least `effect_min_gain`, *ineffective* when they are not even within the error; what lies between is decided when
//! twenty times as many executions have been seen, or when `effect_max_h` have passed.

use super::QueryCore;
use super::advice::{Advice, AdviceKind};
use super::config::QueryConfig;
use super::index::IndexCandidate;
use super::regression::{exp2, log2, three_digits};
use super::shapes::cut;
use super::stats::Stats;
use crate::core::Cx;
use crate::incidents::Finding;
use homeostat_schemas::UnixMs;
use homeostat_schemas::event::Order;
use homeostat_schemas::rule::{QUERY_ADVICE, QUERY_ADVICE_EFFECTIVE, QUERY_ADVICE_INEFFECTIVE};
use homeostat_schemas::{Command, Outcome, OutcomeStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The action of an order that says that an index was created.
pub const INDEX_CREATED: &str = "index.created";
/// The action of a command whose outcome says it.
const CREATE: &str = "index.create";
/// Indexes that the hand is asked about at a time.
const LOOKED_UP_MAX: usize = 64;
/// More executions than this weigh half: the latest count.
const CALLS_MAX: i64 = 8_192;
/// Commands whose outcome is waited for.
const COMMANDS_MAX: usize = 64;
/// Standard errors between two means that are certainly different.
const ERRORS: f64 = 3.0;
/// Least deviation of a single execution, octaves: very even times would make anything certain.
const DEVIATION_MIN: f64 = 0.25;

/// Logarithms of times, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Moments {
    calls: i64,
    /// Base 2, in 1/1024.
    sum: i64,
    squares: i64,
}

impl Moments {
    fn add(&mut self, took_us: u64) {
        if self.calls >= CALLS_MAX {
            *self = Moments { calls: self.calls / 2, sum: self.sum / 2, squares: self.squares / 2 };
        }
        let log = log2(took_us);
        self.calls += 1;
        self.sum += log;
        self.squares += log * log;
    }

    fn merge(&mut self, other: &Moments) {
        self.calls += other.calls;
        self.sum += other.sum;
        self.squares += other.squares;
        while self.calls > CALLS_MAX {
            *self = Moments { calls: self.calls / 2, sum: self.sum / 2, squares: self.squares / 2 };
        }
    }

    /// Of everything that was executed so far.
    fn of(stats: &Stats) -> Moments {
        let mut moments = Moments::default();
        let whole = stats.counts().fold(0u64, |sum, (_, count)| sum.saturating_add(count));
        // As many as are kept, in the same proportion.
        #[allow(clippy::cast_sign_loss)]
        let scale = whole.div_ceil(CALLS_MAX as u64).max(1);
        for (took_us, count) in stats.counts() {
            let (log, count) = (log2(took_us), i64::try_from(count.div_ceil(scale)).unwrap_or(CALLS_MAX));
            moments.merge(&Moments { calls: count, sum: log * count, squares: log * log * count });
        }
        moments
    }

    /// Mean and variance of the mean, octaves.
    #[allow(clippy::cast_precision_loss)] // at most 8,192 executions
    fn mean(&self) -> (f64, f64) {
        let (calls, one) = (self.calls.max(1) as f64, 1_024.0);
        let mean = self.sum as f64 / calls;
        let variance = (self.squares as f64 / calls - mean * mean).max(0.0) / (one * one);
        (mean / one, variance.max(DEVIATION_MIN * DEVIATION_MIN) / calls)
    }

    /// The geometric mean, ms.
    fn ms(&self) -> f64 {
        three_digits(exp2(self.sum / self.calls.max(1)) / 1_000.0)
    }
}

/// Advised indexes of one shape, and what became of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Effect {
    /// A shape may have given its place to another meanwhile.
    fingerprint: u64,
    indexes: Vec<IndexCandidate>,
    ddl: Vec<String>,
    cost_ratio: Option<f64>,
    before: Moments,
    /// Since the last look into the catalogue: before or after, nobody knows yet.
    between: Moments,
    after: Moments,
    after_calls: u64,
    created_ms: Option<UnixMs>,
    decided: bool,
}

enum Verdict {
    Effective,
    Ineffective,
}

impl Effect {
    /// What the executions say by now; `ratio` is time after over time before.
    fn verdict(&self, ratio: f64, now: UnixMs, config: &QueryConfig) -> Option<Verdict> {
        let advice = &config.advice;
        let created = self.created_ms?;
        let least = advice.effect_min_calls.max(2);
        if self.before.calls < 2 || self.after_calls < least {
            return None;
        }
        let ((before, before_error), (after, after_error)) = (self.before.mean(), self.after.mean());
        let gained = before - after;
        let wanted = -(1.0 - advice.effect_min_gain.clamp(0.0, 0.99)).log2();
        let error = ERRORS * (before_error + after_error).sqrt();
        if gained - error >= wanted {
            return Some(Verdict::Effective);
        }
        if gained + error < wanted {
            return Some(Verdict::Ineffective);
        }
        let over =
            self.after_calls >= least.saturating_mul(20) || now.saturating_sub(created) >= advice.effect_max_h.saturating_mul(3_600_000);
        let point = if ratio <= 1.0 - advice.effect_min_gain { Verdict::Effective } else { Verdict::Ineffective };
        over.then_some(point)
    }

    fn ratio(&self) -> f64 {
        let ((before, _), (after, _)) = (self.before.mean(), self.after.mean());
        three_digits((after - before).exp2())
    }
}

/// What the hand was asked about: shapes and their fingerprints, in the order of the question.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LookedUp {
    id: String,
    until_ms: UnixMs,
    shapes: Vec<(u32, u64, usize)>,
}

impl QueryCore {
    /// Indexes were advised for a shape: from now on their effect is waited for.
    pub(super) fn await_effect(&mut self, number: u32, advice: &[Advice], cx: &Cx<'_, QueryConfig>) {
        let Some(shape) = self.shapes.get(number) else { return };
        let candidates = advice.iter().filter(|advice| advice.kind == AdviceKind::Index).filter_map(|advice| {
            Some(IndexCandidate { table: advice.table.clone()?, columns: advice.columns.clone(), using: advice.using.clone()? })
        });
        let indexes: Vec<IndexCandidate> = candidates.collect();
        let same = self.effects.get(&number).is_some_and(|known| known.fingerprint == shape.fingerprint.0 && known.indexes == indexes);
        let room = self.effects.contains_key(&number) || self.effects.len() < cx.config.advice.effects_max;
        if indexes.is_empty() || same || !room {
            return;
        }
        let effect = Effect {
            fingerprint: shape.fingerprint.0,
            indexes,
            ddl: advice.iter().filter_map(|advice| advice.ddl.clone()).collect(),
            cost_ratio: advice.first().and_then(|advice| advice.cost_ratio),
            before: Moments::of(&shape.stats),
            between: Moments::default(),
            after: Moments::default(),
            after_calls: 0,
            created_ms: None,
            decided: false,
        };
        self.effects.insert(number, effect);
    }

    /// Was an index of this shape created? Then the text alone is no reason to advise it again.
    pub(super) fn has_its_index(&self, number: u32) -> bool {
        let fingerprint = self.shapes.get(number).map(|shape| shape.fingerprint.0);
        self.effects.get(&number).is_some_and(|effect| Some(effect.fingerprint) == fingerprint && effect.created_ms.is_some())
    }

    /// Counts an execution of a shape whose index is waited for, or judged.
    pub(super) fn observe_effect(&mut self, number: u32, took_us: u64, cx: &mut Cx<'_, QueryConfig>) {
        if self.effects.is_empty() {
            return;
        }
        let Some(effect) = self.effects.get_mut(&number) else { return };
        if effect.decided || self.shapes.get(number).is_none_or(|shape| shape.fingerprint.0 != effect.fingerprint) {
            return;
        }
        if effect.created_ms.is_none() {
            effect.between.add(took_us);
            return;
        }
        effect.after.add(took_us);
        effect.after_calls = effect.after_calls.saturating_add(1);
        self.judge_effect(number, cx);
    }

    fn judge_effect(&mut self, number: u32, cx: &mut Cx<'_, QueryConfig>) {
        let Some(effect) = self.effects.get(&number) else { return };
        let ratio = effect.ratio();
        let Some(verdict) = effect.verdict(ratio, cx.now, cx.config) else { return };
        let Some(shape) = self.shapes.get(number) else { return };
        let statement = cut(&shape.statement, super::SUMMARY_MAX_BYTES);
        let (before, after) = (effect.before.ms(), effect.after.ms());
        let (rule, summary) = match verdict {
            Verdict::Effective => (&QUERY_ADVICE_EFFECTIVE, format!("{after} ms with the index, {before} ms without  {statement}")),
            Verdict::Ineffective => {
                (&QUERY_ADVICE_INEFFECTIVE, format!("{after} ms with the index, {before} ms without: it can go  {statement}"))
            }
        };
        let mut finding = Finding::new(rule, self.shapes.services.name(shape.service), summary)
            .label("fingerprint", shape.fingerprint.to_string())
            .label("kind", AdviceKind::Index.name())
            .evidence("statement", &*shape.statement)
            .evidence("ddl", effect.ddl.clone())
            .evidence("before_ms", before)
            .evidence("after_ms", after)
            .evidence("ratio", ratio)
            .evidence("calls_before", effect.before.calls)
            .evidence("calls_after", effect.after_calls)
            .evidence("created_ms", effect.created_ms);
        if let Some(cost_ratio) = effect.cost_ratio {
            finding = finding.evidence("cost_ratio", cost_ratio);
        }
        self.incidents.fire(finding, cx);
        if let Some(effect) = self.effects.get_mut(&number) {
            effect.decided = true;
        }
    }

    /// The index of this shape is there now.
    fn created(&mut self, number: u32, cx: &mut Cx<'_, QueryConfig>) {
        let Some(effect) = self.effects.get_mut(&number) else { return };
        if effect.created_ms.is_some() {
            return;
        }
        effect.created_ms = Some(cx.now);
        effect.between = Moments::default();
        let Some(shape) = self.shapes.get_mut(number) else { return };
        shape.advice.retain(|advice| advice.kind != AdviceKind::Index);
        let (service, fingerprint) = (shape.service, shape.fingerprint.to_string());
        let finding = Finding::new(&QUERY_ADVICE, self.shapes.services.name(service), "the index is there; its effect is being measured")
            .label("fingerprint", fingerprint)
            .label("kind", AdviceKind::Index.name());
        self.incidents.resolve(finding, cx);
    }

    /// Asks the hand which of the advised indexes are there by now.
    pub(super) fn look_up_indexes(&mut self, cx: &mut Cx<'_, QueryConfig>) {
        let shapes = &self.shapes;
        // What has gone is not waited for, nor what was decided long ago.
        self.effects.retain(|number, effect| shapes.get(*number).is_some_and(|shape| shape.fingerprint.0 == effect.fingerprint));
        if self.effects.is_empty() || self.planner_away(cx) || !cx.config.advice.verify_indexes || cx.now < self.looked_up.until_ms {
            return;
        }
        let mut indexes: Vec<IndexCandidate> = Vec::new();
        let mut asked = Vec::new();
        for (number, effect) in self.effects.range(self.look_up_from..).chain(self.effects.range(..self.look_up_from)) {
            if effect.created_ms.is_none() && indexes.len() + effect.indexes.len() <= LOOKED_UP_MAX {
                asked.push((*number, effect.fingerprint, effect.indexes.len()));
                indexes.extend(effect.indexes.iter().cloned());
            }
        }
        let Some((last, ..)) = asked.last() else { return };
        self.look_up_from = last.saturating_add(1);
        let timeout = cx.config.advice.verify_timeout_ms;
        let id = cx.ask(super::review::HAND, "present", json!({ "indexes": indexes }), timeout);
        self.looked_up = LookedUp { id, until_ms: cx.now.saturating_add(timeout), shapes: asked };
    }

    /// Takes the catalogue's word: `{"present": [true, false, …]}`, in the order of the question. False when it was no such question.
    pub(super) fn looked_up(&mut self, ask: &str, found: Option<&Value>, cx: &mut Cx<'_, QueryConfig>) -> bool {
        if self.looked_up.id != ask || ask.is_empty() {
            return false;
        }
        let asked = std::mem::take(&mut self.looked_up);
        let Some(present) = found.and_then(|found| found.get("present")).and_then(Value::as_array) else { return true };
        let mut present = present.iter().map(|there| there.as_bool() == Some(true));
        for (number, fingerprint, indexes) in asked.shapes {
            let there: Vec<bool> = present.by_ref().take(indexes).collect();
            let Some(effect) = self.effects.get_mut(&number).filter(|effect| effect.fingerprint == fingerprint) else { continue };
            if there.len() == indexes && there.iter().all(|there| *there) {
                self.created(number, cx);
            } else if effect.created_ms.is_none() {
                let between = std::mem::take(&mut effect.between);
                effect.before.merge(&between);
            }
        }
        true
    }

    /// An order may say that an index was created: `index.created`, whose target is a fingerprint or a table.
    pub(super) fn order(&mut self, order: &Order, cx: &mut Cx<'_, QueryConfig>) {
        if INDEX_CREATED == order.action {
            self.created_at(&order.service, &order.target, cx);
        }
    }

    /// A command to create an index: its outcome will say whether it is there.
    pub(super) fn command(&mut self, command: &Command) {
        if command.action == CREATE && command.mode == homeostat_schemas::Mode::Act {
            while self.creating.len() >= COMMANDS_MAX {
                self.creating.pop_front();
            }
            self.creating.push_back((command.id.clone(), command.service.clone(), command.target.clone()));
        }
    }

    /// What became of a command.
    pub(super) fn outcome(&mut self, outcome: &Outcome, cx: &mut Cx<'_, QueryConfig>) {
        let Some(at) = self.creating.iter().position(|(id, service, _)| *id == outcome.command && *service == outcome.service) else {
            return;
        };
        if matches!(outcome.status, OutcomeStatus::Accepted) {
            return;
        }
        if let Some((_, service, target)) = self.creating.remove(at)
            && outcome.status == OutcomeStatus::Done
        {
            self.created_at(&service, &target, cx);
        }
    }

    fn created_at(&mut self, service: &str, target: &str, cx: &mut Cx<'_, QueryConfig>) {
        let meant = |(number, effect): (&u32, &Effect)| {
            let shape = self.shapes.get(*number)?;
            let names = shape.fingerprint.to_string() == target || effect.indexes.iter().any(|index| index.table == target);
            (self.shapes.services.name(shape.service) == service && names).then_some(*number)
        };
        for number in self.effects.iter().filter_map(meant).collect::<Vec<_>>() {
            // Nobody looked in between: what ran until now ran without it.
            if let Some(effect) = self.effects.get_mut(&number) {
                let between = std::mem::take(&mut effect.between);
                effect.before.merge(&between);
            }
            self.created(number, cx);
        }
    }
}
