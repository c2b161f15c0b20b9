//! Looks how much room there is: on the disk of the data directory, and in the streams. Every process looks, whether or not it works.

use crate::metrics::Room;
use homeostat_nats::Log;
use homeostat_nats::streams::bucket_stream;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

/// How often. What fills within less is not saved by an alert either.
const EVERY: Duration = Duration::from_secs(15);

/// Looks for as long as it is let.
pub(super) async fn watch(room: Room, data_dir: PathBuf, mut log: watch::Receiver<Option<Log>>) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            // As soon as there is a bus.
            changed = log.changed() => if changed.is_err() { return },
        }
        if let Ok(disk) = rustix::fs::statvfs(&data_dir) {
            room.disk(disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
        }
        let Some(log) = log.borrow_and_update().clone() else { continue };
        // A bus that does not answer says nothing about its streams; that it does not is said elsewhere.
        let _ = tokio::time::timeout(EVERY, streams(&room, &log)).await;
    }
}

async fn streams(room: &Room, log: &Log) {
    let names = log.bus().names();
    let streams = [
        ("log", names.log.clone()),
        ("archive", names.archive.clone()),
        ("state", bucket_stream(&names.state)),
        ("checkpoints", bucket_stream(&names.checkpoints)),
        ("ledger", names.ledger.clone()),
    ];
    for (stream, name) in streams {
        match log.bus().jetstream().get_stream(name).await {
            Ok(found) => {
                let info = found.cached_info();
                room.stream(stream, info.state.bytes, u64::try_from(info.config.max_bytes).ok().filter(|limit| *limit > 0));
            }
            Err(error) => tracing::debug!(stream, %error, "how full it is cannot be said"),
        }
    }
}
