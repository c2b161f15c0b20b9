//! The query mind's last picture: what is served while the mind is not there, and what survives the loss of its checkpoint.

use super::{CHUNK, Failure, Store, StoreError, column, on_pool};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// At most this many rows are kept; the mind has fewer.
const ROWS_MAX: usize = 50_000;

impl Store {
    /// Replaces the picture by these rows, as `/api/v1/queries` shows them: each has a `service` and a `fingerprint`.
    ///
    /// # Errors
    /// A row has no `service` or `fingerprint`, or the database does not answer; then the old picture stands.
    pub async fn save_queries<R: Serialize>(&self, rows: &[R]) -> Result<(), StoreError> {
        const LAST: &str = "SELECT COALESCE(MAX(picture), 0) FROM query";
        // A statement must not touch one row twice.
        let mut picture = BTreeMap::new();
        for row in rows.iter().take(ROWS_MAX) {
            let (key, body) = keyed(row).map_err(|why| StoreError::Corrupt { row: "a row of query statistics".to_owned(), why })?;
            picture.insert(key, body);
        }
        let picture: Vec<_> = picture.into_iter().collect();
        let done = self.work("save queries", async {
            on_pool!(self, pool => {
                let mut tx = pool.begin_with(self.begin()).await?;
                let last: i64 = sqlx::query_scalar(LAST).fetch_one(&mut *tx).await?;
                let this = last.wrapping_add(1);
                for chunk in picture.chunks(CHUNK) {
                    let mut insert = sqlx::QueryBuilder::new("INSERT INTO query (service, fingerprint, picture, body) ");
                    insert.push_values(chunk, |mut values, ((service, fingerprint), body)| {
                        values.push_bind(service).push_bind(fingerprint).push_bind(this).push_bind(body);
                    });
                    insert.push(" ON CONFLICT (service, fingerprint) DO UPDATE SET picture = excluded.picture, body = excluded.body");
                    insert.build().persistent(false).execute(&mut *tx).await?;
                }
                sqlx::query("DELETE FROM query WHERE picture <> $1").bind(this).execute(&mut *tx).await?;
                tx.commit().await?;
            });
            Ok(())
        });
        done.await
    }

    /// The last picture, by service and fingerprint.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn queries(&self) -> Result<Vec<Value>, StoreError> {
        const SQL: &str = "SELECT service, fingerprint, body FROM query ORDER BY service, fingerprint LIMIT $1";
        let found = self.work("queries", async {
            let limit = i64::try_from(ROWS_MAX).unwrap_or(i64::MAX);
            let rows: Vec<(String, String, String)> = on_pool!(self, pool => sqlx::query_as(SQL).bind(limit).fetch_all(pool).await?);
            let read = |(service, fingerprint, body): (String, String, String)| {
                serde_json::from_str(&body).map_err(|why| Failure::Corrupt(format!("query {service}/{fingerprint}"), why.to_string()))
            };
            rows.into_iter().map(read).collect()
        });
        found.await
    }
}

/// A row's key and its JSON.
fn keyed(row: &impl Serialize) -> Result<((String, String), String), String> {
    let row = serde_json::to_value(row).map_err(|why| why.to_string())?;
    let key = |name: &str| row.get(name).and_then(Value::as_str).map(column).ok_or_else(|| format!("it has no `{name}`"));
    Ok(((key("service")?, key("fingerprint")?), row.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::super::Pool;
    use super::*;
    use crate::config::DatabaseConfig;
    use serde_json::json;
    use sqlx::Connection as _;
    use std::num::NonZeroU32;

    #[tokio::test]
    async fn pictures_of_any_length_leave_few_statements_prepared() {
        let dir = tempfile::tempdir().unwrap();
        let config = DatabaseConfig { pool_max: NonZeroU32::MIN, ..DatabaseConfig::default() };
        let store = Store::connect(&config, dir.path()).await.unwrap();
        let rows: Vec<Value> = (0..2 * CHUNK).map(|n| json!({ "service": "shop", "fingerprint": format!("{n:016x}") })).collect();
        for length in 1..=rows.len() {
            store.save_queries(&rows[..length]).await.unwrap();
        }
        assert_eq!(store.queries().await.unwrap().len(), rows.len());
        let Pool::Sqlite(pool) = &store.inner.pool else { panic!("SQLite is the default") };
        let prepared = pool.acquire().await.unwrap().cached_statements_size();
        assert!(prepared < 20, "{prepared} statements are kept, and there were {} lengths", rows.len());
    }
}
