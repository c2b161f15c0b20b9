//! Once a minute every shape is looked at: is it worth a word? `query.advice`, one alert a shape and kind.
//!
//! Advice needs a reason in the stream (a shape that is slow, hot or returns many rows) beside one in the statement. An index of a
//! PostgreSQL shape is advised after the hand `index_advice` answered, with what a planner expects of it. When there is no
//! planner, or none that answers in time, it is advised from the text alone and said to be unverified, as without `verify_indexes`.

use super::QueryCore;
use super::advice::{self, Advice, AdviceKind, AdviceStats};
use super::config::QueryConfig;
use super::family::{Analysis, analyse};
use super::index::{IndexCandidate, to_verify};
use super::names::dialect;
use super::shapes::{Shape, cut};
use super::slow::window_ms;
use super::view::ms;
use crate::core::Cx;
use crate::incidents::Finding;
use homeostat_reflexes::sql::{Dialect, Verb};
use homeostat_schemas::rule::QUERY_ADVICE;
use homeostat_schemas::{Answer, Mode, UnixMs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The hand that asks a planner.
pub(super) const HAND: &str = "index_advice";
/// How often shapes are looked at.
const EVERY_MS: u64 = 60_000;
/// A planner is not asked about the same shape again before this.
const ASK_AGAIN_MS: u64 = 24 * 3_600_000;
/// When there turned out to be no planner, nobody is asked before this.
const AWAY_MS: u64 = 10 * 60_000;
/// An index must save so much of the cost to be advised, whatever a hand says.
const COST_RATIO_MAX: f64 = 0.75;

/// A question to the planner that has not been answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    shape: u32,
    /// A shape may have given its place to another meanwhile.
    fingerprint: u64,
    until_ms: UnixMs,
}

/// How many of the latest questions of a hot shape were new ones: a bitmap of hashed parameters, read by linear counting
/// (Whang, Vander-Zanden and Taylor, 1990). Kept only while a shape is hot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sample {
    bits: Vec<u64>,
    taken: u32,
}

impl Sample {
    const WORDS: usize = 32;
    const TAKEN_MAX: u32 = 1_024;

    pub(super) fn new() -> Sample {
        Sample { bits: vec![0; Self::WORDS], taken: 0 }
    }

    /// Notes the parameters of one execution.
    pub(super) fn note(&mut self, params: u64) {
        if self.taken < Self::TAKEN_MAX {
            self.taken += 1;
            #[allow(clippy::cast_possible_truncation)] // any bits of a hash will do
            let bit = params as usize % (Self::WORDS * 64);
            if let Some(word) = self.bits.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
    }

    /// Different parameters over executions; `None` when too few were seen.
    fn distinct_ratio(&self) -> Option<f64> {
        let bits = (Self::WORDS * 64) as f64;
        let zero = f64::from(self.bits.iter().map(|word| word.count_zeros()).sum::<u32>());
        let ratio = (bits * (bits / zero.max(1.0)).ln() / f64::from(self.taken)).min(1.0);
        (self.taken >= 30).then_some((ratio * 100.0).round() / 100.0)
    }
}

/// The rates of one shape over the last window.
struct Rates {
    calls_per_min: u64,
    ms_per_min: u64,
}

impl Rates {
    fn of(shape: &Shape, config: &QueryConfig) -> Rates {
        let window = window_ms(config);
        let per_minute = |count: u64| u64::try_from(u128::from(count) * 60_000 / u128::from(window)).unwrap_or(u64::MAX);
        Rates { calls_per_min: per_minute(shape.window.calls()), ms_per_min: per_minute(shape.window.total_us() / 1_000) }
    }

    fn is_hot(&self, shape: &Shape, kind: AdviceKind, config: &QueryConfig) -> bool {
        match kind {
            AdviceKind::Index => shape.slow || self.ms_per_min >= config.advice.index_min_ms_per_min,
            AdviceKind::SelectStar => shape.slow || self.calls_per_min >= config.advice.star_min_calls_per_min,
            AdviceKind::MissingLimit | AdviceKind::Cache | AdviceKind::EagerLoading | AdviceKind::BulkWrite => true,
        }
    }
}

impl QueryCore {
    /// Looks at every shape when it is time to.
    pub(super) fn review_now_and_then(&mut self, cx: &mut Cx<'_, QueryConfig>) {
        if self.reviewed_ms == 0 {
            self.reviewed_ms = cx.now;
        } else if cx.now.saturating_sub(self.reviewed_ms) >= EVERY_MS {
            self.review(cx);
            self.look_up_indexes(cx);
        }
        self.unanswered(cx.now, cx);
    }

    /// What nobody answered until `by` is advised as what it is: unverified.
    pub(super) fn unanswered(&mut self, by: UnixMs, cx: &mut Cx<'_, QueryConfig>) {
        if self.asked.is_empty() {
            return;
        }
        let late: Vec<String> = self.asked.iter().filter(|(_, asked)| asked.until_ms <= by).map(|(id, _)| id.clone()).collect();
        for asked in late.iter().filter_map(|id| self.asked.remove(id)).collect::<Vec<_>>() {
            self.advise_unverified(&asked, cx);
        }
    }

