//! Alerts and orders become cases, and cases end when their alert does.

use super::case::{Case, Stage, Terms};
use super::config::{Approval, Policy, is_two_tokens};
use super::goal::Goal;
use super::rails::{PAUSES_MAX, Pause};
use super::record::{Entry, What};
use super::{RecoveryConfig, RecoveryCore, order, template};
use crate::core::Cx;
use crate::core::clip;
use homeostat_schemas::event::{Order, SERVICE_MAX};
use homeostat_schemas::{Alert, Severity, State};
use serde_json::Map;
use xxhash_rust::xxh3::xxh3_64;

/// Longest name of a person, in characters.
const BY_MAX: usize = 100;
/// Largest arguments of a request, bytes of JSON.
const ARGS_MAX: usize = 8_000;

fn severity(word: &str) -> Option<Severity> {
    Severity::ALL.into_iter().find(|severity| severity.name() == word)
}

impl Policy {
    /// Is this alert one that the rule answers?
    fn answers(&self, alert: &Alert) -> bool {
        self.on == alert.rule
            && self.filter.iter().all(|(name, wanted)| match name.as_str() {
                "severity" => severity(wanted).is_some_and(|wanted| alert.severity >= wanted),
                "service" => template::fits(wanted, &alert.service),
                label => alert.labels.get(label).is_some_and(|found| template::fits(wanted, found)),
            })
    }
}

impl RecoveryCore {
    pub(super) fn alert(&mut self, alert: &Alert, cx: &mut Cx<'_, RecoveryConfig>) {
        if alert.incident.is_empty() || alert.incident.len() > 128 {
            return;
        }
        let blocks = cx.config.rule.iter().any(|policy| policy.unless.contains(&alert.rule));
        match alert.state {
            State::Firing => {
                if blocks {
                    self.rails.block(&alert.rule, &alert.service, &alert.incident);
                }
                if !self.cases.contains_key(&alert.incident)
                    && let Some(policy) = cx.config.rule.iter().find(|policy| policy.answers(alert))
                {
                    self.open(alert, policy, cx);
                }
            }
            State::Resolved => {
                self.rails.unblock(&alert.rule, &alert.service, &alert.incident);
                self.resolved(alert, cx);
            }
        }
    }

    fn open(&mut self, alert: &Alert, policy: &Policy, cx: &mut Cx<'_, RecoveryConfig>) {
        let case = Case {
            incident: alert.incident.clone(),
            rule: alert.rule.clone(),
            service: alert.service.clone(),
            labels: alert.labels.iter().take(16).map(|(name, value)| (clip(name).to_owned(), clip(value).to_owned())).collect(),
            severity: alert.severity,
            reason: alert.id.clone(),
            traceparent: cx.traceparent().map(str::to_owned),
            trace: alert.trace.clone(),
            opened_ms: cx.now,
            action: policy.action.clone(),
            // A target that cannot be made stays empty, and an empty one is refused.
            target: template::text(&policy.target, alert).unwrap_or_default(),
            args: template::args(&policy.args, alert),
            verify: policy.verify.clone(),
            goal: Goal::parse(&policy.verify).ok(),
            terms: Terms::of(policy),
            ..Case::default()
        };
        if !self.room(cx) {
            self.dropped = self.dropped.saturating_add(1);
            return self.note(&case, What::Dropped, "too many incidents at once", cx);
        }
        self.note(&case, What::Opened, &alert.summary, cx);
        self.brakes.add(&case);
        let (rule, service) = (case.rule.clone(), case.service.clone());
        let due = cx.now.saturating_add(cx.config.settle_ms);
        self.put(case, Some(due));
        self.look_at_cause(&rule, &service, cx);
    }

