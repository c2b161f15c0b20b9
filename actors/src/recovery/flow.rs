//! From stage to stage: what is due, what is issued, and what becomes of it.

use super::case::{COMMANDS_MAX, Case, Sent, Stage};
use super::goal::Goal;
use super::measure::Series;
use super::rails::{Rail, Target, TargetKey};
use super::record::What;
use super::{RecoveryConfig, RecoveryCore};
use crate::core::Cx;
use homeostat_reflexes::executor::{INSTANCE_ARG, TIMEOUT_ARG};
use homeostat_schemas::{Command, Mode, Ms, Outcome, OutcomeStatus, Verify};
use serde_json::Value;

/// An answer that was given in time may be so long on its way.
pub(super) const GRACE_MS: Ms = 2_000;
/// How long what is over without an alert (an order) is kept, so that an order that comes twice is one.
const KEEP_MS: Ms = 600_000;
/// Longest word of an executor that is kept, in characters.
const DETAIL_MAX: usize = 200;

impl RecoveryCore {
    /// The time of a case has come.
    pub(super) fn look_at(&mut self, case: Case, cx: &mut Cx<'_, RecoveryConfig>) {
        match case.stage {
            Stage::Waiting => self.attempt(case, cx),
            Stage::Proposed => {
                self.proposal_ends(&case, "nobody decided in time", cx);
                self.escalate(case, "nobody decided whether it may be done", cx);
            }
            Stage::Issued => {
                if let (Some(domain), Some(sent)) = (&case.domain, &case.sent) {
                    let longest = case.terms.expires_s.saturating_add(case.terms.timeout_s).saturating_mul(1_000);
                    let until_ms = sent.at_ms.saturating_add(longest).saturating_add(GRACE_MS);
                    self.rails.suspect(domain.clone(), until_ms, &sent.id);
                }
                self.failed(case, What::Expired, "nobody took it up in time", cx);
            }
            Stage::Accepted => self.failed(case, What::Failed, "it was taken up, and nothing was heard of it", cx),
            Stage::Done => self.time_is_over(case, cx),
            Stage::Verified | Stage::Unjudged | Stage::Observed | Stage::Escalated | Stage::Denied => self.close(case, "it is over", cx),
        }
    }

    /// Issues the command of a case, if every guard rail lets it.
    fn attempt(&mut self, mut case: Case, cx: &mut Cx<'_, RecoveryConfig>) {
        let mode = cx.actor_mode().min(case.terms.mode);
        match self.rail(&case, mode, cx.now, cx.config) {
            Ok(()) => self.issue(case, mode, cx),
            Err(Rail::Refuse(why)) => self.escalate(case, &why, cx),
            Err(Rail::Ask) => self.propose(case, cx),
            Err(Rail::Hold { why, until_ms, patient }) => {
                if case.why != why {
                    self.note(&case, What::Held, &why, cx);
                    case.why = why;
                }
                let since = if patient { None } else { Some(case.held_ms.unwrap_or(cx.now)) };
                case.held_ms = since;
                let limit = cx.config.hold_max_s.saturating_mul(1_000);
                if since.is_some_and(|since| cx.now.saturating_sub(since) >= limit) {
                    let why = format!("held back for too long: {}", case.why);
                    return self.escalate(case, &why, cx);
                }
                self.put(case, Some(until_ms.max(cx.now.saturating_add(1))));
            }
        }
    }

