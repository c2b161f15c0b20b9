//! Open traces: what each request has asked so far, whatever the order, and however often and in how many messages it came.
//!
//! A trace here is one service's part of a trace. It is kept until nothing of it has come for a while, so that a span
//! delivered again is known again; it is judged when its root is there.

use super::config::QueryConfig;
use super::lookup::Lookup;
use super::shapes::Params;
use homeostat_schemas::UnixMs;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// No slot: the end of a list.
const NONE: u32 = u32::MAX;
/// Longest trace id that is kept for show, bytes. W3C ids have 32.
const ID_MAX_BYTES: usize = 64;
/// Longest route that is kept, bytes.
const ROUTE_MAX_BYTES: usize = 200;

/// One execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) shape: u32,
    /// The caller's span, hashed; 0 when nobody said.
    pub(super) parent: u64,
    /// Where in the code it was sent, hashed; 0 when nobody said.
    pub(super) source: u64,
    pub(super) params: Params,
    pub(super) end_us: u64,
    pub(super) took_us: u64,
    /// Rows returned or changed, when known.
    pub(super) rows: Option<u32>,
}

/// Who called whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Caller {
    pub(super) span: u64,
    /// 0 at the root.
    pub(super) parent: u64,
    pub(super) what: What,
}

/// What a caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    /// An inbound request with its route: nothing above it is of this service's making.
    Request(Box<str>),
    /// Anything else, by the hash of its name.
    Span(u64),
}

/// One service's part of a trace.
#[derive(Serialize, Deserialize)]
pub(super) struct Trace {
    key: u64,
    pub(super) service: u32,
    /// Its id as the sender wrote it.
    pub(super) id: Box<str>,
    last_ms: UnixMs,
    /// When the latest root came, or 0.
    root_ms: UnixMs,
    /// Since when it waits to be judged; 0 when it does not.
    waiting_ms: UnixMs,
    spans: u32,
    /// Spans seen, hashed.
    seen: Vec<u64>,
    pub(super) runs: Vec<Run>,
    pub(super) callers: Vec<Caller>,
    /// The groups that were found in it already.
    pub(super) found: Vec<u64>,
    previous: u32,
    next: u32,
}

/// Every open trace, oldest news first.
#[derive(Serialize, Deserialize)]
pub(super) struct Traces {
    slots: Vec<Trace>,
    free: Vec<u32>,
    places: Lookup,
    oldest: u32,
    newest: u32,
    /// Those whose root has come and that have not been judged since: slot and key, for a slot may have changed hands.
    waiting: Vec<(u32, u64)>,
    spans: usize,
    /// Spans that came again and were not counted again.
    pub(super) redelivered: u64,
    /// Spans that were not looked at for want of room.
    pub(super) unseen: u64,
    /// Traces that were closed early for want of room.
    pub(super) evicted: u64,
}

impl Default for Traces {
    fn default() -> Self {
        Traces {
            slots: Vec::new(),
            free: Vec::new(),
            places: Lookup::default(),
            oldest: NONE,
            newest: NONE,
            waiting: Vec::new(),
            spans: 0,
            redelivered: 0,
            unseen: 0,
            evicted: 0,
        }
    }
}

/// The hash of a span id; never 0, which means that there is none.
pub(super) fn span_hash(id: &str) -> u64 {
    xxh3_64(id.as_bytes()).max(1)
}

/// The id, unless it is missing, empty or all zeros, which W3C calls invalid.
pub(super) fn valid(id: Option<&str>) -> Option<&str> {
    id.filter(|id| id.bytes().any(|byte| byte != b'0'))
}

/// The hash of a span's name. Digits do not tell: `load item 17` and `load item 18` are the same work.
pub(super) fn name_hash(name: &str, op: &str) -> u64 {
    let mut folded = Vec::with_capacity(name.len() + op.len() + 1);
    for byte in op.bytes().chain([0]).chain(name.bytes()) {
        match byte {
            b'0'..=b'9' if folded.last() == Some(&b'0') => {}
            b'0'..=b'9' => folded.push(b'0'),
            byte => folded.push(byte),
        }
    }
    xxh3_64(&folded)
}

/// What a new span adds to its trace.
pub(super) enum Part {
    /// An execution that may turn out to be one of many.
    Run(Run),
    /// An execution that is never a finding.
    Quiet,
    /// A caller.
    Caller(Caller),
}

impl Traces {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn spans(&self) -> usize {
        self.spans
    }

    /// Is there room for one more span, be it of a new trace?
    pub(super) fn is_full(&self, config: &QueryConfig) -> bool {
        self.places.len() >= config.traces_max.max(1) || self.spans >= config.spans_max.max(1)
    }

    /// Is there more than there may be, since the settings became stricter?
    pub(super) fn is_over(&self, config: &QueryConfig) -> bool {
        self.places.len() > config.traces_max.max(1) || self.spans > config.spans_max.max(1)
    }

