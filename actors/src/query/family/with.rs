//! The names that `WITH` gives to queries: what they are called canonically, and where each can be seen.

use sqlparser::ast::{Ident, ObjectName, With};

use super::scope;

/// The names in sight, the innermost query last.
#[derive(Default)]
pub(super) struct Defined {
    levels: Vec<Level>,
    /// How many names there were so far.
    count: usize,
}

/// What the `WITH` of one query defines.
#[derive(Default)]
struct Level {
    /// Name and canonical name.
    names: Vec<(String, String)>,
    /// So many of them are in sight: a definition sees those before it, the query itself sees all.
    seen: usize,
    /// A definition sees itself and those after it.
    recursive: bool,
}

impl Defined {
    /// A query begins; its body is in sight of all its names.
    pub(super) fn open(&mut self, with: Option<&mut With>) {
        let mut level = Level::default();
        if let Some(with) = with {
            level.recursive = with.recursive;
            for cte in &mut with.cte_tables {
                self.count += 1;
                let canonical = format!("with#{}", self.count);
                level.names.push((cte.alias.name.value.clone(), canonical.clone()));
                cte.alias.name = Ident::new(canonical);
            }
            level.seen = level.names.len();
        }
        self.levels.push(level);
    }

    /// The definitions of the query that was opened last are about to be visited.
    pub(super) fn enter(&mut self) {
        if let Some(level) = self.levels.last_mut()
            && !level.recursive
        {
            level.seen = 0;
        }
    }

    /// A query ends. If it was a definition, its name comes into sight.
    pub(super) fn close(&mut self) {
        self.levels.pop();
        if let Some(level) = self.levels.last_mut() {
            level.seen = level.names.len().min(level.seen + 1);
        }
    }

    /// What a table is called if it is none, but defined by a `WITH` in sight.
    pub(super) fn canonical(&self, name: &ObjectName) -> Option<&str> {
        if name.0.len() != 1 {
            return None;
        }
        let called = scope::last_part(name);
        self.levels.iter().rev().find_map(|level| {
            let seen = level.names.iter().take(level.seen);
            seen.rev().find(|(name, _)| name == called).map(|(_, canonical)| canonical.as_str())
        })
    }
}
