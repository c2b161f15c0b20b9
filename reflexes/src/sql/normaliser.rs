//! The reusable normaliser and what it answers.

use super::fingerprint::Fingerprint;
use super::frames::Frames;
use super::lexer::Lexer;
use super::output::Output;
use super::{Dialect, Shape, Verb, other};

/// Normalises statements one after the other into buffers that it keeps. Cheap to keep, not meant to be shared:
/// one per thread or task.
pub struct Normaliser {
    output: Output,
    frames: Frames,
    key: u64,
}

/// What a statement is. Borrows the text from the [`Normaliser`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalised<'a> {
    /// The statement without its literals; see the [module](super) for its form.
    pub normal: &'a str,
    /// The fingerprint of `normal`.
    pub fingerprint: Fingerprint,
    /// A keyed hash over the literals in order. `None` when the text does not hold the parameters: it has no
    /// literals, or it has placeholders beside them (whose values are elsewhere, so that equal literals would prove
    /// nothing).
    pub params: Option<u64>,
    /// What the (first) statement does.
    pub verb: Verb,
    /// What else was noticed.
    pub shape: Shape,
}

impl Default for Normaliser {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Normaliser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the key nor the text of the last statement belongs into a log.
        f.debug_struct("Normaliser").finish_non_exhaustive()
    }
}

impl Normaliser {
    /// A normaliser with parameter key 0: its parameter hashes hide nothing from somebody who knows that.
    #[must_use]
    pub fn new() -> Self {
        Self::with_key(0)
    }

    /// A normaliser whose parameter hash is keyed. Hashes under different keys cannot be compared.
    #[must_use]
    pub fn with_key(key: u64) -> Self {
        Self { output: Output::default(), frames: Frames::new(), key }
    }

    /// Normalises one statement. Never fails; linear in its length.
    pub fn normalise(&mut self, statement: &str, dialect: Dialect) -> Normalised<'_> {
        self.output.reset(statement.len());
        self.frames.clear();
        let facts = if let Some(facts) = other::normalise(statement, dialect, self.key, &mut self.output, &mut self.frames) {
            facts
        } else {
            Lexer::new(statement.as_bytes(), dialect, self.key, &mut self.output, &mut self.frames).run()
        };
        let normal = self.output.as_str();
        Normalised {
            normal,
            fingerprint: Fingerprint::of(normal),
            params: if facts.shape.has_placeholders() { None } else { facts.params.finish() },
            verb: facts.verb,
            shape: facts.shape,
        }
    }
}

/// What a pass over a statement found beside its text.
pub(super) struct Facts {
    pub(super) params: super::params::Params,
    pub(super) verb: Verb,
    pub(super) shape: Shape,
}