    /// Is there room for one more case? One that is over makes room.
    fn room(&mut self, cx: &mut Cx<'_, RecoveryConfig>) -> bool {
        if self.cases.len() < self.limits.cases {
            return true;
        }
        let over = self.cases.values().filter(|case| case.stage.is_over()).min_by_key(|case| case.opened_ms);
        let Some(incident) = over.map(|case| case.incident.clone()) else { return false };
        if let Some(case) = self.take(&incident) {
            self.drop_case(case, "its place was needed", cx);
        }
        self.cases.len() < self.limits.cases
    }

    /// An alert has ended: its own case's, or one that somebody's goal names.
    fn resolved(&mut self, alert: &Alert, cx: &mut Cx<'_, RecoveryConfig>) {
        if let Some(mut case) = self.take(&alert.incident) {
            if case.is_open() {
                self.brakes.remove(&case);
                case.resolved_ms = Some(cx.now);
            }
            self.alert_ended(case, &alert.summary, cx);
        }
        let alike = |case: &Case| {
            let named = matches!(&case.goal, Some(Goal::Resolves { rule, .. }) if *rule == alert.rule && *rule != case.rule);
            let agree = alert.labels.iter().all(|(name, value)| case.labels.get(name).is_none_or(|own| own == clip(value)));
            case.stage == Stage::Done && named && case.service == alert.service && agree
        };
        let flights = self.rails.flights.values();
        let met: Vec<String> = flights.filter(|incident| self.cases.get(*incident).is_some_and(alike)).cloned().collect();
        for incident in met {
            if let Some(case) = self.take(&incident) {
                self.verified(case, &format!("{} resolved", alert.rule), cx);
            }
        }
    }

    fn alert_ended(&mut self, case: Case, summary: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        match case.stage {
            Stage::Waiting | Stage::Proposed => {
                self.note(&case, What::Resolved, "it ended before anything was done", cx);
                self.close(case, summary, cx);
            }
            // A command cannot be called back; what it does is judged all the same.
            Stage::Issued | Stage::Accepted => self.put_back(case),
            Stage::Done if matches!(&case.goal, Some(Goal::Resolves { rule, .. }) if *rule == case.rule) => {
                let why = format!("{} resolved: {summary}", case.rule);
                self.verified(case, &why, cx);
            }
            Stage::Done => self.put_back(case),
            Stage::Verified | Stage::Unjudged | Stage::Observed | Stage::Escalated | Stage::Denied => self.close(case, summary, cx),
        }
    }

    pub(super) fn order(&mut self, event: &Order, cx: &mut Cx<'_, RecoveryConfig>) {
        let by: String = event.by.chars().filter(|c| !c.is_control()).take(BY_MAX).collect();
        let reason: String = event.reason.as_deref().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
        match event.action.as_str() {
            order::APPROVE => self.approve(&event.target, &by, cx),
            order::DENY => self.deny(&event.target, &by, &reason, cx),
            order::PAUSE => self.pause(&event.target, Pause { by, reason, at_ms: cx.now }, cx),
            order::RESUME => self.resume(&event.target, &by, cx),
            crate::health::RETIRE => self.members.retire(&event.target),
            action if is_for_another_mind(action) => {}
            action => self.request(event, action, by, &reason, cx),
        }
    }

    fn reject(&mut self, why: &str, event: (&str, &str), cx: &Cx<'_, RecoveryConfig>) {
        let cut = |text: &str| text.chars().take(128).collect::<String>();
        let entry = Entry { what: What::Rejected, why: why.to_owned(), action: cut(event.0), target: cut(event.1), ..Entry::default() };
        self.write(entry, cx);
    }

