//! What a database says of its tables and indexes.

use super::{Planner, PlannerError};
use homeostat_actors::query::index::IndexCandidate;

/// A table as the catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Table {
    /// Of a partition: those of the table that is partitioned.
    pub(super) schema: String,
    pub(super) name: String,
    /// Does the search path find it by its name alone?
    pub(super) visible: bool,
    pub(super) partitioned: bool,
    /// Can it have indexes?
    pub(super) indexable: bool,
}

const TABLE: &str = "SELECT n.nspname::text AS schema, c.relname::text AS name, pg_table_is_visible(c.oid) AS visible, \
     c.relkind = 'p' AS partitioned, c.relkind IN ('r', 'p', 'm') AS indexable \
     FROM pg_class own JOIN pg_namespace s ON s.oid = own.relnamespace \
     JOIN pg_class c ON c.oid = coalesce(pg_partition_root(own.oid), own.oid) JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE s.nspname = $1 AND own.relname = $2";

/// The column lists of whole, valid B-tree indexes; an expression has no name.
const INDEXES: &str = "SELECT ARRAY(SELECT coalesce(a.attname::text, '') FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place) \
     LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number > 0 \
     WHERE k.place <= i.indnkeyatts ORDER BY k.place) \
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam \
     WHERE i.indrelid = to_regclass($1) AND i.indisvalid AND i.indpred IS NULL AND m.amname = $2";

/// A name in quotes.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names of a table as `to_regclass` reads them: `"Bar"."Foo"`.
fn regclass(table: &str) -> String {
    table.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

impl Planner {
    /// What the catalogue knows of a table.
    pub(super) async fn table(&mut self, schema: &str, name: &str) -> Result<Option<Table>, PlannerError> {
        let query = sqlx::query_as::<_, Table>(TABLE).persistent(false).bind(schema).bind(name);
        query.fetch_optional(&mut self.connection).await.map_err(PlannerError::refused)
    }

    /// The columns of each index of a table (with quotes, as `to_regclass` reads it).
    pub(super) async fn indexes(&mut self, table: &str, using: &str) -> Result<Vec<Vec<String>>, PlannerError> {
        let query = sqlx::query_scalar::<_, Vec<String>>(INDEXES).persistent(false).bind(table).bind(using);
        query.fetch_all(&mut self.connection).await.map_err(PlannerError::refused)
    }

    /// Which of these indexes are there: an index of the same kind that begins with the same columns, valid and whole.
    ///
    /// # Errors
    /// The connection is lost, or a time-out passed.
    pub async fn present(&mut self, indexes: &[IndexCandidate]) -> Result<Vec<bool>, PlannerError> {
        let mut present = Vec::with_capacity(indexes.len());
        for index in indexes {
            let columns: Vec<&str> = index.columns.iter().map(|column| column.split(' ').next().unwrap_or(column)).collect();
            let there = self.indexes(&regclass(&index.table), &index.using).await?;
            present.push(there.iter().any(|own| begins(own, &columns)));
        }
        Ok(present)
    }
}

/// Does an index begin with these columns?
pub(super) fn begins<S: AsRef<str>>(index: &[String], columns: &[S]) -> bool {
    index.len() >= columns.len() && index.iter().zip(columns).all(|(own, wanted)| own == wanted.as_ref())
}
