//! Yes or no, as drivers say it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Yes, no, or a text that means yes: drivers report an error either way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Flag {
    /// Plain yes or no.
    Bool(bool),
    /// A text (an error's class or message); anything but the empty text means yes.
    Text(String),
}

impl Flag {
    /// Does it mean yes?
    #[must_use]
    pub fn is_set(&self) -> bool {
        match self {
            Flag::Bool(set) => *set,
            Flag::Text(text) => !text.is_empty(),
        }
    }
}