    /// The trace of this id, new or known.
    pub(super) fn enter(&mut self, service: u32, id: &str, now: UnixMs) -> u32 {
        let key = xxh3_64_with_seed(id.as_bytes(), u64::from(service));
        if let Some(slot) = self.places.get(key) {
            return slot;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).unwrap_or(NONE - 1);
                self.slots.push(Trace {
                    key,
                    service,
                    id: Box::default(),
                    last_ms: now,
                    root_ms: 0,
                    waiting_ms: 0,
                    spans: 0,
                    seen: Vec::new(),
                    runs: Vec::new(),
                    callers: Vec::new(),
                    found: Vec::new(),
                    previous: NONE,
                    next: NONE,
                });
                slot
            }
        };
        let trace = &mut self.slots[slot as usize];
        (trace.key, trace.service, trace.last_ms) = (key, service, now);
        trace.id = super::shapes::cut(id, ID_MAX_BYTES).into();
        self.places.insert(key, slot);
        self.append(slot);
        slot
    }

    /// Has this span been seen before?
    pub(super) fn knows(&mut self, slot: u32, span: u64) -> bool {
        let known = self.slots[slot as usize].seen.contains(&span);
        self.redelivered += u64::from(known);
        known
    }

    /// Is this request there already? Without an id of its own its route has to tell.
    pub(super) fn has_request(&self, slot: u32, route: &str) -> bool {
        let is_it = |caller: &Caller| {
            caller.span == 0 && matches!(&caller.what, What::Request(known) if route.starts_with(known.trim_end_matches('…')))
        };
        self.slots[slot as usize].callers.iter().any(is_it)
    }

    /// Adds a span that has not been seen; `span` is 0 when it has no id. A `root` makes the trace ready to be judged.
    pub(super) fn add(&mut self, slot: u32, span: u64, part: Part, root: bool, now: UnixMs, config: &QueryConfig) {
        let trace = &mut self.slots[slot as usize];
        if trace.spans as usize >= config.spans_per_trace_max {
            self.unseen += 1;
        } else {
            trace.spans += 1;
            self.spans += 1;
            if span != 0 {
                trace.seen.push(span);
            }
            match part {
                Part::Run(run) => trace.runs.push(run),
                Part::Caller(caller) => trace.callers.push(caller),
                Part::Quiet => {}
            }
        }
        if root {
            trace.root_ms = now;
        }
        let moved = trace.last_ms != now;
        trace.last_ms = now;
        if trace.root_ms > 0 && trace.waiting_ms == 0 {
            trace.waiting_ms = now;
            self.waiting.push((slot, trace.key));
        }
        if moved && self.newest != slot {
            self.unlink(slot);
            self.append(slot);
        }
    }

    /// The traces that can be judged now; they wait no longer.
    ///
    /// When the root was the last to come, the trace is complete. When something came after it, more may come; but no trace
    /// waits for longer than ten times the grace.
    pub(super) fn ready(&mut self, now: UnixMs, config: &QueryConfig) -> Vec<u32> {
        let mut ready = Vec::new();
        let slots = &mut self.slots;
        self.waiting.retain(|(slot, key)| {
            let trace = &mut slots[*slot as usize];
            if trace.key != *key || trace.waiting_ms == 0 {
                return false;
            }
            let complete = trace.last_ms == trace.root_ms
                || now.saturating_sub(trace.last_ms) >= config.join_grace_ms
                || now.saturating_sub(trace.waiting_ms) >= config.join_grace_ms.saturating_mul(10);
            if complete {
                trace.waiting_ms = 0;
                ready.push(*slot);
            }
            !complete
        });
        ready
    }

    pub(super) fn get(&self, slot: u32) -> &Trace {
        &self.slots[slot as usize]
    }

    /// Notes that a group was found; true when it is new.
    pub(super) fn note(&mut self, slot: u32, group: u64) -> bool {
        let found = &mut self.slots[slot as usize].found;
        let new = !found.contains(&group);
        if new {
            found.push(group);
        }
        new
    }

    /// The trace that has been quiet for longest.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// The trace that has been quiet for longest, if that is longer than a trace lives.
    pub(super) fn idle(&self, now: UnixMs, config: &QueryConfig) -> Option<u32> {
        self.oldest().filter(|slot| now.saturating_sub(self.get(*slot).last_ms) >= config.trace_idle_ms)
    }

    /// Does anything of a trace not yet judged stand in this shape? Walks over everything; for rare use.
    pub(super) fn shapes_in_use(&self) -> std::collections::BTreeSet<u32> {
        self.slots.iter().flat_map(|trace| trace.runs.iter().map(|run| run.shape)).collect()
    }

    /// Forgets a trace. Its buffers are kept for the next, unless they have grown beyond what is usual.
    pub(super) fn forget(&mut self, slot: u32) {
        const USUAL: usize = 64;
        self.unlink(slot);
        let trace = &mut self.slots[slot as usize];
        self.spans -= trace.spans as usize;
        trace.spans = 0;
        self.places.remove(trace.key);
        trace.waiting_ms = 0;
        trace.root_ms = 0;
        trace.id = Box::default();
        trace.seen.clear();
        trace.runs.clear();
        trace.callers.clear();
        trace.found.clear();
        trace.seen.shrink_to(USUAL);
        trace.runs.shrink_to(USUAL);
        trace.callers.shrink_to(USUAL);
        trace.found.shrink_to(USUAL);
        self.free.push(slot);
    }

    fn append(&mut self, slot: u32) {
        let last = self.newest;
        let trace = &mut self.slots[slot as usize];
        (trace.previous, trace.next) = (last, NONE);
        match self.slots.get_mut(last as usize) {
            Some(last) => last.next = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    fn unlink(&mut self, slot: u32) {
        let Trace { previous, next, .. } = self.slots[slot as usize];
        match self.slots.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => self.oldest = next,
        }
        match self.slots.get_mut(next as usize) {
            Some(next) => next.previous = previous,
            None => self.newest = previous,
        }
    }
}

/// A caller that is an inbound request.
pub(super) fn request(route: &str, span: u64, parent: u64) -> Caller {
    Caller { span, parent, what: What::Request(super::shapes::cut(route, ROUTE_MAX_BYTES).into()) }
}
