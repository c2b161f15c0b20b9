//! Pressure: for how much of the time tasks of a process's cgroup had to wait for memory, CPU or disk.
//!
//! These are the kernel's pressure stall figures (PSI, `some avg10` of `memory.pressure`, `cpu.pressure` and `io.pressure`, as a share)
//! and the share of the periods in which the CPU quota throttled it (`cpu.stat`). Use says how full something is, pressure that it is
//! missed; a warning, never a reason to be unready.

use super::record::Pressure;
use super::streak::Streak;
use super::{HealthConfig, HealthCore, about};
use crate::core::Cx;
use homeostat_schemas::event::Resource;
use homeostat_schemas::{UnixMs, rule};

/// What pressure there is: its name, and how it is read and judged.
type Sort = (&'static str, fn(&Resource) -> Option<f64>, fn(&HealthConfig) -> f64);

/// All sorts, in the order of the documentation.
const SORTS: [Sort; 4] = [
    ("memory", |event| event.memory_pressure, |config| config.pressure_memory),
    ("cpu", |event| event.cpu_pressure, |config| config.pressure_cpu),
    ("io", |event| event.io_pressure, |config| config.pressure_io),
    ("throttled", |event| event.cpu_throttled, |config| config.throttled),
];

impl HealthCore {
    /// Takes the pressures of a report that is neither late nor a duplicate.
    pub(super) fn pressure(&mut self, event: &Resource, instance: &str, cx: &mut Cx<'_, HealthConfig>) {
        for (name, read, limit) in SORTS {
            let Some(value) = read(event).filter(|value| value.is_finite()) else { continue };
            let limit = limit(cx.config);
            let Some(i) = self.registry.services.get_mut(&event.service).and_then(|s| s.instances.get_mut(instance)) else { return };
            let new = Pressure { value, streak: Streak::new(Some(true)), seen_ms: cx.now };
            let known = i.pressures.entry(name.to_owned()).or_insert(new);
            (known.value, known.seen_ms) = (value, cx.now);
            let good = value < limit;
            if !known.streak.take(good, cx.config.pressure_samples, cx.config.pressure_samples) {
                continue;
            }
            let summary = match name {
                "throttled" => format!("its CPU quota throttled it in {:.0} % of the periods", value * 100.0),
                name => format!("tasks waited for {name} in {:.0} % of the time", value * 100.0),
            };
            let finding = about(&rule::HEALTH_PRESSURE, &event.service, instance, summary)
                .label("resource", name)
                .evidence("value", value)
                .evidence("limit", limit);
            if good {
                self.incidents.resolve(finding, cx);
            } else {
                self.incidents.fire(finding, cx);
            }
        }
    }

    /// Pressures that are no longer reported.
    pub(super) fn forget_pressures(&mut self, service: &str, instance: &str, cx: &mut Cx<'_, HealthConfig>) {
        let old = |seen_ms: UnixMs| cx.now.saturating_sub(seen_ms) >= cx.config.retire_after_ms;
        let Some(i) = self.registry.services.get_mut(service).and_then(|s| s.instances.get_mut(instance)) else { return };
        let gone: Vec<String> = i.pressures.iter().filter(|(_, known)| old(known.seen_ms)).map(|(name, _)| name.clone()).collect();
        i.pressures.retain(|_, known| !old(known.seen_ms));
        for name in gone {
            let finding = about(&rule::HEALTH_PRESSURE, service, instance, format!("pressure on {name} is no longer reported"));
            self.incidents.resolve(finding.label("resource", name), cx);
        }
    }
}
