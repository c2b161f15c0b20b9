//! What a command failed with: one chain, ending in what to do.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;

type Cause = Box<dyn Error + Send + Sync>;

/// Why a command failed.
#[derive(Debug)]
pub struct CliError {
    what: String,
    cause: Option<Cause>,
    advice: Option<String>,
}

impl CliError {
    /// An error of the command's own.
    #[must_use]
    pub fn new(what: impl Into<String>) -> CliError {
        CliError { what: what.into(), cause: None, advice: None }
    }

    /// With what led to it.
    #[must_use]
    pub fn because(self, cause: impl Into<Cause>) -> CliError {
        CliError { cause: Some(cause.into()), ..self }
    }

    /// With what to do about it.
    #[must_use]
    pub fn advise(self, advice: impl Into<String>) -> CliError {
        CliError { advice: Some(advice.into()), ..self }
    }

    /// Everything in one text: what failed, why, and what to do.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.what.clone();
        let mut cause = self.cause.as_deref().map(|cause| cause as &dyn Error);
        while let Some(error) = cause {
            let why = error.to_string();
            // Many errors tell their source themselves.
            if !text.contains(&why) {
                if !text.is_empty() {
                    text.push_str(": ");
                }
                text.push_str(&why);
            }
            cause = error.source();
        }
        if let Some(advice) = &self.advice {
            text.push_str("; ");
            text.push_str(advice);
        }
        text
    }

    /// Is it only that nobody reads any more?
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        let mut cause = self.cause.as_deref().map(|cause| cause as &dyn Error);
        while let Some(error) = cause {
            if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain())
    }
}

// Not `std::error::Error` itself: that would make this conversion one from itself.
impl<E: Error + Send + Sync + 'static> From<E> for CliError {
    fn from(error: E) -> CliError {
        CliError { what: String::new(), cause: Some(Box::new(error)), advice: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: {0}")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_says_each_thing_once_and_ends_in_what_to_do() {
        let inner = || std::io::Error::new(ErrorKind::BrokenPipe, "inner");
        assert_eq!(CliError::from(Outer(inner())).chain(), "outer: inner");
        assert_eq!(CliError::new("first").because(inner()).advise("do this").chain(), "first: inner; do this");
        assert!(CliError::from(Outer(inner())).is_broken_pipe());
        assert!(!CliError::new("x").is_broken_pipe());
    }
}
