//! How it ended: effects as they are measured, and the alerts that say so.

use super::case::{Case, Stage};
use super::flow::series;
use super::goal::Goal;
use super::measure::Series;
use super::record::What;
use super::{RecoveryConfig, RecoveryCore};
use crate::core::Cx;
use crate::incidents::Finding;
use homeostat_schemas::{Rule, rule};

impl RecoveryCore {
    /// Something was measured: who waits for it?
    pub(super) fn measured(&mut self, measured: impl IntoIterator<Item = (Series, f64)>, cx: &mut Cx<'_, RecoveryConfig>) {
        for (series, value) in measured {
            let Some(waiting) = self.watching.get(&series) else { continue };
            for incident in waiting.iter().cloned().collect::<Vec<_>>() {
                if let Some(case) = self.take(&incident) {
                    self.judge(case, value, cx);
                }
            }
        }
    }

    fn judge(&mut self, mut case: Case, value: f64, cx: &mut Cx<'_, RecoveryConfig>) {
        let Some(Goal::Measure { aim, .. }) = case.goal else { return self.put_back(case) };
        let Some(sent) = &mut case.sent else { return self.put_back(case) };
        sent.after = Some(value);
        sent.good = if aim.reached(sent.before, value) { sent.good.saturating_add(1) } else { 0 };
        if sent.good >= cx.config.measurements.max(1) {
            let why = format!("{}: {}", case.verify, change(sent.before, value));
            return self.verified(case, &why, cx);
        }
        self.put_back(case);
    }

    /// The time within which the effect should have shown is over.
    pub(super) fn time_is_over(&mut self, case: Case, cx: &mut Cx<'_, RecoveryConfig>) {
        let sent = case.sent.clone().unwrap_or_default();
        let why = match (&case.goal, sent.after) {
            (Some(Goal::Resolves { rule, .. }), _) => format!("{rule} did not resolve in time"),
            (_, Some(after)) => format!("not in time: {} ({})", case.verify, change(sent.before, after)),
            (_, None) => {
                // Doing it again blindly would not tell any more.
                if case.resolved_ms.is_some() {
                    let mut case = case;
                    self.note(&case, What::Resolved, "its alert ended, and nothing was measured to judge it by", cx);
                    case.stage = Stage::Unjudged;
                    return self.over(case, cx);
                }
                return self.escalate(case, "it was done, but nothing was measured to judge it by", cx);
            }
        };
        self.say(&rule::RECOVERY_INEFFECTIVE, &case, &why, cx);
        self.failed(case, What::Ineffective, &why, cx);
    }

    /// It helped.
    pub(super) fn verified(&mut self, mut case: Case, why: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        self.note(&case, What::Verified, why, cx);
        self.say(&rule::RECOVERY_VERIFIED, &case, why, cx);
        if let Some(target) = self.rails.targets.get_mut(&case.target_key()) {
            target.failed = 0;
        }
        case.stage = Stage::Verified;
        why.clone_into(&mut case.why);
        self.over(case, cx);
    }

    /// A person has to look.
    pub(super) fn escalate(&mut self, mut case: Case, why: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        self.note(&case, What::Escalated, why, cx);
        case.stage = Stage::Escalated;
        why.clone_into(&mut case.why);
        self.say(&rule::RECOVERY_ESCALATED, &case, why, cx);
        self.over(case, cx);
    }

    /// A person has to agree.
    pub(super) fn propose(&mut self, mut case: Case, cx: &mut Cx<'_, RecoveryConfig>) {
        let until_ms = cx.now.saturating_add(cx.config.approval_wait_s.max(1).saturating_mul(1_000));
        let missing = case.terms.approval.needed().saturating_sub(case.approvals.len());
        case.why = if missing == 1 { "a person has to agree".to_owned() } else { format!("{missing} persons have to agree") };
        case.stage = Stage::Proposed;
        let why = case.why.clone();
        self.note(&case, What::Proposed, &why, cx);
        let finding = self
            .finding(&rule::RECOVERY_APPROVAL_WANTED, &case, &format!("{} {}: {why}", case.action, case.target))
            .evidence("approve", case.incident.as_str())
            .evidence("args", serde_json::Value::Object(case.args.clone()))
            .evidence("until_ms", until_ms)
            .evidence("missing", missing);
        cx.follow(case.traceparent.clone());
        self.incidents.fire(finding, cx);
        cx.follow(None);
        self.put(case, Some(until_ms));
    }

    pub(super) fn proposal_ends(&mut self, case: &Case, why: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        self.unsay(&rule::RECOVERY_APPROVAL_WANTED, case, why, cx);
    }

    pub(super) fn escalation_ends(&mut self, case: &Case, why: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        self.unsay(&rule::RECOVERY_ESCALATED, case, why, cx);
    }

    fn finding(&self, rule: &'static Rule, case: &Case, why: &str) -> Finding {
        let (_, target, _) = case.target_key();
        let cause = if case.rule.is_empty() { "order" } else { case.rule.as_str() };
        let mut finding = Finding::new(rule, &case.service, why)
            .label("action", case.action.as_str())
            .label("target", crate::core::clip(&target))
            .label("cause", cause);
        finding.trace.clone_from(&case.trace);
        finding.cause = vec![case.reason.clone()];
        finding
    }

    fn unsay(&mut self, rule: &'static Rule, case: &Case, why: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        let finding = self.finding(rule, case, why);
        cx.follow(case.traceparent.clone());
        self.incidents.resolve(finding, cx);
        cx.follow(None);
    }

    /// A verdict is about one command (or, when a person is called, about all of a case): one that still stands from an earlier time
    /// makes way for it.
    fn say(&mut self, rule: &'static Rule, case: &Case, why: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        let mut finding = self.finding(rule, case, &format!("{} {}: {why}", case.action, case.target));
        if self.incidents.is_open(rule, &case.service, &finding.labels) {
            self.unsay(rule, case, "followed by another", cx);
        }
        let commands = if rule.name == rule::RECOVERY_ESCALATED.name {
            case.commands.as_slice()
        } else {
            case.commands.last().map_or(&[][..], std::slice::from_ref)
        };
        finding.cause.extend(commands.iter().cloned());
        finding = finding.evidence("incident", case.incident.as_str()).evidence("verify", case.verify.as_str());
        if let Some(sent) = &case.sent {
            finding = finding
                .evidence("command", sent.id.as_str())
                .evidence("tries", case.commands.len())
                .evidence("before", sent.before)
                .evidence("after", sent.after);
            if let Some(done) = sent.done_ms {
                finding = finding.evidence("took_ms", cx.now.saturating_sub(done));
            }
            if let Some(series) = series(case) {
                finding = finding.evidence("measured", series.to_string());
            }
        }
        cx.follow(case.traceparent.clone());
        self.incidents.fire(finding, cx);
        cx.follow(None);
    }
}

/// From what to what, for people.
fn change(before: Option<f64>, after: f64) -> String {
    let number = |value: f64| if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") };
    match before {
        Some(before) if before != 0.0 => {
            format!("{} → {}, {:+.1} %", number(before), number(after), (after - before) / before * 100.0)
        }
        Some(before) => format!("{} → {}", number(before), number(after)),
        None => format!("now {}", number(after)),
    }
}
