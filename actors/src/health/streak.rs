//! Results in a row: the machine behind "three in a row to become unready, two to recover".
//!
//! It is the kubelet's (`pkg/kubelet/prober/worker.go`): a result that differs from the one before starts a new run, and a run
//! changes the state only when it is as long as the threshold of its kind.

use serde::{Deserialize, Serialize};

/// How many results of a kind have come in a row, and what they have led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    state: Option<bool>,
    last: Option<bool>,
    run: u32,
}

impl Streak {
    /// Before the first result, in this state (`None`: nobody knows).
    #[must_use]
    pub const fn new(state: Option<bool>) -> Streak {
        Streak { state, last: None, run: 0 }
    }

    /// Takes a result. True when its run is long enough to set the state, whether or not that changes it.
    pub fn take(&mut self, good: bool, failures: u32, successes: u32) -> bool {
        if self.last == Some(good) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(good);
            self.run = 1;
        }
        let enough = self.run >= if good { successes } else { failures };
        if enough {
            self.state = Some(good);
        }
        enough
    }

    /// Starts counting anew; the state stays.
    pub fn restart(&mut self) {
        self.run = 0;
    }

    /// The state: good, bad, or not known yet.
    #[must_use]
    pub const fn state(&self) -> Option<bool> {
        self.state
    }

    /// How many results like the last have come in a row.
    #[must_use]
    pub const fn run(&self) -> u32 {
        self.run
    }

    /// The last result.
    #[must_use]
    pub const fn last(&self) -> Option<bool> {
        self.last
    }
}
