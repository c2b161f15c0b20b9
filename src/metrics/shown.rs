//! What is shown as it is now, rather than counted as it happens.

use super::{ActorLabel, FindingLabels, Metrics};
use crate::roster::Condition;
use homeostat_actors::status::StatusView;
use homeostat_schemas::{Severity, rule::CATALOGUE};
use std::collections::BTreeMap;

impl Metrics {
    /// Shows what is open, of every rule with every severity, and what people say about it.
    #[allow(clippy::cast_possible_wrap)] // counts stay far below 2^63
    pub fn show_status(&self, view: &StatusView) {
        let mut open: BTreeMap<(&str, Severity), i64> = BTreeMap::new();
        for alert in &view.open {
            *open.entry((&alert.rule, alert.severity)).or_default() += 1;
        }
        for rule in CATALOGUE {
            for severity in Severity::ALL {
                let labels = FindingLabels { rule: rule.name, severity: severity.name() };
                self.findings.get_or_create(&labels).set(open.get(&(rule.name, severity)).copied().unwrap_or_default());
            }
        }
        self.silenced.set(view.silenced() as i64);
        self.acknowledged.set(view.acknowledged() as i64);
        self.silences.set(view.silences_active() as i64);
    }

    /// Shows an actor's condition.
    #[allow(clippy::cast_possible_wrap)] // positions and counts stay far below 2^63
    pub fn show(&self, actor: &'static str, condition: &Condition, dispatched: u64) {
        let label = ActorLabel { actor };
        self.position.get_or_create(&label).set(condition.position as i64);
        self.lag.get_or_create(&label).set(dispatched.saturating_sub(condition.position) as i64);
        self.open.get_or_create(&label).set(condition.open as i64);
    }

    /// Forgets what only the process at work knows: another one shows it now, and two would contradict each other. What was counted stays.
    pub fn forget(&self) {
        for gauge in [&self.position, &self.lag, &self.checkpoint, &self.checkpoint_at, &self.checkpoint_bytes, &self.open] {
            gauge.clear();
        }
        self.findings.clear();
        for gauge in [&self.silenced, &self.acknowledged, &self.silences] {
            gauge.set(0);
        }
    }

    /// Nothing is carried here any more.
    pub fn stand_by(&self) {
        self.active.set(0);
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_schemas::Alert;

    fn open(severities: &[Severity]) -> StatusView {
        let alert = |severity: &Severity| Alert { rule: "key_rotation.expires_soon".into(), severity: *severity, ..Alert::default() };
        StatusView { open: severities.iter().map(alert).collect(), ..StatusView::default() }
    }

    fn shown(metrics: &Metrics) -> Vec<String> {
        let text = metrics.encode();
        let all = text.lines().filter_map(|line| line.strip_prefix("homeostat_findings_open"));
        all.filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect()
    }

    #[test]
    fn a_finding_that_grows_moves_to_its_new_severity() {
        let metrics = Metrics::default();
        metrics.show_status(&open(&[Severity::Info, Severity::Info]));
        assert_eq!(shown(&metrics), ["{rule=\"key_rotation.expires_soon\",severity=\"info\"} 2"]);
        metrics.show_status(&open(&[Severity::Info, Severity::Critical]));
        let mut now = shown(&metrics);
        now.sort();
        assert_eq!(
            now,
            ["{rule=\"key_rotation.expires_soon\",severity=\"critical\"} 1", "{rule=\"key_rotation.expires_soon\",severity=\"info\"} 1"]
        );
        metrics.show_status(&open(&[]));
        assert_eq!(shown(&metrics), [""; 0]);
    }
}
