//! The SQL dialects the lexer tells apart, and how other systems spell their names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whose quoting, comment and escape rules a statement follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Unknown: every quoting style is understood, and where two dialects disagree about what is a literal, it is one.
    #[default]
    Generic,
    /// PostgreSQL and its relatives (Redshift, CockroachDB, …).
    #[serde(alias = "pg", alias = "postgres")]
    Postgresql,
    /// MySQL and MariaDB with their default `sql_mode`: `"…"` is a string, a backslash escapes.
    #[serde(alias = "mariadb")]
    Mysql,
    /// SQLite.
    Sqlite,
}

/// A dialect name nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownDialect(String);

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown SQL dialect `{}`: use postgresql, mysql, sqlite or generic", self.0)
    }
}

impl std::error::Error for UnknownDialect {}

impl Dialect {
    /// The dialect's name as it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Postgresql => "postgresql",
            Self::Mysql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }

    /// Maps a value of OpenTelemetry's `db.system` or `db.system.name` (and the products that speak the same
    /// dialect) to a dialect. Whatever is unknown is [`Dialect::Generic`].
    #[must_use]
    pub fn from_system(system: &str) -> Self {
        let mut folded = [0u8; 32];
        let Some(folded) = folded.get_mut(..system.len()) else { return Self::Generic };
        folded.copy_from_slice(system.as_bytes());
        folded.make_ascii_lowercase();
        match &*folded {
            b"postgresql" | b"postgres" | b"pg" | b"postgis" | b"redshift" | b"aws.redshift" | b"cockroachdb" | b"timescaledb"
            | b"yugabytedb" | b"alloydb" | b"greenplum" | b"edb" | b"db.sql.postgresql" => Self::Postgresql,
            b"mysql" | b"mysql2" | b"mariadb" | b"percona" | b"tidb" | b"aurora_mysql" | b"memsql" | b"singlestore" | b"db.sql.mysql" => {
                Self::Mysql
            }
            b"sqlite" | b"sqlite3" | b"libsql" | b"turso" | b"db.sql.sqlite" => Self::Sqlite,
            _ => Self::Generic,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    /// Reads a name in any case: `pg`, `postgres`, `postgresql`, `mysql`, `mariadb`, `sqlite`, `generic`.
    ///
    /// # Errors
    /// [`UnknownDialect`] for every other name.
    fn from_str(name: &str) -> Result<Self, UnknownDialect> {
        match name.to_ascii_lowercase().as_str() {
            "pg" | "postgres" | "postgresql" => Ok(Self::Postgresql),
            "mysql" | "mariadb" => Ok(Self::Mysql),
            "sqlite" => Ok(Self::Sqlite),
            "generic" => Ok(Self::Generic),
            _ => Err(UnknownDialect(name.chars().take(64).collect())),
        }
    }
}
