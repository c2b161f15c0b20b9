//! What grew from one profile to the next.

use super::{Amount, Entry, Format, HeapError, Profile};
use serde::Serialize;
use std::collections::BTreeSet;

/// One name in both profiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Type, function or stack.
    pub name: String,
    /// In the first.
    pub before: Amount,
    /// In the second.
    pub after: Amount,
    /// The difference.
    pub growth: Amount,
    /// Growth of the bytes of a function and all it called, where stacks are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth_with_callees: Option<i64>,
}

/// The difference of two profiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// How both are written.
    pub format: Format,
    /// What was counted, where the profile says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// All of the first.
    pub before: Amount,
    /// All of the second.
    pub after: Amount,
    /// The difference.
    pub growth: Amount,
    /// Names in either.
    pub names: usize,
    /// Those that grew most come first, those that shrank most last.
    pub rows: Vec<Row>,
}

fn growth(before: Amount, after: Amount) -> Amount {
    Amount { count: after.count.saturating_sub(before.count), bytes: after.bytes.saturating_sub(before.bytes) }
}

/// The difference of two profiles, name by name; with `top`, only that many rows, those that grew most.
///
/// # Errors
/// They are of different formats, or count different things.
pub fn diff(before: &Profile, after: &Profile, top: Option<usize>) -> Result<Diff, HeapError> {
    if before.format != after.format || before.value != after.value {
        let word = |profile: &Profile| match &profile.value {
            Some(value) => format!("{} of {value}", profile.format),
            None => profile.format.to_string(),
        };
        return Err(HeapError::Different(word(before), word(after)));
    }
    let names: BTreeSet<&String> = before.entries.keys().chain(after.entries.keys()).collect();
    let row = |name: &String| {
        let (old, new): (Entry, Entry) =
            (before.entries.get(name).copied().unwrap_or_default(), after.entries.get(name).copied().unwrap_or_default());
        let known = old.with_callees.is_some() || new.with_callees.is_some();
        let callees = new.with_callees.unwrap_or(0).saturating_sub(old.with_callees.unwrap_or(0));
        Row {
            name: name.clone(),
            before: old.own,
            after: new.own,
            growth: growth(old.own, new.own),
            growth_with_callees: known.then_some(callees),
        }
    };
    let count = names.len();
    let mut rows: Vec<Row> = names.into_iter().map(row).collect();
    // Names are in order, and a stable sort keeps them so where growth is equal.
    rows.sort_by_key(|row| std::cmp::Reverse((row.growth.bytes, row.growth_with_callees, row.growth.count)));
    rows.truncate(top.unwrap_or(usize::MAX));
    Ok(Diff {
        format: after.format,
        value: after.value.clone(),
        before: before.total,
        after: after.total,
        growth: growth(before.total, after.total),
        names: count,
        rows,
    })
}