    /// Advises the indexes of a shape that a planner was asked about and did not speak of.
    fn advise_unverified(&mut self, asked: &Asked, cx: &mut Cx<'_, QueryConfig>) {
        let Some(shape) = self.shapes.get(asked.shape).filter(|shape| shape.fingerprint.0 == asked.fingerprint) else { return };
        let system = (shape.system != 0).then(|| self.shapes.systems.name(shape.system));
        let dialect = dialect(system);
        let advice = advice::indexes(&analyse(&shape.statement, dialect), shape.verb, dialect);
        if !self.has_its_index(asked.shape) {
            self.advise(asked.shape, advice, cx);
        }
    }

    /// Is it known that there is no planner to ask?
    pub(super) fn planner_away(&self, cx: &Cx<'_, QueryConfig>) -> bool {
        cx.now < self.planner_away_ms
    }

    /// Looks at every shape.
    pub(super) fn review(&mut self, cx: &mut Cx<'_, QueryConfig>) {
        self.reviewed_ms = cx.now;
        if cx.mode(QUERY_ADVICE.name) == Mode::Off {
            return;
        }
        let config = cx.config;
        let mut writes: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        let mut busy = Vec::new();
        for number in self.shapes.numbers() {
            let Some(shape) = self.shapes.get_mut(number) else { continue };
            shape.window.slide(cx.now, window_ms(config));
            if shape.window.calls() == 0 {
                shape.sample = None;
                continue;
            }
            let rates = Rates::of(shape, config);
            if shape.write {
                for table in &shape.tables {
                    let sum = writes.entry((shape.service, *table)).or_default();
                    *sum = sum.saturating_add(rates.calls_per_min);
                }
            }
            busy.push((number, rates));
        }
        for (number, rates) in busy {
            let Some(shape) = self.shapes.get_mut(number) else { continue };
            let sample = shape.sample.take();
            if shape.verb == Verb::Select && rates.calls_per_min >= config.advice.cache_min_calls_per_min {
                shape.sample = Some(Box::new(Sample::new()));
            }
            let worth = shape.slow
                || rates.calls_per_min >= config.advice.star_min_calls_per_min.min(config.advice.cache_min_calls_per_min)
                || rates.ms_per_min >= config.advice.index_min_ms_per_min
                || shape.returns_many();
            if worth && shape.is_whole() {
                let written = shape
                    .tables
                    .iter()
                    .filter_map(|table| writes.get(&(shape.service, *table)))
                    .fold(0u64, |sum, calls| sum.saturating_add(*calls));
                let stats = stats(shape, &rates, sample.as_deref(), written, config);
                self.consider(number, &rates, &stats, cx);
            }
        }
    }

    fn consider(&mut self, number: u32, rates: &Rates, stats: &AdviceStats, cx: &mut Cx<'_, QueryConfig>) {
        let Some(shape) = self.shapes.get(number) else { return };
        let system = (shape.system != 0).then(|| self.shapes.systems.name(shape.system));
        let dialect = dialect(system);
        let analysis = analyse(&shape.statement, dialect);
        let (indexes, others): (Vec<Advice>, Vec<Advice>) = advice::of_analysis(&analysis, shape.verb, dialect, stats, &cx.config.advice)
            .into_iter()
            .filter(|advice| rates.is_hot(shape, advice.kind, cx.config))
            .partition(|advice| advice.kind == AdviceKind::Index);
        if cx.config.advice.verify_indexes && dialect == Dialect::Postgresql && !self.planner_away(cx) {
            if rates.is_hot(shape, AdviceKind::Index, cx.config) {
                self.ask_planner(number, &analysis, dialect, cx);
            }
        } else if !self.has_its_index(number) {
            self.advise(number, indexes, cx);
        }
        for advice in others {
            self.advise(number, vec![advice], cx);
        }
    }

