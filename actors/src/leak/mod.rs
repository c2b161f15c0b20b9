//! Leak: whose memory grows without a bound?
//!
//! From `resource` events, for each life of each process:
//!
//! | step | where |
//! |---|---|
//! | the least memory of every quarter of an hour, two days long; the warm-up left out | `floors`, `process` |
//! | load and single steps taken out | `clean` |
//! | does it grow (Mann–Kendall, Theil–Sen), lastingly (thirds), in a shape without a bound (curves), above yesterday? | `judge`, `shape` |
//! | a look becomes a suspicion, looks that agree a leak; it ends when growth ends, when memory is given back, or with the process | `process` |
//! | when is the limit reached, and is there room for a heap snapshot? | `limit` |
//!
//! Rules: `leak.suspected`, `leak.confirmed`, `leak.limit_near`. A suspicion that is confirmed is over as a suspicion. This mind issues
//! no command: the recovery mind does, on its alerts.
//!
//! Promises
//! - L-1 At most `processes` processes are watched, each with at most two days of floors, whatever names arrive.
//! - L-2 What is open about a process is what is said of it: never a suspicion and a leak at once, and nothing about a process that is
//!   not watched.

mod clean;
mod config;
mod findings;
mod floors;
mod judge;
mod limit;
mod process;
mod registry;
mod series;
mod shape;
mod view;

pub use config::{LeakConfig, LeakRule};
pub use judge::{Grade, Reason};
pub use limit::{Room, ToLimit};
pub use process::{Change, Cleared, Measured, Process, Sample, Tier};
pub use series::{Assessment, assess};
pub use shape::Shape;
pub use view::{LeakRow, LeakTotals, LeakView};

use crate::core::{Core, Cx, Input, Interest, clip};
use crate::incidents::Incidents;
use homeostat_schemas::event::Resource;
use homeostat_schemas::{Event, EventKind, Ms, UnixMs};
use registry::Registry;
use serde::{Deserialize, Serialize};

/// How often the silent are looked for.
const SWEEP_MS: Ms = 60_000;
/// The mind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct LeakCore {
    registry: Registry,
    incidents: Incidents,
    swept_ms: UnixMs,
    looks: u64,
}

impl Core for LeakCore {
    const NAME: &'static str = "leak";
    const STATE_VERSION: u16 = 1;
    const INTEREST: Interest = Interest { events: &[EventKind::Resource], ..Interest::NONE };
    type Config = LeakConfig;
    type View = LeakView;

    fn step(&mut self, input: Input<'_>, cx: &mut Cx<'_, LeakConfig>) {
        for gone in self.registry.limit(cx.config.processes) {
            self.close((&gone.0, &gone.1), "there is no longer room for it", cx);
        }
        match input {
            Input::Event(Event::Resource(event)) => self.resource(event, cx),
            Input::Tick => self.tick(cx),
            // The end of a file says nothing about anybody's memory.
            Input::End | Input::Event(_) | Input::Alert(_) | Input::Command(_) | Input::Outcome(_) | Input::Key(_) | Input::Answer(_) => {}
        }
    }

    fn broken_promise(&self, _config: &LeakConfig) -> Option<&'static str> {
        self.registry.broken_promise().or_else(|| self.findings_promise()).or_else(|| self.incidents.broken_promise())
    }

    fn view(&self, now: UnixMs, config: &LeakConfig) -> LeakView {
        let mut processes: Vec<LeakRow> =
            self.registry.all().map(|(service, instance, watched)| LeakRow::new(service, instance, &watched.process)).collect();
        // A stable sort: names stay in order.
        processes.sort_by_key(|row| std::cmp::Reverse(row.verdict));
        let totals = LeakTotals {
            processes: self.registry.count(),
            refused: self.registry.refused,
            forgotten: self.registry.forgotten,
            looks: self.looks,
            open: self.incidents.len(),
        };
        LeakView { at_ms: now, rule: config.rule, processes, totals }
    }

    fn incidents(&self) -> &Incidents {
        &self.incidents
    }
}

impl LeakCore {
    fn resource(&mut self, event: &Resource, cx: &mut Cx<'_, LeakConfig>) {
        let instance = event.instance.as_deref().unwrap_or_default();
        let name = (event.service.as_str(), clip(instance));
        let mut gone = Vec::new();
        let changes = self.registry.process(name, cx.now, &mut gone).map(|process| process.take(&Sample::from(event), cx.config));
        for gone in gone {
            self.close((&gone.0, &gone.1), "its place was needed", cx);
        }
        for change in changes.into_iter().flatten() {
            self.changed(name, change, cx);
        }
    }

    fn tick(&mut self, cx: &mut Cx<'_, LeakConfig>) {
        if cx.now < self.swept_ms.saturating_add(SWEEP_MS) {
            return;
        }
        self.swept_ms = cx.now;
        for gone in self.registry.sweep(cx.now, cx.config.forget_after_ms) {
            self.close((&gone.0, &gone.1), "it no longer reports", cx);
        }
        self.incidents.sweep(cx);
    }
}

#[cfg(test)]
mod tests;
