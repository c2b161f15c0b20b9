//! `homeostat query …`: SQL statements, looked at as the query mind does. NDJSON in, NDJSON out.

use super::args::{QueryArgs, QueryCommand};
use super::out::complain;
use super::{CliError, Context, Finish};
use homeostat_actors::query::family;
use homeostat_reflexes::sql::{self, Dialect, Normaliser};
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// A longer line is no statement.
const LINE_MAX: u64 = 16 * 1024 * 1024;

/// Runs the command.
///
/// # Errors
/// The input cannot be read, or nobody reads the answer any more.
pub fn run(context: &mut Context, args: &QueryArgs) -> Result<Finish, CliError> {
    match &args.command {
        QueryCommand::Normalise { dialect, file } => normalise(context, *dialect, file),
    }
}

/// The lines of a file, or of standard input.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, CliError> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = File::open(path).map_err(|why| CliError::new(format!("{} cannot be read", path.display())).because(why))?;
    Ok(Box::new(BufReader::with_capacity(256 * 1024, file)))
}

fn normalise(context: &mut Context, dialect: Dialect, file: &Path) -> Result<Finish, CliError> {
    let mut input = open(file)?;
    let mut normaliser = Normaliser::new();
    let mut finish = Finish::Fine;
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let statement: String = match serde_json::from_slice(text) {
            Ok(statement) => statement,
            Err(why) => {
                // A line out stands for a line in.
                complain(&format!("line {number}: not a JSON string: {why}"));
                context.out.json(&json!({ "error": format!("line {number}: not a JSON string") }))?;
                finish = Finish::Failed;
                continue;
            }
        };
        let summary = sql::summary(&statement, dialect);
        let seen = normaliser.normalise(&statement, dialect);
        let analysis = family::analyse(seen.normal, dialect);
        context.out.json(&json!({
            "normal": seen.normal,
            "fingerprint": seen.fingerprint,
            "family": analysis.family,
            "summary": summary,
            "tables": analysis.tables,
        }))?;
    }
    Ok(finish)
}