    fn approve(&mut self, incident: &str, by: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        let Some(mut case) = self.take(incident) else {
            return self.reject("no such incident is open", (order::APPROVE, incident), cx);
        };
        match case.stage {
            Stage::Proposed => {
                if by.is_empty() || case.approvals.iter().any(|known| known == by) {
                    self.note(&case, What::Rejected, "whoever agrees has a name, and agrees once", cx);
                } else {
                    case.approvals.push(by.to_owned());
                    self.note(&case, What::Approved, format!("{by} agreed"), cx);
                }
                if case.approvals.len() >= case.terms.approval.needed() {
                    self.proposal_ends(&case, &format!("{by} agreed"), cx);
                    case.stage = Stage::Waiting;
                    return self.put(case, Some(cx.now));
                }
                self.put_back(case);
            }
            // Another try, though its tries were used up: a person says so.
            Stage::Escalated | Stage::Denied if !by.is_empty() && case.resolved_ms.is_none() => {
                self.note(&case, What::Approved, format!("{by} asks for another try"), cx);
                self.escalation_ends(&case, &format!("{by} asked for another try"), cx);
                if let Some(target) = self.rails.targets.get_mut(&case.target_key()) {
                    target.failed = 0;
                }
                case.approvals = vec![by.to_owned()];
                case.stage = Stage::Waiting;
                case.held_ms = None;
                self.put(case, Some(cx.now));
            }
            _ => {
                self.note(&case, What::Rejected, "there is nothing to agree to", cx);
                self.put_back(case);
            }
        }
    }

    fn deny(&mut self, incident: &str, by: &str, reason: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        let Some(mut case) = self.take(incident) else {
            return self.reject("no such incident is open", (order::DENY, incident), cx);
        };
        if !matches!(case.stage, Stage::Waiting | Stage::Proposed) {
            self.note(&case, What::Rejected, "it is too late to say no", cx);
            return self.put_back(case);
        }
        let why = if reason.is_empty() { format!("{by} said no") } else { format!("{by} said no: {reason}") };
        self.proposal_ends(&case, &why, cx);
        self.note(&case, What::Denied, &why, cx);
        case.stage = Stage::Denied;
        case.why = why;
        self.over(case, cx);
    }

    fn pause(&mut self, scope: &str, pause: Pause, cx: &mut Cx<'_, RecoveryConfig>) {
        if !is_scope(scope) {
            return self.reject("a pause is of `all`, `service:<name>` or `action:<name>`", (order::PAUSE, scope), cx);
        }
        if self.rails.paused.len() >= PAUSES_MAX && !self.rails.paused.contains_key(scope) {
            // Whatever else there is no room for: the safe side is to stop.
            self.reject("too many pauses; everything is paused instead", (order::PAUSE, scope), cx);
            return self.paused("all", pause, cx);
        }
        self.paused(scope, pause, cx);
    }

    fn paused(&mut self, scope: &str, pause: Pause, cx: &mut Cx<'_, RecoveryConfig>) {
        let why = if pause.reason.is_empty() { pause.by.clone() } else { format!("{}: {}", pause.by, pause.reason) };
        self.rails.paused.insert(scope.to_owned(), pause);
        self.write(Entry { what: What::Paused, why, target: scope.to_owned(), ..Entry::default() }, cx);
    }

    fn resume(&mut self, scope: &str, by: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        if self.rails.paused.remove(scope).is_none() {
            return self.reject("nothing of that name is paused", (order::RESUME, scope), cx);
        }
        self.write(Entry { what: What::Resumed, why: by.to_owned(), target: scope.to_owned(), ..Entry::default() }, cx);
    }

