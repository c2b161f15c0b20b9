//! `query.regressed`: raises and resolves what the [`super::regression`] of a shape says.

use super::QueryCore;
use super::config::QueryConfig;
use super::regression::{Pace, Turn};
use super::shapes::{Shape, Shapes, cut};
use crate::core::Cx;
use crate::incidents::Finding;
use homeostat_schemas::Mode;
use homeostat_schemas::rule::QUERY_REGRESSED;

const HOUR: u64 = 3_600_000;

fn finding(shape: &Shape, shapes: &Shapes, summary: &str) -> Finding {
    let statement = cut(&shape.statement, super::SUMMARY_MAX_BYTES);
    let finding = Finding::new(&QUERY_REGRESSED, shapes.services.name(shape.service), format!("{summary}  {statement}"))
        .label("fingerprint", shape.fingerprint.to_string())
        .evidence("statement", &*shape.statement);
    match shape.pace.watch() {
        Some(watch) => finding
            .evidence("baseline_ms", watch.baseline_ms())
            .evidence("mean_ms", watch.since_ms())
            .evidence("ratio", watch.ratio())
            .evidence("calls", watch.calls()),
        None => finding,
    }
}

impl QueryCore {
    /// Compares an execution with the baseline of its shape.
    pub(super) fn observe_pace(&mut self, number: u32, took_us: u64, trace: Option<&str>, cx: &mut Cx<'_, QueryConfig>) {
        let Some(shape) = self.shapes.get_mut(number) else { return };
        let Some(turn) = shape.pace.add(took_us, cx.now, &cx.config.regression) else { return };
        let Some(shape) = self.shapes.get(number) else { return };
        match turn {
            Turn::Regressed => {
                let ratio = shape.pace.watch().map_or(0.0, super::regression::Watch::ratio);
                let mut finding = finding(shape, &self.shapes, &format!("{ratio} times slower than before"));
                finding.trace = trace.map(|trace| cut(trace, 64));
                self.incidents.fire(finding, cx);
                self.regressed_open.insert(number);
            }
            Turn::Recovered => {
                let finding = finding(shape, &self.shapes, "as fast as before");
                self.incidents.resolve(finding, cx);
                self.regressed_open.remove(&number);
            }
        }
    }

    /// What has been slower for long enough is the new normal.
    pub(super) fn rebase(&mut self, cx: &mut Cx<'_, QueryConfig>) {
        if self.regressed_open.is_empty() {
            return;
        }
        let off = cx.mode(QUERY_REGRESSED.name) == Mode::Off;
        let patience = cx.config.regression.rebaseline_h.saturating_mul(HOUR);
        for number in self.regressed_open.iter().copied().collect::<Vec<_>>() {
            let Some(shape) = self.shapes.get(number) else { continue };
            let since = shape.pace.regressed_ms().unwrap_or(cx.now);
            if !off && cx.now.saturating_sub(since) < patience {
                continue;
            }
            let finding = finding(shape, &self.shapes, "the new pace is the baseline now");
            self.incidents.resolve(finding, cx);
            self.regressed_open.remove(&number);
            if let Some(shape) = self.shapes.get_mut(number) {
                shape.pace = Pace::default();
            }
        }
    }
}