    fn issue(&mut self, mut case: Case, mode: Mode, cx: &mut Cx<'_, RecoveryConfig>) {
        let key = case.target_key();
        let target = self.rails.targets.get(&key).cloned().unwrap_or_default();
        let assigned = if case.instance().is_empty() {
            self.members.pick(&case.service, target.failed, cx.now, cx.config).unwrap_or_default().to_owned()
        } else {
            case.instance().to_owned()
        };
        let mut args = case.args.clone();
        if !assigned.is_empty() {
            args.insert(INSTANCE_ARG.to_owned(), Value::from(assigned.as_str()));
        }
        args.insert(TIMEOUT_ARG.to_owned(), Value::from(case.terms.timeout_s));
        let expires_ms = cx.now.saturating_add(case.terms.expires_s.max(1).saturating_mul(1_000));
        let within_ms = case.goal.as_ref().map_or(0, Goal::within_ms);
        let until_ms = expires_ms.saturating_add(case.terms.timeout_s.saturating_mul(1_000)).saturating_add(within_ms);
        let command = Command {
            action: case.action.clone(),
            service: case.service.clone(),
            target: case.target.clone(),
            args: Value::Object(args),
            reason: case.reason.clone(),
            incident: case.incident.clone(),
            attempt: target.failed.saturating_add(1),
            fence: self.rails.next_fence(cx.now),
            expires_ms,
            verify: Verify { what: case.verify.clone(), until_ms },
            mode,
            ..Command::default()
        };
        let id = cx.next_identity().to_string();
        if let Some(earlier) = &case.sent {
            self.commands.remove(&earlier.id);
        }
        let before = series(&case).and_then(|series| self.measurements.last(&series, cx.now));
        case.sent = Some(Sent { id: id.clone(), instance: assigned, at_ms: cx.now, before, ..Sent::default() });
        case.commands.push(id.clone());
        if case.commands.len() > COMMANDS_MAX {
            case.commands.remove(0);
        }
        case.held_ms = None;
        cx.follow(case.traceparent.clone());
        cx.command(command);
        cx.follow(None);
        self.rails.spend(cx.now);
        if mode == Mode::Act {
            self.cool_down(&key, &case, true, cx);
        } else {
            self.shown(&key, &case, cx);
            case.why = match case.terms.approval.needed() {
                0 => "mode is observe: it shows what would have been done".to_owned(),
                needed => format!("mode is observe: it shows what would have been done once {needed} had agreed"),
            };
            let why = case.why.clone();
            self.note(&case, What::Observed, why, cx);
            case.stage = Stage::Observed;
            return self.over(case, cx);
        }
        let domain = self.domain(&case);
        self.rails.flights.insert(domain.clone(), case.incident.clone());
        self.commands.insert(id, case.incident.clone());
        case.domain = Some(domain);
        case.stage = Stage::Issued;
        case.why = format!("attempt {}", target.failed.saturating_add(1));
        let why = case.why.clone();
        self.note(&case, What::Issued, why, cx);
        self.put(case, Some(expires_ms.saturating_add(GRACE_MS)));
    }

    /// From now on the target cools down; a real command is a try.
    fn cool_down(&mut self, key: &TargetKey, case: &Case, try_: bool, cx: &Cx<'_, RecoveryConfig>) {
        let Some(target) = self.target(key) else { return };
        target.free_ms = cx.now.saturating_add(case.terms.cooldown_s.saturating_mul(1_000));
        target.last_ms = cx.now;
        if try_ {
            target.tries.push_back(cx.now);
            while target.tries.len() > super::config::TRIES_MAX {
                target.tries.pop_front();
            }
        }
    }

    /// What would have been done is not shown again before the cool-down is over; a real command need not wait for that.
    fn shown(&mut self, key: &TargetKey, case: &Case, cx: &Cx<'_, RecoveryConfig>) {
        if let Some(target) = self.target(key) {
            target.shown_ms = cx.now.saturating_add(case.terms.cooldown_s.saturating_mul(1_000));
            target.last_ms = cx.now;
        }
    }

    /// The memory of a target, unless there is no room for another.
    fn target(&mut self, key: &TargetKey) -> Option<&mut Target> {
        let room = self.rails.targets.len() < self.limits.targets || self.rails.targets.contains_key(key);
        room.then(|| self.rails.targets.entry(key.clone()).or_default())
    }

