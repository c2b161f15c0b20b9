//! Why a planner could not be asked: in words that may be shown and logged, without addresses, users and passwords.

/// Why a planner could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlannerError {
    /// No database was named.
    #[error("no database is named whose planner could be asked: set planner.url")]
    NotConfigured,
    /// The address is none.
    #[error("it is no address of a PostgreSQL; write postgres://user@host/name")]
    Address,
    /// The file with the password.
    #[error("planner.password_file: {0}")]
    Password(String),
    /// Nobody answers, or not us.
    #[error("the database cannot be reached: {0}")]
    Away(String),
    /// The extension is missing.
    #[error("the extension hypopg is missing there: install it (Debian: postgresql-15-hypopg) and `CREATE EXTENSION hypopg`")]
    NoHypopg,
    /// What cannot be planned.
    #[error("not one statement that reads or changes rows and can be parsed")]
    NoStatement,
    /// The database refused the statement.
    #[error("the database refused the statement: {message} ({code})")]
    Refused {
        /// SQLSTATE.
        code: String,
        /// What it says. It has seen the normal form only.
        message: String,
    },
    /// The plan is none.
    #[error("the plan could not be read")]
    Unreadable,
    /// A time-out passed.
    #[error("no answer in time")]
    Late,
}

impl PlannerError {
    /// Is the connection good for another statement?
    #[must_use]
    pub fn is_of_the_statement(&self) -> bool {
        matches!(self, PlannerError::Refused { .. } | PlannerError::NoStatement | PlannerError::Unreadable)
    }

    /// What went wrong before the first statement.
    pub(super) fn away(error: sqlx::Error) -> PlannerError {
        match error {
            // 28P01, 28000: the message names the user. 3D000: it names the database, which is not secret.
            sqlx::Error::Database(error) if error.code().is_some_and(|code| code.starts_with("28")) => {
                PlannerError::Away("it refuses user or password".to_owned())
            }
            sqlx::Error::Database(error) => PlannerError::Away(error.message().to_owned()),
            sqlx::Error::Io(error) => PlannerError::Away(error.kind().to_string()),
            sqlx::Error::Tls(_) => PlannerError::Away("no TLS connection".to_owned()),
            _ => PlannerError::Away("no connection".to_owned()),
        }
    }

    /// What went wrong with a statement.
    pub(super) fn refused(error: sqlx::Error) -> PlannerError {
        match error {
            sqlx::Error::Database(error) => match error.code().as_deref() {
                // query_canceled by statement_timeout, lock_not_available
                Some("57014" | "55P03") => PlannerError::Late,
                code => PlannerError::Refused { code: code.unwrap_or("?????").to_owned(), message: error.message().to_owned() },
            },
            other => PlannerError::away(other),
        }
    }
}
