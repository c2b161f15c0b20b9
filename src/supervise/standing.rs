//! What a keeper stands on: a shell on a thread of its own, the floor it shares with the others, and how it is told that the log
//! is still the same.

use crate::roster::Slot;
use crate::shell::{Shell, Stop};
use actix::{Addr, Arbiter, ArbiterHandle, System};
use homeostat_actors::core::Core;
use homeostat_nats::{BusError, Log};
use homeostat_schemas::Position;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use xxhash_rust::xxh3::xxh3_128;

/// How long making a thread may take.
const ARBITER_DEADLINE: Duration = Duration::from_secs(5);

/// A shell on its arbiter. However its keeper ends, in order or dropped in the middle, the shell and its thread end with it.
pub(super) struct Standing<C: Core> {
    pub(super) addr: Addr<Shell<C>>,
    pub(super) arbiter: ArbiterHandle,
    pub(super) slot: Slot<C>,
}

impl<C: Core> Drop for Standing<C> {
    fn drop(&mut self) {
        self.slot.fill(None);
        self.slot.note(|condition| {
            condition.running = false;
            condition.caught_up = false;
        });
        self.addr.do_send(Stop);
        self.arbiter.stop();
    }
}

/// Who works on a batch: any number of keepers, or one alone.
#[derive(Debug, Clone)]
pub struct Floor(Arc<Semaphore>);

impl Floor {
    /// Far more places than there are actors.
    const PLACES: u16 = 1024;

    /// The right to work, until it is dropped: beside others, or `alone`. Whoever asks first is served first, so that one who
    /// wants to be alone waits for those at work, not for those who come after it.
    pub async fn work(&self, alone: bool) -> Option<OwnedSemaphorePermit> {
        let places = if alone { Floor::PLACES } else { 1 };
        self.0.clone().acquire_many_owned(u32::from(places)).await.ok()
    }
}

impl Default for Floor {
    fn default() -> Self {
        Floor(Arc::new(Semaphore::new(usize::from(Floor::PLACES))))
    }
}

/// What tells one message at a position from another one that came to stand there: 0 at the beginning, nothing when retention
/// has removed it.
pub(super) async fn mark_of(log: &Log, position: Position) -> Result<Option<u128>, BusError> {
    if position == 0 {
        return Ok(Some(0));
    }
    let entry = log.get(position).await?;
    Ok(entry.map(|entry| xxh3_128(&[&entry.at_ms.to_le_bytes()[..], entry.subject.as_bytes(), &entry.payload].concat())))
}

/// A new arbiter: every shell has a thread of its own, so that a busy mind starves nobody.
pub(super) async fn arbiter(system: &System) -> Result<ArbiterHandle, String> {
    let (sender, receiver) = oneshot::channel();
    let made = system.arbiter().spawn_fn(move || {
        let _ = sender.send(Arbiter::new().handle());
    });
    if !made {
        return Err("the actix system has ended".to_owned());
    }
    let made = tokio::time::timeout(ARBITER_DEADLINE, receiver).await;
    made.ok().and_then(Result::ok).ok_or_else(|| "no arbiter could be made".to_owned())
}

/// Work on a thread of its own. However the one who waits for it ends, the work and its thread end, too.
pub(crate) async fn alone<T: Send + 'static>(system: &System, work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    struct Ending(ArbiterHandle);
    impl Drop for Ending {
        fn drop(&mut self) {
            self.0.stop();
        }
    }
    let thread = Ending(arbiter(system).await?);
    let (sender, receiver) = oneshot::channel();
    thread.0.spawn(async move {
        // Nobody waits any more: then nobody wants it.
        let _ = sender.send(work.await);
    });
    receiver.await.map_err(|_| "the work on a thread of its own ended in the middle".to_owned())
}

/// A pause of half to once the given time.
pub(super) fn jittered(pause_ms: u64) -> Duration {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    Duration::from_millis(pause_ms / 2 + pause_ms.div_ceil(2) * u64::from(nanos % 1000) / 1000)
}