    /// Somebody says what became of a command.
    pub(super) fn outcome(&mut self, outcome: &Outcome, cx: &mut Cx<'_, RecoveryConfig>) {
        let Some(mut case) = self.commands.get(&outcome.command).cloned().and_then(|incident| self.take(&incident)) else { return };
        let Some(sent) = case.sent.clone() else { return self.put_back(case) };
        let detail: String = outcome.detail.as_deref().unwrap_or_default().chars().take(DETAIL_MAX).collect();
        let word = |what: &str| if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") };
        if outcome.service != case.service {
            self.note(
                &case,
                What::Late,
                format!("{:?} by a service it was not for: {}", outcome.status, crate::core::clip(&outcome.service)),
                cx,
            );
            return self.put_back(case);
        }
        if !sent.instance.is_empty() && outcome.instance.as_ref().is_some_and(|instance| *instance != sent.instance) {
            self.note(&case, What::Late, format!("{:?} by an instance it was not for", outcome.status), cx);
            return self.put_back(case);
        }
        if outcome.status != OutcomeStatus::Accepted {
            self.rails.cleared(&outcome.command);
        }
        match (case.stage, outcome.status) {
            (Stage::Issued, OutcomeStatus::Accepted) => {
                case.stage = Stage::Accepted;
                self.note(&case, What::Accepted, word("taken up"), cx);
                let due = cx.now.saturating_add(case.terms.timeout_s.max(1).saturating_mul(1_000)).saturating_add(GRACE_MS);
                self.put(case, Some(due));
            }
            (Stage::Issued | Stage::Accepted, OutcomeStatus::Done) => self.done(case, &word("done"), cx),
            (Stage::Issued | Stage::Accepted, OutcomeStatus::Failed) => self.failed(case, What::Failed, &word("it failed"), cx),
            (Stage::Issued | Stage::Accepted, OutcomeStatus::Refused) => self.failed(case, What::Refused, &word("refused"), cx),
            (Stage::Issued | Stage::Accepted, OutcomeStatus::Expired) => self.failed(case, What::Expired, &word("it came too late"), cx),
            (Stage::Waiting, OutcomeStatus::Done) if self.fly_again(&mut case, cx) => self.done(case, &word("done, late"), cx),
            (stage, status) => {
                // What is repeated says nothing new.
                if !matches!(
                    (stage, status),
                    (Stage::Accepted, OutcomeStatus::Accepted) | (Stage::Done, OutcomeStatus::Accepted | OutcomeStatus::Done)
                ) {
                    self.note(&case, What::Late, word(&format!("{status:?} came too late")), cx);
                }
                self.put_back(case);
            }
        }
    }

    /// A command that was given up for lost was carried out after all: it is judged like any other, if its place is still free.
    fn fly_again(&mut self, case: &mut Case, cx: &Cx<'_, RecoveryConfig>) -> bool {
        let domain = self.domain(case);
        let members = self.members.fresh(&case.service, cx.now, cx.config);
        let allowed = super::rails::blast_radius(members, cx.config.blast_radius);
        let full = !case.instance().is_empty() && self.rails.under_way(&case.service, cx.now) >= allowed;
        if self.rails.busy(&domain, cx.now) || full {
            return false;
        }
        self.rails.flights.insert(domain.clone(), case.incident.clone());
        case.domain = Some(domain);
        true
    }

    fn done(&mut self, mut case: Case, why: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        case.stage = Stage::Done;
        why.clone_into(&mut case.why);
        if let Some(sent) = &mut case.sent {
            sent.done_ms = Some(cx.now);
        }
        self.note(&case, What::Done, why, cx);
        match &case.goal {
            None => {
                case.why = "done; nothing says how to judge it".to_owned();
                case.stage = Stage::Unjudged;
                self.land(&mut case);
                self.over(case, cx);
            }
            Some(Goal::Resolves { rule, .. }) if *rule == case.rule && case.resolved_ms.is_some() => {
                let why = format!("{rule} resolved");
                self.verified(case, &why, cx);
            }
            Some(goal) => {
                let due = cx.now.saturating_add(goal.within_ms());
                if let Some(series) = series(&case) {
                    self.watching.entry(series).or_default().insert(case.incident.clone());
                }
                self.put(case, Some(due));
            }
        }
    }

