//! `homeostat query …`: SQL statements, looked at as the query mind does. A line out stands for a line in, and is seen before the
//! next one is waited for, so that another program can talk with this one.

pub mod advise;
pub mod digest;

use super::args::{QueryArgs, QueryCommand};
use super::out::complain;
use super::{CliError, Context, Finish};
use homeostat_actors::query::family;
use homeostat_reflexes::sql::{self, Dialect, Normaliser};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

/// What stands on one line is at most this long; the rest counts as a line of its own.
const LINE_MAX: u64 = 16 * 1024 * 1024;

/// Runs the command.
///
/// # Errors
/// The input cannot be read, or nobody reads the answer any more.
pub async fn run(context: &mut Context, args: &QueryArgs) -> Result<Finish, CliError> {
    match &args.command {
        QueryCommand::Normalise { dialect, file } => {
            let mut normaliser = Normaliser::new();
            each_line(context, file, async |line| normalise(&mut normaliser, *dialect, line)).await
        }
        QueryCommand::Advise { postgres, file } => advise::run(context, file, postgres.as_deref()).await,
        QueryCommand::Digest(args) => digest::run(context, args),
    }
}

/// A file, or standard input.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path) -> Result<BufReader<Box<dyn Read>>, CliError> {
    if path == Path::new("-") {
        return Ok(BufReader::new(Box::new(std::io::stdin())));
    }
    let failed = |why: std::io::Error| CliError::new(format!("{} cannot be read", path.display())).because(why);
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    Ok(BufReader::with_capacity(256 * 1024, Box::new(file)))
}

async fn each_line(
    context: &mut Context,
    file: &Path,
    mut answer: impl AsyncFnMut(&[u8]) -> Result<Value, String>,
) -> Result<Finish, CliError> {
    let mut input = open(file)?;
    let mut finish = Finish::Fine;
    let mut line = Vec::new();
    for number in 1_u64.. {
        if input.buffer().is_empty() {
            context.out.flush()?;
        }
        line.clear();
        if input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        match answer(text).await {
            Ok(answer) => context.out.json(&answer)?,
            Err(why) => {
                let why = format!("line {number}: {why}");
                complain(&why);
                context.out.json(&json!({ "error": why }))?;
                finish = Finish::Failed;
            }
        }
    }
    Ok(finish)
}

fn normalise(normaliser: &mut Normaliser, dialect: Dialect, line: &[u8]) -> Result<Value, String> {
    let statement: String = serde_json::from_slice(line).map_err(|why| format!("not a JSON string: {why}"))?;
    let seen = normaliser.normalise(&statement, dialect);
    let analysis = family::analyse(seen.normal, dialect);
    Ok(json!({
        "normal": seen.normal,
        "fingerprint": seen.fingerprint,
        "family": analysis.family,
        "summary": sql::summary(&statement, dialect),
        "tables": analysis.tables,
    }))
}
