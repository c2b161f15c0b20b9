//! Counters that begin with 0. `increase` knows nothing of what a series began with, so the first of anything that is worth an alert would
//! be missed if its series began with it. Their labels are enumerations, so all of them can be there from the start; a test holds what stands
//! here against the rules for Prometheus.

use super::{ActorLabel, CureLabel, IntakeLabels, Metrics};
use crate::roster;

impl Metrics {
    /// Makes every series of the counters whose `increase` a rule asks for.
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
    }
}
