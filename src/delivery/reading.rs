//! Alerts read on a task of their own: whoever tells them may be busy for as long as it takes, and never interrupts the reading.

use super::Post;
use homeostat_nats::{Entry, Reader, ReaderError, ReaderOptions};
use homeostat_schemas::Position;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Batches that wait for whoever tells them.
const WAITING: usize = 1;

/// What is read of a log, in its order.
pub(super) struct Reading {
    batches: mpsc::Receiver<Result<Vec<Entry>, ReaderError>>,
    /// Ends with this.
    _task: JoinSet<()>,
}

impl Reading {
    /// Reads what has these subjects, from `from` on.
    ///
    /// # Errors
    /// The log cannot be read from there.
    pub(super) async fn start(post: &Post, from: Position, filters: Vec<String>) -> Result<Reading, ReaderError> {
        let mut reader = Reader::open(&post.log, from, ReaderOptions { filters, ..ReaderOptions::default() }).await?;
        let (sender, batches) = mpsc::channel(WAITING);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let batch = reader.next().await;
                let over = batch.as_ref().is_err_and(|error| !matches!(error, ReaderError::Overtaken { .. }));
                if sender.send(batch).await.is_err() || over {
                    return;
                }
            }
        });
        Ok(Reading { batches, _task: task })
    }

    /// The next batch; nothing after an error that ended the reading. May be dropped at any await and called again.
    pub(super) async fn next(&mut self) -> Option<Result<Vec<Entry>, ReaderError>> {
        self.batches.recv().await
    }
}
