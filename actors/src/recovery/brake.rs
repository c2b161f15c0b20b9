//! The fleet brake. When most of a fleet is unhealthy for one cause, that cause is not in any one of them, and healing them one by
//! one makes it worse: everything about that cause stops, and a person is called once.

use super::case::Case;
use super::record::{Entry, What};
use super::{OWN, RecoveryConfig, RecoveryCore};
use crate::core::Cx;
use crate::incidents::Finding;
use homeostat_schemas::{UnixMs, rule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A cause and how far it reaches: a rule, and a service, or all of them when it is empty.
pub(super) type Cause = (String, String);

/// A brake that is on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Brake {
    pub(super) since_ms: UnixMs,
    /// When the share was last too high.
    high_ms: UnixMs,
    pub(super) unhealthy: usize,
    pub(super) of: usize,
}

/// Who is unhealthy for which cause, and what is stopped for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Brakes {
    /// By rule and service: open incidents by instance.
    unhealthy: BTreeMap<Cause, BTreeMap<String, u32>>,
    pub(super) on: BTreeMap<Cause, Brake>,
}

impl Brakes {
    pub(super) fn add(&mut self, case: &Case) {
        let units = self.unhealthy.entry((case.rule.clone(), case.service.clone())).or_default();
        *units.entry(case.instance().to_owned()).or_default() += 1;
    }

    pub(super) fn remove(&mut self, case: &Case) {
        let cause = (case.rule.clone(), case.service.clone());
        let Some(units) = self.unhealthy.get_mut(&cause) else { return };
        if let Some(count) = units.get_mut(case.instance()) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                units.remove(case.instance());
            }
        }
        if units.is_empty() {
            self.unhealthy.remove(&cause);
        }
    }

    /// Why a case is stopped, if it is.
    pub(super) fn holds(&self, case: &Case) -> Option<String> {
        if case.rule.is_empty() {
            return None;
        }
        let of = |service: &str| self.on.get(&(case.rule.clone(), service.to_owned()));
        if let Some(brake) = of(&case.service) {
            return Some(format!("fleet brake: {} of {} instances have {}", brake.unhealthy, brake.of, case.rule));
        }
        of("").map(|brake| format!("fleet brake: {} of {} services have {}", brake.unhealthy, brake.of, case.rule))
    }

    /// How many named instances of a service have a cause.
    fn instances(&self, cause: &Cause) -> usize {
        self.unhealthy.get(cause).map_or(0, |units| units.keys().filter(|unit| !unit.is_empty()).count())
    }

    /// counts are those of the open cases.
    pub(super) fn agrees<'a>(&self, cases: impl Iterator<Item = &'a Case>) -> bool {
        let mut units: Vec<(&str, &str, &str)> =
            cases.filter(|case| case.is_open()).map(|case| (case.rule.as_str(), case.service.as_str(), case.instance())).collect();
        units.sort_unstable();
        let counted = units.chunk_by(|one, next| one == next).map(|same| (same[0], same.len()));
        let kept = self.unhealthy.iter().flat_map(|((rule, service), units)| {
            units.iter().map(move |(unit, count)| ((rule.as_str(), service.as_str(), unit.as_str()), *count as usize))
        });
        // In both, the order is that of the texts.
        counted.eq(kept) && self.unhealthy.values().all(|units| !units.is_empty())
    }
}

impl RecoveryCore {
    /// Of how many, and how many of those are unhealthy: instances of a service, or services. A service is unhealthy for a cause when
    /// it itself has it (the alert names no instance), or too many of its instances do.
    #[allow(clippy::cast_precision_loss)] // counts as shares
    fn reach(&self, cause: &Cause, now: UnixMs, config: &RecoveryConfig) -> (usize, usize) {
        let (rule, service) = cause;
        if !service.is_empty() {
            return (self.members.fresh(service, now, config), self.brakes.instances(cause));
        }
        let all = self.brakes.unhealthy.range((rule.clone(), String::new())..).take_while(|((of, _), _)| of == rule);
        let ill = all.filter(|(cause, units)| {
            let members = self.members.fresh(&cause.1, now, config);
            units.contains_key("") || members > 0 && self.brakes.instances(cause) as f64 > config.brake_share * members as f64
        });
        (self.members.services(), ill.count())
    }

    /// Looks at one cause (where an alert has just come in), in its service and in the fleet.
    pub(super) fn look_at_cause(&mut self, rule: &str, service: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        for reach in [service, ""] {
            self.judge_cause((rule.to_owned(), reach.to_owned()), cx);
        }
    }

    /// Looks at every cause there is, and at every brake that is on.
    pub(super) fn look_at_causes(&mut self, cx: &mut Cx<'_, RecoveryConfig>) {
        let mut causes: Vec<Cause> = self.brakes.unhealthy.keys().cloned().collect();
        causes.extend(self.brakes.unhealthy.keys().map(|(rule, _)| (rule.clone(), String::new())));
        causes.extend(self.brakes.on.keys().cloned());
        causes.sort_unstable();
        causes.dedup();
        for cause in causes {
            self.judge_cause(cause, cx);
        }
    }

    #[allow(clippy::cast_precision_loss)] // counts as shares
    fn judge_cause(&mut self, cause: Cause, cx: &mut Cx<'_, RecoveryConfig>) {
        let (known, unhealthy) = self.reach(&cause, cx.now, cx.config);
        let (rule, service) = &cause;
        // Whoever is unhealthy is one of the fleet, heard or not.
        let of = known.max(unhealthy);
        let high = known > 0 && unhealthy as u64 >= cx.config.brake_min.max(1) && unhealthy as f64 > cx.config.brake_share * of as f64;
        let about = if service.is_empty() { OWN } else { service };
        let what = if service.is_empty() { "services" } else { "instances" };
        let finding = |summary: String| Finding::new(&rule::RECOVERY_FLEET_BRAKE, about, summary).label("cause", rule.as_str());
        match self.brakes.on.get_mut(&cause) {
            Some(brake) if high => {
                brake.high_ms = cx.now;
                (brake.unhealthy, brake.of) = (unhealthy, of);
            }
            Some(brake) => {
                (brake.unhealthy, brake.of) = (unhealthy, of);
                if cx.now.saturating_sub(brake.high_ms) >= cx.config.brake_clear_s.saturating_mul(1_000) {
                    let why = format!("{unhealthy} of {of} {what} have {rule}");
                    self.brakes.on.remove(&cause);
                    self.incidents.resolve(finding(why.clone()), cx);
                    let entry = Entry { what: What::Released, why, rule: rule.clone(), service: service.clone(), ..Entry::default() };
                    self.write(entry, cx);
                }
            }
            None if high => {
                let why = format!("{unhealthy} of {of} {what} have {rule}: nothing is done about it");
                self.brakes.on.insert(cause.clone(), Brake { since_ms: cx.now, high_ms: cx.now, unhealthy, of });
                let finding =
                    finding(why.clone()).evidence("unhealthy", unhealthy).evidence("of", of).evidence("limit", cx.config.brake_share);
                self.incidents.fire(finding, cx);
                let entry = Entry { what: What::Braked, why, rule: rule.clone(), service: service.clone(), ..Entry::default() };
                self.write(entry, cx);
            }
            None => {}
        }
    }
}
