//! The peer that is called: how long its answers take, and which of them fail.

use super::parameters::{Fault, Parameters};

/// What a call comes back as.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// Did it succeed?
    pub ok: bool,
    /// Was it given up?
    pub timeout: bool,
    /// How long it took, µs.
    pub took_us: u64,
}

/// Chance of one call, drawn before anybody decides about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Which of the calls fail.
    pub fails: f64,
    /// How long it takes.
    pub takes: f64,
}

/// The peer.
#[derive(Debug)]
pub struct Peer {
    parameters: Parameters,
    /// Calls a second that it bears, when it is overloaded.
    capacity: f64,
    /// When its queue is worked off, µs.
    free_us: f64,
}

impl Peer {
    /// A peer of this world.
    #[must_use]
    pub fn new(parameters: &Parameters) -> Peer {
        Peer { parameters: parameters.clone(), capacity: parameters.rps * 1.2, free_us: 0.0 }
    }

    /// Would a call that is made now succeed, as far as that does not depend on the load?
    #[must_use]
    pub fn would_succeed(&self, faulty: bool, replica: u32, draw: Draw) -> bool {
        let p = &self.parameters;
        let fails = match p.fault {
            _ if !faulty => p.error_rate,
            Fault::None | Fault::Overload { .. } => p.error_rate,
            Fault::Outage | Fault::Hang => 1.0,
            Fault::BrownOut { share } => share.max(p.error_rate),
            Fault::OneReplica if replica == 0 => 1.0,
            Fault::Zone if replica.is_multiple_of(3) => 1.0,
            Fault::OneReplica | Fault::Zone => p.error_rate,
        };
        draw.fails >= fails
    }

    /// A call is made.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn answer(&mut self, now_us: f64, faulty: bool, replica: u32, draw: Draw) -> Answer {
        /// Answers take this long, ms, and failures half of it: an exponential tail over a fixed part.
        const BASE_MS: f64 = 8.0;
        const TAIL_MS: f64 = 12.0;
        let timeout_us = self.parameters.timeout_ms * 1_000.0;
        let mut took_us = (BASE_MS - TAIL_MS * (1.0 - draw.takes).ln()) * 1_000.0;
        let mut ok = self.would_succeed(faulty, replica, draw);
        if faulty && self.parameters.fault == Fault::Hang {
            took_us = f64::INFINITY;
        }
        if matches!(self.parameters.fault, Fault::Overload { .. }) {
            // One queue, worked off at the capacity; work for a caller that has given up is done all the same.
            let begins = self.free_us.max(now_us);
            let waits = begins - now_us;
            if waits > 3.0 * timeout_us {
                // The queue is full.
                (ok, took_us) = (false, 2_000.0);
            } else {
                self.free_us = begins + 1_000_000.0 / self.capacity;
                took_us += waits;
            }
        }
        let timeout = took_us >= timeout_us;
        if !ok && !timeout {
            took_us /= 2.0;
        }
        Answer { ok: ok && !timeout, timeout, took_us: took_us.min(timeout_us).max(1.0) as u64 }
    }
}
