//! The guard rails: what must hold before a command goes out. Each that holds one back says why.

use super::case::{Case, Domain};
use super::config::{BUDGET_MAX, TRIES_MAX};
use super::{RecoveryConfig, RecoveryCore};
use homeostat_reflexes::executor::is_definite;
use homeostat_schemas::{Mode, Ms, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How often a case that is held back is looked at again.
const RETRY_MS: Ms = 1_000;

/// What a guard rail says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rail {
    /// Never: a person has to look.
    Refuse(String),
    /// A person has to agree first.
    Ask,
    /// Not now; look again then. `patient`: it ends by itself or a person wants it so, and may last.
    Hold { why: String, until_ms: UnixMs, patient: bool },
}

/// What is remembered of a target and an action.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Target {
    /// When commands were issued, the oldest first.
    pub(super) tries: VecDeque<UnixMs>,
    /// Tries in a row without effect.
    pub(super) failed: u32,
    /// When the cool-down ends.
    pub(super) free_ms: UnixMs,
    /// Until when what would have been done is not shown again.
    pub(super) shown_ms: UnixMs,
    pub(super) last_ms: UnixMs,
}

impl Target {
    /// When the next command in this mode may be issued.
    fn free_at(&self, mode: Mode) -> UnixMs {
        if mode == Mode::Act { self.free_ms } else { self.free_ms.max(self.shown_ms) }
    }
}

pub(super) type TargetKey = (String, String, String);

/// What commands hold and use up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rails {
    pub(super) targets: BTreeMap<TargetKey, Target>,
    /// Domains with a command under way, and whose it is.
    pub(super) flights: BTreeMap<Domain, String>,
    /// Domains in which a command that nobody answered may still be at work: until when, and which.
    quarantine: BTreeMap<Domain, (UnixMs, String)>,
    /// When commands were issued of late.
    issued: VecDeque<UnixMs>,
    /// The fence of the last command.
    fence: u64,
    /// What a person stopped: `all`, `service:<name>` or `action:<name>`.
    pub(super) paused: BTreeMap<String, Pause>,
    /// Open alerts that hold others back, by rule and service.
    pub(super) blockers: BTreeMap<(String, String), BTreeSet<String>>,
    blocking: usize,
}

/// Who stopped commands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pause {
    pub(super) by: String,
    pub(super) reason: String,
    pub(super) at_ms: UnixMs,
}

/// Pauses at once; more are refused.
pub(super) const PAUSES_MAX: usize = 100;
/// How a domain that is a zone begins.
const ZONE: &str = "zone:";
/// Domains in quarantine at once.
const QUARANTINE_MAX: usize = 10_000;
/// Open alerts that are kept because they hold others back.
const BLOCKING_MAX: usize = 10_000;

impl Rails {
    /// A fence greater than every one before, whatever became of the state: log time never goes back.
    pub(super) fn next_fence(&mut self, now: UnixMs) -> u64 {
        self.fence = self.fence.saturating_add(1).max(now);
        self.fence
    }

    pub(super) fn used(&self, now: UnixMs, config: &RecoveryConfig) -> usize {
        let window = config.budget_window_s.saturating_mul(1_000);
        self.issued.iter().filter(|&&at| now.saturating_sub(at) < window).count()
    }

    pub(super) fn spend(&mut self, now: UnixMs) {
        while self.issued.len() >= BUDGET_MAX {
            self.issued.pop_front();
        }
        self.issued.push_back(now);
    }

    /// A command was never answered: it may have been taken up all the same, and be at work until then.
    pub(super) fn suspect(&mut self, domain: Domain, until_ms: UnixMs, command: &str) {
        if self.quarantine.len() >= QUARANTINE_MAX
            && let Some(first) = self.quarantine.iter().min_by_key(|(_, (until, _))| *until).map(|(domain, _)| domain.clone())
        {
            self.quarantine.remove(&first);
        }
        self.quarantine.insert(domain, (until_ms, command.to_owned()));
    }

    /// A command was answered after all, and is over.
    pub(super) fn cleared(&mut self, command: &str) {
        self.quarantine.retain(|_, (_, id)| id != command);
    }

    /// Is something at work in a domain, or may it be? An instance whose zone nobody knows (it has not been heard for a while) may
    /// be in any of them: it waits for all, and all wait for it.
    pub(super) fn busy(&self, domain: &Domain, now: UnixMs) -> bool {
        let taken =
            |domain: &Domain| self.flights.contains_key(domain) || self.quarantine.get(domain).is_some_and(|(until, _)| *until > now);
        match domain.1.strip_prefix(ZONE) {
            None => taken(domain),
            Some("") => self.under_way(&domain.0, now) > 0,
            Some(_) => taken(domain) || taken(&(domain.0.clone(), ZONE.to_owned())),
        }
    }

    pub(super) fn block(&mut self, rule: &str, service: &str, incident: &str) {
        if self.blocking < BLOCKING_MAX {
            let key = (rule.to_owned(), service.to_owned());
            self.blocking += usize::from(self.blockers.entry(key).or_default().insert(incident.to_owned()));
        }
    }

    pub(super) fn unblock(&mut self, rule: &str, service: &str, incident: &str) {
        let key = (rule.to_owned(), service.to_owned());
        let Some(open) = self.blockers.get_mut(&key) else { return };
        self.blocking -= usize::from(open.remove(incident));
        if open.is_empty() {
            self.blockers.remove(&key);
        }
    }

