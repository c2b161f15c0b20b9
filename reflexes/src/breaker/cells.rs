//! Counting from many threads at the price of counting from one.
//!
//! A counter that all threads increment costs each of them the transfer of a cache line. So every thread has a cell of its own,
//! which it alone writes: a load and a store, no locked instruction. The last cell is shared, with locked increments, by threads
//! that found no free one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Cells of a counter, the shared one included.
const CELLS: usize = 32;
/// The shared one.
const SHARED: usize = CELLS - 1;

/// Which cells have an owner, a bit each.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// The cell of a thread, given back when the thread ends.
struct Owned(usize);

impl Owned {
    fn take() -> Owned {
        let mut taken = TAKEN.load(Ordering::Relaxed);
        loop {
            let free = taken.trailing_ones() as usize;
            if free >= SHARED {
                return Owned(SHARED);
            }
            // Acquire: what the last owner of the cell wrote is seen before anything is added to it.
            match TAKEN.compare_exchange_weak(taken, taken | 1 << free, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Owned(free),
                Err(now) => taken = now,
            }
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.0 != SHARED {
            TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

thread_local! {
    static MINE: Owned = Owned::take();
}

/// Two cache lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicU64);

/// A counter.
#[derive(Debug, Default)]
pub(super) struct Cells([Cell; CELLS]);

impl Cells {
    /// Adds one.
    #[inline]
    pub(super) fn add(&self) {
        // A thread at its very end has no cell any more.
        let mine = MINE.try_with(|mine| mine.0).unwrap_or(SHARED);
        let cell = &self.0[mine.min(SHARED)].0;
        if mine == SHARED {
            cell.fetch_add(1, Ordering::Relaxed);
        } else {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// The sum of all. It may miss what other threads add meanwhile, never for good.
    pub(super) fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, cell| sum.wrapping_add(cell.0.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_however_many_threads_count() {
        let cells = Cells::default();
        std::thread::scope(|scope| {
            // More threads than cells, so that the shared one is used as well.
            for _ in 0..CELLS + 8 {
                scope.spawn(|| (0..10_000).for_each(|_| cells.add()));
            }
        });
        // Cells are given back, so that threads which come later find their own again.
        std::thread::scope(|scope| {
            for _ in 0..CELLS {
                scope.spawn(|| (0..10).for_each(|_| cells.add()));
            }
        });
        assert_eq!(cells.sum(), (CELLS as u64 + 8) * 10_000 + CELLS as u64 * 10);
    }
}