    /// Advice of one kind for a shape; several indexes are one piece of advice.
    pub(super) fn advise(&mut self, number: u32, advice: Vec<Advice>, cx: &mut Cx<'_, QueryConfig>) {
        let (Some(first), Some(shape)) = (advice.first(), self.shapes.get(number)) else { return };
        let kind = first.kind;
        let reason = advice.iter().map(|advice| advice.reason.as_str()).collect::<Vec<_>>().join("; ");
        let statement = cut(&shape.statement, super::SUMMARY_MAX_BYTES);
        let mut finding =
            Finding::new(&QUERY_ADVICE, self.shapes.services.name(shape.service), format!("{}: {reason}  {statement}", kind.name()))
                .label("fingerprint", shape.fingerprint.to_string())
                .label("kind", kind.name())
                .evidence("statement", &*shape.statement)
                .evidence("reason", reason)
                .evidence("calls", shape.stats.calls)
                .evidence("mean_ms", ms(shape.stats.total_us / shape.stats.calls.max(1)))
                .evidence("total_ms", ms(shape.stats.total_us));
        let ddl: Vec<&str> = advice.iter().filter_map(|advice| advice.ddl.as_deref()).collect();
        if !ddl.is_empty() {
            finding.advice = ddl.iter().map(|ddl| (*ddl).to_owned()).collect();
            finding = finding.evidence("ddl", ddl).evidence("verified", first.verified);
        }
        if let Some(ratio) = first.cost_ratio {
            finding = finding.evidence("cost_ratio", ratio);
        }
        self.incidents.fire(finding, cx);
        if kind == AdviceKind::Index {
            self.await_effect(number, &advice, cx);
        }
        if let Some(shape) = self.shapes.get_mut(number) {
            shape.advice.retain(|known| known.kind != kind);
            shape.advice.extend(advice);
        }
    }

    fn ask_planner(&mut self, number: u32, analysis: &Analysis, dialect: Dialect, cx: &mut Cx<'_, QueryConfig>) {
        let config = &cx.config.advice;
        let Some(shape) = self.shapes.get_mut(number) else { return };
        let recently = shape.asked_ms > 0 && cx.now.saturating_sub(shape.asked_ms) < ASK_AGAIN_MS;
        if recently || self.asked.len() >= config.verify_max || !analysis.parsed || shape.verb == Verb::Insert {
            return;
        }
        let candidates = to_verify(analysis, dialect);
        if candidates.is_empty() {
            return;
        }
        shape.asked_ms = cx.now.max(1);
        let (statement, fingerprint, service) = (shape.statement.to_string(), shape.fingerprint.0, shape.service);
        // How many rows it returns says what stands behind its `LIMIT ?`.
        let rows = shape.stats.rows.checked_div(shape.stats.calls).filter(|rows| *rows > 0);
        let args = json!({
            "service": self.shapes.services.name(service), "statement": statement, "dialect": dialect, "candidates": candidates, "rows": rows,
        });
        let timeout = config.verify_timeout_ms;
        let id = cx.ask(HAND, "verify", args, timeout);
        self.asked.insert(id, Asked { shape: number, fingerprint, until_ms: cx.now.saturating_add(timeout) });
    }

    /// Takes the planner's word: `{"indexes": [{"table", "columns", "using", "cost_ratio", "partitioned"}]}`, those that it would use.
    pub(super) fn answer(&mut self, answer: &Answer, cx: &mut Cx<'_, QueryConfig>) {
        if !answer.configured {
            self.planner_away_ms = cx.now.saturating_add(AWAY_MS);
        }
        if self.looked_up(&answer.ask, answer.ok.then_some(&answer.found), cx) {
            return;
        }
        let Some(asked) = self.asked.remove(&answer.ask) else { return };
        let Some(shape) = self.shapes.get(asked.shape).filter(|shape| shape.fingerprint.0 == asked.fingerprint) else { return };
        let system = (shape.system != 0).then(|| self.shapes.systems.name(shape.system));
        let dialect = dialect(system);
        if !answer.configured || !answer.ok {
            // No planner here, or one that does not know these tables.
            return self.advise_unverified(&asked, cx);
        }
        let indexes = answer.found.get("indexes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let advice = indexes.iter().take(super::index::CANDIDATES_MAX).filter_map(|found| verified(found, dialect)).collect();
        self.advise(asked.shape, advice, cx);
    }
}

fn verified(found: &Value, dialect: Dialect) -> Option<Advice> {
    #[derive(Deserialize)]
    struct Found {
        table: String,
        columns: Vec<String>,
        #[serde(default)]
        using: Option<String>,
        cost_ratio: f64,
        #[serde(default)]
        partitioned: bool,
    }
    let found = Found::deserialize(found).ok()?;
    let good = (0.0..=COST_RATIO_MAX).contains(&found.cost_ratio) && (1..=8).contains(&found.columns.len());
    let using = found.using.unwrap_or_else(|| "btree".to_owned());
    let candidate = IndexCandidate { table: found.table, columns: found.columns, using };
    good.then(|| advice::planned(candidate, dialect, found.cost_ratio, found.partitioned))
}

#[allow(clippy::cast_precision_loss)] // rates
fn stats(shape: &Shape, rates: &Rates, sample: Option<&Sample>, written: u64, config: &QueryConfig) -> AdviceStats {
    AdviceStats {
        rows_p95: Some(if shape.returns_many() { config.advice.limit_min_rows as f64 } else { 0.0 }),
        calls_per_min: Some(rates.calls_per_min as f64),
        distinct_param_ratio: sample.and_then(Sample::distinct_ratio),
        p50_ms: Some((shape.stats.quantile_us(0.5) / 10.0).round() / 100.0),
        writes_to_tables_per_min: Some(written as f64),
        repeats_per_trace: None,
    }
}
