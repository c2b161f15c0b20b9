//! Stories of recovery.

mod guard;
mod people;
mod stories;

use super::{RecoveryConfig, RecoveryCore, Stage, What};
use crate::core::{Effect, Settings};
use crate::rig::{Rig, START, Story, at, message, survives_restart_anywhere};
use homeostat_schemas::{Alert, Command, Content, Outcome, OutcomeStatus, Severity, State, UnixMs};
use serde_json::{Value, json};

/// A story told step by step: what comes next depends on what was issued. It is kept, to be told again with restarts.
struct Play {
    rig: Rig<RecoveryCore>,
    settings: Settings<RecoveryConfig>,
    story: Story,
}

impl Play {
    fn with(config: RecoveryConfig) -> Play {
        Play::with_settings(Settings { config, ..Settings::default() })
    }

    fn with_settings(settings: Settings<RecoveryConfig>) -> Play {
        Play { rig: Rig::with_settings(settings.clone()), settings, story: Story::new() }
    }

    fn feed(&mut self, messages: impl IntoIterator<Item = (UnixMs, Content)>) -> &mut Self {
        for step in messages {
            self.story.push(step.clone());
            self.rig.feed([step]);
        }
        self
    }

    fn until(&mut self, seconds: f64) -> &mut Self {
        self.rig.until(seconds);
        self
    }

    /// Instances with these names report every ten seconds within a span.
    fn beats(&mut self, from: u32, to: u32, service: &str, instances: &[&str]) -> &mut Self {
        for second in (from..to).step_by(10) {
            self.feed(instances.iter().map(|instance| {
                at(f64::from(second), json!({"kind": "heartbeat", "service": service, "instance": instance, "up_s": 500, "interval_s": 10}))
            }));
        }
        self
    }

    fn memory(&mut self, second: f64, instance: &str, bytes: u64) -> &mut Self {
        self.feed([at(second, json!({"kind": "resource", "service": "shop", "instance": instance, "memory_bytes": bytes}))])
    }

    fn commands(&self) -> Vec<Command> {
        let command = |effect: &Effect| if let Effect::Command(command) = effect { Some((**command).clone()) } else { None };
        self.rig.outputs().iter().filter_map(|output| command(&output.effect)).collect()
    }

    fn alerts(&self) -> Vec<Alert> {
        let alert = |effect: &Effect| if let Effect::Alert(alert) = effect { Some((**alert).clone()) } else { None };
        self.rig.outputs().iter().filter_map(|output| alert(&output.effect)).collect()
    }

    fn last(&self) -> Command {
        self.commands().pop().expect("a command was issued")
    }

    /// What the instance that the last command was assigned to says of it.
    fn says(&mut self, second: f64, status: OutcomeStatus) -> &mut Self {
        let command = self.last();
        let instance = command.args.get("instance").and_then(Value::as_str).map(str::to_owned);
        self.feed([message(
            second,
            Content::Outcome(Outcome { command: command.id, service: command.service, status, instance, ..Outcome::default() }),
        )])
    }

    fn does(&mut self, second: f64) -> &mut Self {
        self.says(second, OutcomeStatus::Accepted).says(second, OutcomeStatus::Done)
    }

    fn stage(&self, incident: &str) -> Option<Stage> {
        self.rig.driver().view().open.iter().find(|case| case.incident == incident).map(|case| case.stage)
    }

    fn count(&self, what: What) -> u64 {
        self.rig.driver().view().counts.get(&what).copied().unwrap_or(0)
    }

    /// Everything that is in the record, the oldest first: what and why.
    fn record(&self) -> Vec<String> {
        self.rig.driver().view().record.iter().rev().map(|entry| format!("{:?}: {}", entry.what, entry.why)).collect()
    }

    /// The same story with a restart at every place.
    fn survives(&self) {
        survives_restart_anywhere::<RecoveryCore>(&self.settings, &self.story);
    }
}

fn fires(second: f64, rule: &str, incident: &str, labels: &[(&str, &str)]) -> (UnixMs, Content) {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let alert = Alert {
        id: format!("alert-{incident}"),
        incident: incident.to_owned(),
        rule: rule.to_owned(),
        severity: Severity::Critical,
        service: "shop".to_owned(),
        labels,
        summary: "it was seen".to_owned(),
        at_ms: START,
        ..Alert::default()
    };
    message(second, Content::Alert(Box::new(alert)))
}

fn leaks(second: f64, instance: &str) -> (UnixMs, Content) {
    fires(second, "leak.confirmed", &format!("leak-{instance}"), &[("instance", instance)])
}

fn ends(second: f64, rule: &str, incident: &str) -> (UnixMs, Content) {
    let (at, content) = fires(second, rule, incident, &[]);
    let Content::Alert(mut alert) = content else { panic!("it is an alert") };
    alert.state = State::Resolved;
    (at, Content::Alert(alert))
}

fn order(second: f64, action: &str, target: &str, by: &str, args: Value) -> (UnixMs, Content) {
    at(second, json!({"kind": "order", "action": action, "target": target, "by": by, "args": args}))
}