    /// A try came to nothing.
    pub(super) fn failed(&mut self, mut case: Case, what: What, why: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        self.land(&mut case);
        let key = case.target_key();
        self.cool_down(&key, &case, false, cx);
        let mut failed = 1;
        if let Some(target) = self.rails.targets.get_mut(&key) {
            target.failed = target.failed.saturating_add(1);
            failed = target.failed;
        }
        self.note(&case, what, why, cx);
        case.stage = Stage::Waiting;
        // Whoever agreed, agreed to one try.
        case.approvals.clear();
        if case.resolved_ms.is_some() {
            self.note(&case, What::Resolved, "it ended meanwhile: no further try", cx);
            return self.close(case, "it ended by itself", cx);
        }
        if failed >= case.terms.attempts.max(1) {
            let why = format!("{failed} of {} tries without effect; the last: {why}", case.terms.attempts.max(1));
            return self.escalate(case, &why, cx);
        }
        case.why = format!("{why}; tried again after the cool-down");
        let due = cx.now.saturating_add(case.terms.cooldown_s.saturating_mul(1_000)).max(cx.now.saturating_add(1));
        // The answer may still come, and is heard until the next try.
        if let Some(sent) = &case.sent {
            self.commands.insert(sent.id.clone(), case.incident.clone());
        }
        self.put(case, Some(due));
    }

    /// What a command held is free again.
    pub(super) fn land(&mut self, case: &mut Case) {
        if let Some(domain) = case.domain.take() {
            self.rails.flights.remove(&domain);
        }
        if let Some(sent) = &case.sent {
            self.commands.remove(&sent.id);
        }
        if let Some(series) = series(case)
            && let Some(watching) = self.watching.get_mut(&series)
        {
            watching.remove(&case.incident);
            if watching.is_empty() {
                self.watching.remove(&series);
            }
        }
    }

    /// Nothing more is done by itself. It is kept until its alert ends; an order, for a while.
    pub(super) fn over(&mut self, mut case: Case, cx: &mut Cx<'_, RecoveryConfig>) {
        self.land(&mut case);
        if case.resolved_ms.is_some() {
            return self.close(case, "its alert has ended", cx);
        }
        let due = (!case.by.is_empty()).then(|| cx.now.saturating_add(KEEP_MS));
        self.put(case, due);
    }

    /// The end: nothing of it is kept but the record.
    pub(super) fn close(&mut self, mut case: Case, why: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        self.land(&mut case);
        self.proposal_ends(&case, why, cx);
        self.escalation_ends(&case, why, cx);
        if case.is_open() && case.by.is_empty() {
            self.brakes.remove(&case);
        }
    }

    /// There is no room for it any more.
    pub(super) fn drop_case(&mut self, case: Case, why: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        if !case.stage.is_over() {
            self.dropped = self.dropped.saturating_add(1);
            self.note(&case, What::Dropped, why, cx);
        }
        self.close(case, why, cx);
    }
}

/// The series that a case's goal is about, if it measures one.
pub(super) fn series(case: &Case) -> Option<Series> {
    use super::goal::Quantity;
    let Some(Goal::Measure { quantity, .. }) = &case.goal else { return None };
    let label = |name: &str| case.labels.get(name).cloned().unwrap_or_default();
    let (instance, name) = match quantity {
        Quantity::Memory | Quantity::Heap | Quantity::Cpu => (label("instance"), String::new()),
        Quantity::PoolUsage => (label("instance"), label("pool")),
        Quantity::HitRate => (String::new(), label("cache")),
    };
    Some(Series { quantity: *quantity, service: case.service.clone(), instance, name })
}
