//! How keys stand and are used, said again for those who only hear the log: the log forgets, keys live for years, and how a key is used
//! is no change of it.

use super::records::{LIST_MAX, Records};
use homeostat_nats::Log;
use homeostat_schemas::key::{KeyFact, KeyRecord, KeyUsage};
use homeostat_schemas::{Root, Subject};
use std::time::Duration;
use tokio::sync::watch;

/// How often all keys are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);
/// Usage that is newer by this is news.
const NEWS_MS: u64 = 60 * 60 * 1000;
/// Who says so.
const BY: &str = "homeostat";

/// Looks at all keys now and then, until told to stop. Run by the owner of the log.
pub async fn run(records: Records, log: Log, root: Root, mut stop: watch::Receiver<bool>) {
    loop {
        if let Err(error) = look(&records, &log, &root).await {
            tracing::warn!(error, "how keys stand could not be said again");
        }
        tokio::select! {
            () = crate::system::told(&mut stop) => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Notes every key of which the log no longer says how it stands, or how it is used.
///
/// # Errors
/// The bus or the database does not answer.
pub async fn look(records: &Records, log: &Log, root: &Root) -> Result<(), String> {
    let mut after = String::new();
    loop {
        let keys = records.list(None, &after, LIST_MAX).await.map_err(|error| error.to_string())?;
        let Some(last) = keys.last() else { return Ok(()) };
        after.clone_from(&last.id);
        for key in &keys {
            let said = log.last_on(&root.subject(&Subject::Key(key.id.clone()))).await.map_err(|error| error.to_string())?;
            let said: Option<KeyFact> = said.and_then(|entry| serde_json::from_slice(&entry.payload).ok());
            let usage = records.usage(&key.id).await.map_err(|error| error.to_string())?;
            if said.is_none_or(|said| is_news(key, &said, &usage)) {
                records.note(&key.id, BY).await.map_err(|error| error.to_string())?;
            }
        }
    }
}

fn is_news(key: &KeyRecord, said: &KeyFact, usage: &[KeyUsage]) -> bool {
    // A change that is younger than the log's word is in the outbox and says itself.
    if said.record.generation != key.generation {
        return false;
    }
    usage.iter().any(|used| {
        let before = said.usage.iter().find(|before| before.version == used.version);
        before.is_none_or(|before| used.last_used_ms >= before.last_used_ms.saturating_add(NEWS_MS))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_use_is_news_and_a_later_one_only_after_a_while() {
        let key = KeyRecord { generation: 3, ..KeyRecord::default() };
        let used = |last_used_ms| KeyUsage { version: 1, count: 1, last_used_ms, source: None };
        let said = |usage: &[KeyUsage]| KeyFact { record: key.clone(), usage: usage.to_vec(), ..KeyFact::default() };
        assert!(is_news(&key, &said(&[]), &[used(5)]));
        assert!(!is_news(&key, &said(&[used(5)]), &[used(5 + NEWS_MS - 1)]));
        assert!(is_news(&key, &said(&[used(5)]), &[used(5 + NEWS_MS)]));
        let newer = KeyRecord { generation: 4, ..key.clone() };
        assert!(!is_news(&newer, &said(&[]), &[used(5)]), "the outbox says that by itself");
    }
}