    pub(super) fn sweep(&mut self, now: UnixMs, config: &RecoveryConfig) {
        let window = config.budget_window_s.saturating_mul(1_000);
        while self.issued.front().is_some_and(|&at| now.saturating_sub(at) >= window) {
            self.issued.pop_front();
        }
        self.quarantine.retain(|_, (until, _)| *until > now);
        let window = config.tries_window_s.saturating_mul(1_000);
        self.targets.retain(|_, target| now.saturating_sub(target.last_ms) < window || now < target.free_at(Mode::Observe));
        for target in self.targets.values_mut() {
            while target.tries.front().is_some_and(|&at| now.saturating_sub(at) >= window) {
                target.tries.pop_front();
            }
        }
    }

    pub(super) fn make_room(&mut self, limit: usize) {
        while self.targets.len() > limit {
            self.targets.pop_last();
        }
    }

    /// Instances of a service that are acted on, or may be.
    pub(super) fn under_way(&self, service: &str, now: UnixMs) -> usize {
        let from = (service.to_owned(), ZONE.to_owned());
        let here = |(of, place): &Domain| of == service && place.starts_with(ZONE);
        let suspected = self.quarantine.range(from.clone()..).take_while(|(domain, _)| here(domain));
        let suspected = suspected.filter(|(domain, (until, _))| *until > now && !self.flights.contains_key(*domain)).count();
        self.flights.range(from..).take_while(|(domain, _)| here(domain)).count() + suspected
    }
}

/// How many instances of a service may be acted on at once: the share, rounded down, but one at least.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
pub(super) fn blast_radius(members: usize, share: f64) -> usize {
    ((members as f64 * share.clamp(0.0, 1.0)).floor() as usize).max(1)
}

impl RecoveryCore {
    /// The failure domain that a case's command would hold: of an instance, its zone (all of a service when nobody names zones); of
    /// anything else (a cache, a model), that thing itself.
    pub(super) fn domain(&self, case: &Case) -> Domain {
        let place = match case.instance() {
            "" => format!("target:{}", case.target),
            instance => format!("{ZONE}{}", self.members.zone(&case.service, instance)),
        };
        (case.service.clone(), place)
    }

    /// May the command of this case go out? In the order in which a person would ask; the first that says no is the reason.
    pub(super) fn rail(&self, case: &Case, mode: Mode, now: UnixMs, config: &RecoveryConfig) -> Result<(), Rail> {
        let hold = |why: String, patient: bool| Err(Rail::Hold { why, until_ms: now.saturating_add(RETRY_MS), patient });
        if !is_definite(&case.target) {
            return Err(Rail::Refuse("its target is empty, a wildcard or too long".to_owned()));
        }
        if mode == Mode::Off {
            return hold("recovery is off".to_owned(), true);
        }
        for scope in ["all".to_owned(), format!("service:{}", case.service), format!("action:{}", case.action)] {
            if let Some(pause) = self.rails.paused.get(&scope) {
                return hold(format!("{} paused {scope}", if pause.by.is_empty() { "somebody" } else { &pause.by }), true);
            }
        }
        if let Some(why) = self.brakes.holds(case) {
            return hold(why, true);
        }
        let known = self.rails.targets.get(&case.target_key());
        // A person who asks for another try has it.
        if let Some(target) = known.filter(|_| mode == Mode::Act && case.approvals.is_empty()) {
            if target.failed >= case.terms.attempts.max(1) {
                return Err(Rail::Refuse(format!("{} tries in a row did not help", target.failed)));
            }
            let tries = config.tries_max.clamp(1, TRIES_MAX);
            if target.tries.len() >= tries {
                let hours = config.tries_window_s / 3_600;
                return Err(Rail::Refuse(format!("it was done {} times within {hours} h: the cause lies deeper", target.tries.len())));
            }
        }
        for rule in &case.terms.unless {
            if self.rails.blockers.contains_key(&(rule.clone(), case.service.clone())) {
                return hold(format!("{rule} is open: the cause lies elsewhere"), false);
            }
        }
        if mode == Mode::Act && case.approvals.len() < case.terms.approval.needed() {
            return Err(Rail::Ask);
        }
        match known {
            Some(target) if now < target.free_at(mode) => {
                let why = format!("{} to {} cools down", case.action, case.target);
                return Err(Rail::Hold { why, until_ms: target.free_at(mode), patient: true });
            }
            None if self.rails.targets.len() >= config.limits.targets => {
                return hold("there is no room to remember another target".to_owned(), false);
            }
            _ => {}
        }
        if mode == Mode::Act {
            let domain = self.domain(case);
            if self.rails.busy(&domain, now) {
                return hold(format!("another command is under way in its failure domain ({} {})", domain.0, domain.1), false);
            }
            let members = self.members.fresh(&case.service, now, config);
            let allowed = blast_radius(members, config.blast_radius);
            if domain.1.starts_with(ZONE) && self.rails.under_way(&case.service, now) >= allowed {
                return hold(format!("blast radius: {allowed} of {members} instances at once"), false);
            }
        }
        let budget = config.budget.min(BUDGET_MAX);
        if self.rails.used(now, config) >= budget {
            return hold(format!("budget: {budget} commands within {} s", config.budget_window_s), false);
        }
        Ok(())
    }
}
