//! The fleet brake. When most of a fleet is unhealthy for one cause, that cause is not in any one of them, and healing them one by
//! one makes it worse: everything about that cause stops, and a person is called for all of them at once. Whoever falls ill while a
//! brake holds waits with the others: the person is told so again, at most once in the time that anything is held back without a word.

use super::case::{Case, Stage};
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
    /// When a person was told of it last.
    told_ms: UnixMs,
    /// How many incidents have joined since.
    joined: usize,
}

/// Incidents that an alert names at most.
const NAMED_MAX: usize = 20;

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
        for reach in [case.service.as_str(), ""] {
            if let Some(brake) = self.on.get_mut(&(case.rule.clone(), reach.to_owned())) {
                brake.joined = brake.joined.saturating_add(1);
            }
        }
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
        // Whoever is unhealthy is one of the fleet, heard or not.
        let of = known.max(unhealthy);
        let high = known > 0 && unhealthy as u64 >= cx.config.brake_min.max(1) && unhealthy as f64 > cx.config.brake_share * of as f64;
        let shares = format!("{unhealthy} of {of} {} have {}", if cause.1.is_empty() { "services" } else { "instances" }, cause.0);
        let Some(brake) = self.brakes.on.get_mut(&cause) else {
            if high {
                let brake = Brake { since_ms: cx.now, high_ms: cx.now, unhealthy, of, told_ms: cx.now, joined: 0 };
                self.brakes.on.insert(cause.clone(), brake);
                let why = format!("{shares}: nothing is done about it");
                let finding = self.called(&cause, brake, &why, cx.config);
                self.incidents.fire(finding, cx);
                self.write_cause(What::Braked, cause, why, cx);
            }
            return;
        };
        (brake.unhealthy, brake.of) = (unhealthy, of);
        if high {
            brake.high_ms = cx.now;
        } else if cx.now.saturating_sub(brake.high_ms) >= cx.config.brake_clear_s.saturating_mul(1_000) {
            let brake = *brake;
            self.brakes.on.remove(&cause);
            let finding = self.called(&cause, brake, &shares, cx.config);
            self.incidents.resolve(finding, cx);
            return self.write_cause(What::Released, cause, shares, cx);
        }
        if brake.joined > 0 && cx.now.saturating_sub(brake.told_ms) >= cx.config.hold_max_s.saturating_mul(1_000) {
            let told = *brake;
            (brake.told_ms, brake.joined) = (cx.now, 0);
            let joined = self.held_by(&cause).filter(|case| case.opened_ms > told.told_ms).count();
            // Those that joined may have ended meanwhile.
            if joined > 0 {
                let minutes = cx.now.saturating_sub(told.since_ms) / 60_000;
                let why = format!("{shares}, {joined} more since it was last said: for {minutes} min nothing has been done about it");
                let finding = self.called(&cause, told, &why, cx.config).evidence("joined", joined);
                self.incidents.remind(finding, cx);
                self.write_cause(What::Braked, cause, why, cx);
            }
        }
    }

    /// The incidents for which nothing is done because of a brake.
    fn held_by<'a>(&'a self, (rule, service): &'a Cause) -> impl Iterator<Item = &'a Case> {
        let reached = move |case: &&Case| case.rule == *rule && (service.is_empty() || case.service == *service);
        self.cases.values().filter(|case| case.is_open() && case.stage == Stage::Waiting).filter(reached)
    }

    /// What a person is told of a brake.
    fn called(&self, cause: &Cause, brake: Brake, why: &str, config: &RecoveryConfig) -> Finding {
        let about = if cause.1.is_empty() { OWN } else { &cause.1 };
        let mut held: Vec<&Case> = self.held_by(cause).collect();
        held.sort_by_key(|case| std::cmp::Reverse(case.opened_ms));
        let named: Vec<&str> = held.iter().take(NAMED_MAX).map(|case| case.incident.as_str()).collect();
        Finding::new(&rule::RECOVERY_FLEET_BRAKE, about, why)
            .label("cause", cause.0.as_str())
            .evidence("unhealthy", brake.unhealthy)
            .evidence("of", brake.of)
            .evidence("limit", config.brake_share)
            .evidence("held", held.len())
            .evidence("incidents", named)
    }

    fn write_cause(&mut self, what: What, (rule, service): Cause, why: String, cx: &Cx<'_, RecoveryConfig>) {
        self.write(Entry { what, why, rule, service, ..Entry::default() }, cx);
    }
}
