//! `homeostat heap diff A B`: what grew between two heap profiles.

use super::args::{HeapArgs, HeapCommand};
use super::leak::size;
use super::out::{Tone, plain};
use super::{CliError, Context, Finish};
use crate::heap::{Diff, Profile, Row, diff, read};
use std::fs::File;
use std::path::Path;

/// Longest name in the table, in characters; `--json` has all of it.
const NAME_SHOWN: usize = 90;

/// Runs the command.
///
/// # Errors
/// A profile cannot be read, or the two cannot be compared.
pub fn run(context: &mut Context, args: &HeapArgs) -> Result<Finish, CliError> {
    let HeapCommand::Diff { before, after, top } = &args.command;
    let (old, new) = (profile(before)?, profile(after)?);
    let diff = diff(&old, &new, Some(usize::try_from(*top).unwrap_or(usize::MAX)).filter(|top| *top > 0))
        .map_err(|why| CliError::new("the two profiles cannot be compared").because(why))?;
    if context.json {
        context.out.json(&diff)?;
    } else {
        table(context, &diff)?;
    }
    Ok(Finish::Fine)
}

fn profile(path: &Path) -> Result<Profile, CliError> {
    let failed = |why: Box<dyn std::error::Error + Send + Sync>| CliError::new(path.display().to_string()).because(why);
    if path == Path::new("-") {
        return read(std::io::stdin()).map_err(|why| failed(why.into()));
    }
    let file = File::open(path).map_err(|why| failed(why.into()))?;
    read(file).map_err(|why| failed(why.into()))
}

fn table(context: &mut Context, diff: &Diff) -> Result<(), CliError> {
    let out = &mut context.out;
    let value = diff.value.as_deref().map(|value| format!(", {}", plain(value))).unwrap_or_default();
    out.line(format!(
        "{}{value}: {} → {} ({}), {} → {} objects ({:+})",
        diff.format,
        bytes(diff.before.bytes),
        bytes(diff.after.bytes),
        signed(diff.growth.bytes),
        diff.before.count,
        diff.after.count,
        diff.growth.count,
    ))?;
    let stacks = diff.rows.iter().any(|row| row.growth_with_callees.is_some());
    let callees = if stacks { format!(" {:>12}", "with callees") } else { String::new() };
    let head = format!("{:>12}{callees} {:>12} {:>10} {:>10}  name", "growth", "now", "objects", "now");
    let head = out.paint(Tone::Faint, &head);
    out.line(head)?;
    for row in &diff.rows {
        let callees = row.growth_with_callees.filter(|_| stacks).map(|bytes| format!(" {:>12}", signed(bytes))).unwrap_or_default();
        let Row { growth, after, .. } = row;
        let (grown, now) = (signed(growth.bytes), bytes(after.bytes));
        out.line(format!("{grown:>12}{callees} {now:>12} {:>+10} {:>10}  {}", growth.count, after.count, name(&row.name)))?;
    }
    if diff.names > diff.rows.len() {
        out.line(format!("… and {} more; --top N shows more of them, --top 0 all", diff.names - diff.rows.len()))?;
    }
    Ok(())
}

fn name(name: &str) -> String {
    let name = plain(name);
    if name.chars().nth(NAME_SHOWN).is_none() { name } else { name.chars().take(NAME_SHOWN - 1).chain(['…']).collect() }
}

#[allow(clippy::cast_precision_loss)]
fn bytes(bytes: i64) -> String {
    size(bytes as f64)
}

fn signed(number: i64) -> String {
    let plus = if number > 0 { "+" } else { "" };
    format!("{plus}{}", bytes(number))
}
