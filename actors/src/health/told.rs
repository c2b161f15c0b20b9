//! What other actors found and readiness has to say: an open breaker, and memory that will run out soon. Both are warnings: a
//! dependency must never take a whole fleet out of service, and a process that will be short of memory in two hours is not yet.

use super::record::{Class, Told};
use super::{HealthConfig, HealthCore, clip};
use crate::core::Cx;
use homeostat_schemas::{Alert, State};

/// The alerts that are listened to, and what the part is called.
fn part(alert: &Alert) -> Option<String> {
    let label = |name: &str| alert.labels.get(name).map(String::as_str);
    match alert.rule.as_str() {
        "breaker.open" => Some(match label("operation") {
            Some(operation) => format!("breaker:{}/{}", clip(label("peer")?), clip(operation)),
            None => format!("breaker:{}", clip(label("peer")?)),
        }),
        "leak.limit_near" => Some("memory_limit".to_owned()),
        _ => None,
    }
}

impl HealthCore {
    pub(super) fn told(&mut self, alert: &Alert, cx: &mut Cx<'_, HealthConfig>) {
        if alert.state == State::Resolved {
            if let Some(service) = self.registry.services.get_mut(&alert.service) {
                service.told.remove(&alert.incident);
            }
            return;
        }
        let Some(name) = part(alert).filter(|_| (1..=64).contains(&alert.service.len()) && alert.incident.len() <= 64) else { return };
        let room = self.registry.limits().told;
        let mut gone = Vec::new();
        let service = self.registry.service(&alert.service, Class::Passing, cx.now, cx.config.retire_after_ms, &mut gone);
        let mut overfull = false;
        if let Some(service) = service {
            if service.told.contains_key(&alert.incident) || service.told.len() < room {
                let told = Told {
                    name,
                    instance: clip(alert.labels.get("instance").map_or("", String::as_str)).to_owned(),
                    why: alert.summary.chars().take(200).collect(),
                    at_ms: cx.now,
                };
                service.told.insert(alert.incident.clone(), told);
            } else {
                overfull = true;
            }
        }
        self.registry.overfull += u64::from(overfull);
        self.close(gone, "its place was needed", cx);
    }
}
