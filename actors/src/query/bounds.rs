//! How much may be there: what the settings say, or what was there already when they became stricter.

use super::QueryCore;
use super::config::QueryConfig;
use serde::{Deserialize, Serialize};

/// The bounds in force at the last step, one for each collection that has a limit in the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bounds {
    pub(super) shapes: usize,
    pub(super) services: usize,
    pub(super) traces: usize,
    pub(super) spans: usize,
    pub(super) caches: usize,
    pub(super) asked: usize,
    pub(super) effects: usize,
}

impl QueryCore {
    /// The bounds under these settings. A bound above its limit only ever falls, with what is there.
    pub(super) fn bounds_under(&self, config: &QueryConfig) -> Bounds {
        let before = self.bounds;
        let bound = |limit: usize, before: usize, there: usize| limit.max(before.min(there));
        Bounds {
            shapes: bound(config.shapes_max, before.shapes, self.shapes.len()),
            services: bound(config.services_max, before.services, self.shapes.services.len()),
            traces: bound(config.traces_max.max(1), before.traces, self.traces.len()),
            spans: bound(config.spans_max.max(1), before.spans, self.traces.spans()),
            caches: bound(config.cache.caches_max, before.caches, self.caches.len()),
            asked: bound(config.advice.verify_max, before.asked, self.asked.len()),
            effects: bound(config.advice.effects_max, before.effects, self.effects.len()),
        }
    }
}
