//! `query.slow`: one alert when the mean of a shape over the window rises above the limit, one when it has recovered.
//!
//! One incident a shape, not one a route: people repair a statement, and the request it ran under is only known later.

use super::QueryCore;
use super::config::QueryConfig;
use super::shapes::{Shape, Shapes, cut};
use super::view::{SlowExecution, ms};
use crate::core::Cx;
use crate::incidents::Finding;
use homeostat_schemas::rule::QUERY_SLOW;
use homeostat_schemas::{Mode, Ms};

/// Longest statement in a summary, bytes. The evidence has it whole.
const SUMMARY_MAX_BYTES: usize = 160;

pub(super) fn window_ms(config: &QueryConfig) -> Ms {
    config.slow_window_s.max(1).saturating_mul(1_000)
}

/// `mean 300 ms  select …`: at least two digits, and no more decimals than make sense.
fn summary(mean_us: u64, statement: &str) -> String {
    let mean = if mean_us >= 10_000 {
        format!("{}", mean_us.saturating_add(500) / 1_000)
    } else {
        format!("{}.{}", mean_us / 1_000, mean_us % 1_000 / 100)
    };
    format!("mean {mean} ms  {}", cut(statement, SUMMARY_MAX_BYTES))
}

fn finding(shape: &Shape, shapes: &Shapes, config: &QueryConfig, summary: String) -> Finding {
    let mut finding = Finding::new(&QUERY_SLOW, shapes.services.name(shape.service), summary)
        .label("fingerprint", shape.fingerprint.to_string())
        .evidence("statement", &*shape.statement)
        .evidence("calls", shape.window.calls())
        .evidence("slow_calls", shape.window.slow())
        .evidence("max_ms", ms(shape.window.max_us()))
        .evidence("slow_ms", config.slow_ms);
    if let Some(mean_us) = shape.window.mean_us() {
        finding = finding.evidence("mean_ms", ms(mean_us));
    }
    if !shape.sources.is_empty() {
        finding = finding.evidence("sources", sources(shape));
    }
    finding
}

/// Where in the code it was sent, sorted.
pub(super) fn sources(shape: &Shape) -> Vec<String> {
    let mut sources: Vec<String> = shape.sources.iter().map(ToString::to_string).collect();
    sources.sort_unstable();
    sources
}

impl QueryCore {
    /// Counts an execution in the window of its shape and says what follows.
    pub(super) fn observe_slow(&mut self, number: u32, took_us: u64, trace: Option<&str>, cx: &mut Cx<'_, QueryConfig>) {
        let config = cx.config;
        let Some(shape) = self.shapes.get_mut(number) else { return };
        let slow = took_us > config.slow_us();
        shape.window.slide(cx.now, window_ms(config));
        shape.window.add(took_us, slow);
        if slow {
            let execution = SlowExecution {
                service: self.shapes.services.name(self.shapes.get(number).map_or(0, |shape| shape.service)).to_owned(),
                fingerprint: self.shapes.get(number).map(|shape| shape.fingerprint.to_string()).unwrap_or_default(),
                took_ms: ms(took_us),
                at_ms: cx.now,
                trace: trace.map(|trace| cut(trace, 64)),
            };
            self.slow_list.push_back(execution);
            while self.slow_list.len() > config.slow_list_max {
                self.slow_list.pop_front();
            }
        }
        let Some(shape) = self.shapes.get(number) else { return };
        if shape.slow {
            if shape.window.mean_below(config.recovered_us()) {
                self.recovered(number, cx);
            }
        } else if slow
            && shape.window.calls() >= config.min_calls
            && shape.window.mean_exceeds(config.slow_us())
            && cx.mode(QUERY_SLOW.name) != Mode::Off
        {
            let mean_us = shape.window.mean_us().unwrap_or(0);
            let mut finding = finding(shape, &self.shapes, config, summary(mean_us, &shape.statement));
            finding.trace = trace.map(|trace| cut(trace, 64));
            self.incidents.fire(finding, cx);
            self.slow_open.insert(number);
            if let Some(shape) = self.shapes.get_mut(number) {
                shape.slow = true;
            }
        }
    }

    /// Lets the windows of the slow shapes slide; silence is an observation too.
    pub(super) fn slide_slow(&mut self, cx: &mut Cx<'_, QueryConfig>) {
        if self.slow_open.is_empty() {
            return;
        }
        let off = cx.mode(QUERY_SLOW.name) == Mode::Off;
        let quiet_ms = cx.config.quiet_min.saturating_mul(60_000);
        for number in self.slow_open.iter().copied().collect::<Vec<_>>() {
            let Some(shape) = self.shapes.get_mut(number) else { continue };
            shape.window.slide(cx.now, window_ms(cx.config));
            let quiet = shape.window.calls() == 0 && cx.now.saturating_sub(shape.stats.last_seen_ms) >= quiet_ms;
            if off || quiet || shape.window.mean_below(cx.config.recovered_us()) {
                self.recovered(number, cx);
            }
        }
    }

    fn recovered(&mut self, number: u32, cx: &mut Cx<'_, QueryConfig>) {
        self.slow_open.remove(&number);
        let Some(shape) = self.shapes.get_mut(number) else { return };
        shape.slow = false;
        let Some(shape) = self.shapes.get(number) else { return };
        let summary = match shape.window.mean_us() {
            Some(mean_us) => summary(mean_us, &shape.statement),
            None => format!("quiet for {} min  {}", cx.config.quiet_min, cut(&shape.statement, SUMMARY_MAX_BYTES)),
        };
        self.incidents.resolve(finding(shape, &self.shapes, cx.config, summary), cx);
    }
}