    /// Somebody asks for a command: a case without an alert, behind the same guard rails.
    fn request(&mut self, event: &Order, action: &str, by: String, reason: &str, cx: &mut Cx<'_, RecoveryConfig>) {
        let named = event.args.as_object().cloned().unwrap_or_default();
        let ours = action.starts_with("recovery.") || action.starts_with("health.");
        if ours || !is_two_tokens(action) || by.is_empty() || event.service.is_empty() || event.service.len() > SERVICE_MAX {
            return self.reject("it is no request for a command", (action, &event.target), cx);
        }
        if event.args.to_string().len() > ARGS_MAX {
            return self.reject("its arguments are too large", (action, &event.target), cx);
        }
        // An order that comes twice is one.
        let identity = [&event.service, action, &event.target, &by, &event.at_ms.to_string()].join("\u{1f}");
        let incident = format!("{:016x}", xxh3_64(identity.as_bytes()));
        if self.cases.contains_key(&incident) {
            return;
        }
        let policy = cx.config.rule.iter().find(|policy| policy.action == action).cloned();
        let policy = policy.unwrap_or_else(|| Policy { approval: Approval::Person, ..Policy::new("", action, "", "") });
        let text = |name: &str| named.get(name).and_then(serde_json::Value::as_str);
        let verify = text("verify").filter(|verify| Goal::parse(verify).is_ok()).unwrap_or(&policy.verify).to_owned();
        let label = match Goal::parse(&verify) {
            Ok(Goal::Measure { quantity: super::goal::Quantity::HitRate, .. }) => Some("cache"),
            Ok(Goal::Measure { quantity: super::goal::Quantity::PoolUsage, .. }) => Some("pool"),
            _ => None,
        };
        let mut case = Case {
            incident,
            service: event.service.clone(),
            reason: format!("order:{}", cx.position()),
            by: by.clone(),
            traceparent: cx.traceparent().map(str::to_owned),
            opened_ms: cx.now,
            action: action.to_owned(),
            target: event.target.clone(),
            goal: Goal::parse(&verify).ok(),
            verify,
            terms: Terms::of(&policy),
            approvals: vec![by.clone()],
            args: Map::new(),
            ..Case::default()
        };
        if let Some(label) = label {
            case.labels.insert(label.to_owned(), clip(&event.target).to_owned());
        }
        let instance = text("instance").or_else(|| self.members.knows(&event.service, &event.target).then_some(event.target.as_str()));
        if let Some(instance) = instance {
            case.labels.insert("instance".to_owned(), clip(instance).to_owned());
        }
        case.args = named;
        case.args.remove("verify");
        if !self.room(cx) {
            self.dropped = self.dropped.saturating_add(1);
            return self.note(&case, What::Dropped, "too many incidents at once", cx);
        }
        let why = if reason.is_empty() { by } else { format!("{by}: {reason}") };
        self.note(&case, What::Requested, why, cx);
        self.put(case, Some(cx.now));
    }
}

/// Says what is wrong with an order of this actor's own, for whoever takes it from a person: the record would say so later, where nobody
/// looks.
///
/// # Errors
/// What is wrong.
pub fn check(action: &str, target: &str) -> Result<(), &'static str> {
    if action == order::PAUSE && !is_scope(target) {
        return Err("a pause is of `all`, `service:<name>` or `action:<topic>.<verb>`; `*` stands for nothing");
    }
    Ok(())
}

/// A pause of a name that nothing has would seem to stop something, and stop nothing.
fn is_scope(scope: &str) -> bool {
    let name = |rest: &str| (1..=128).contains(&rest.len()) && !rest.contains('*') && !rest.chars().any(char::is_control);
    scope == "all" || scope.strip_prefix("service:").is_some_and(name) || scope.strip_prefix("action:").is_some_and(is_two_tokens)
}

/// Is an order addressed to a mind rather than to an application? Its topic then is that mind's name (`drift.relearn`), or it tells
/// the query mind a fact (`index.created`).
fn is_for_another_mind(action: &str) -> bool {
    use crate::core::Core as _;
    const MINDS: [&str; 8] = [
        crate::query::QueryCore::NAME,
        crate::health::HealthCore::NAME,
        crate::breaker::BreakerCore::NAME,
        crate::drift::DriftCore::NAME,
        crate::leak::LeakCore::NAME,
        crate::forecast::ForecastCore::NAME,
        crate::key_rotation::KeyRotationCore::NAME,
        crate::status::StatusCore::NAME,
    ];
    action == crate::query::INDEX_CREATED
        || homeostat_schemas::silence::ORDERS.contains(&action)
        || action.split_once('.').is_some_and(|(topic, _)| MINDS.contains(&topic))
}
