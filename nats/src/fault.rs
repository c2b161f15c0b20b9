//! Places at which a test may kill the process, to prove that no instant loses or repeats anything.
//!
//! `HOMEOSTAT_FAULT=<point>:<n>` in the environment, read once, makes the process send itself
//! SIGKILL at the n-th pass (from 1) of that point. Without the variable a pass costs one
//! relaxed load. Names that nobody passes do nothing, so other packages may add their own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every point of this package, in the order in which work passes them.
pub const POINTS: &[(&str, &str)] = &[
    ("outbox.before_batch", "outputs are decided, nothing has been sent"),
    ("outbox.mid_batch", "the chain head of a batch was sent, its outputs were not"),
    ("outbox.before_commit", "everything but the commit was sent"),
    ("outbox.after_commit", "the batch is acknowledged, the outbox does not know yet"),
    ("outbox.after_publish", "all batches are acknowledged, the caller does not know yet"),
    ("outbox.before_note", "a checkpoint is written, the chain head does not point to it yet"),
    ("outbox.after_note", "the chain head points to the checkpoint"),
    ("checkpoint.before_chunks", "nothing of the checkpoint was sent"),
    ("checkpoint.after_chunk", "one more chunk is stored"),
    ("checkpoint.after_chunks", "all chunks are stored, nobody points to them"),
    ("checkpoint.before_pointer", "the chain head points to it, the second pointer does not"),
    ("checkpoint.after_pointer", "both pointers are swapped, the old chunks are still there"),
    ("checkpoint.after_delete", "one old checkpoint was deleted"),
];

struct Armed {
    name: String,
    left: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Passes the point `name`; does not return if a test asked for death here.
pub fn point(name: &str) {
    let Some(armed) = ARMED.get_or_init(|| parse(&std::env::var("HOMEOSTAT_FAULT").ok()?)) else {
        return;
    };
    if armed.name == name && armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        // SIGKILL, not exit: no destructor, no flush, as in a real crash.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

fn parse(text: &str) -> Option<Armed> {
    let (name, count) = text.rsplit_once(':')?;
    let left = count.parse().ok().filter(|n| *n > 0)?;
    Some(Armed { name: name.to_owned(), left: AtomicU64::new(left) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_setting_names_a_point_and_a_pass() {
        let armed = parse("outbox.mid_batch:3").unwrap();
        assert_eq!((armed.name.as_str(), armed.left.into_inner()), ("outbox.mid_batch", 3));
        for bad in ["", "outbox.mid_batch", "outbox.mid_batch:0", "a:b", "a:-1"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn every_point_is_named_once() {
        let mut names: Vec<_> = POINTS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), POINTS.len());
    }
}
