//! Counters that begin with 0. `increase` knows nothing of what a series began with, so the first of anything that is worth an alert would
//! be missed if its series began with it. Their labels are enumerations, so all of them can be there from the start; a test holds what stands
//! here against the rules for Prometheus.

use super::{ActorLabel, AlertLabels, BreakerLabel, CalloutLabel, CureLabel, DeliveryLabels, IntakeLabels, Metrics};
use crate::roster;
use homeostat_schemas::Severity;
use homeostat_schemas::alert::State;
use homeostat_schemas::event::BreakerState;
use homeostat_schemas::rule::CATALOGUE;

impl Metrics {
    /// Makes every series of the counters whose `increase` a rule or a dashboard asks for.
    pub(super) fn begin(&self) {
        for actor in roster::NAMES {
            for counter in [&self.restarts, &self.broken_promises, &self.fenced, &self.poison] {
                drop(counter.get_or_create(&ActorLabel { actor }));
            }
        }
        for outcome in CureLabel::OUTCOMES {
            drop(self.cures.get_or_create(&CureLabel { outcome }));
        }
        for intake in IntakeLabels::INTAKES {
            for result in IntakeLabels::RESULTS {
                drop(self.intake.get_or_create(&IntakeLabels { intake, result }));
            }
        }
        for rule in CATALOGUE {
            for severity in Severity::ALL {
                for state in [State::Firing, State::Resolved] {
                    let labels = AlertLabels { rule: rule.name.into(), severity: severity.to_string(), state: state.to_string() };
                    drop(self.alerts.get_or_create(&labels));
                }
            }
        }
        for (receiver, result) in DeliveryLabels::ALL {
            drop(self.deliveries.get_or_create(&DeliveryLabels { receiver, result }));
        }
        for result in CalloutLabel::RESULTS {
            drop(self.callouts.get_or_create(&CalloutLabel { result }));
        }
        for to in BreakerState::ALL {
            drop(self.breaker_changes.get_or_create(&BreakerLabel { to: to.name() }));
        }
    }
}
