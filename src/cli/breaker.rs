//! `homeostat breaker replay CASES`: scripted calls through the local breaker in the dialect of one's choice.

use super::args::{BreakerArgs, BreakerCommand};
use super::out::complain;
use super::{CliError, Context, Finish, cases};
use homeostat_reflexes::breaker::Dialect;
use homeostat_reflexes::breaker::replay::{Case, Line, replay};
use serde_json::{Value, json};

/// Runs the command.
///
/// # Errors
/// The file cannot be read, or holds no cases.
pub fn run(context: &mut Context, args: &BreakerArgs) -> Result<Finish, CliError> {
    let BreakerCommand::Replay { cases: file, dialect, check } = &args.command;
    let mut finish = Finish::Fine;
    for (index, case) in cases::read(file)?.iter().enumerate() {
        let id = case.get("id").cloned().unwrap_or_else(|| json!(index));
        match trace(case, *dialect) {
            Ok(trace) => {
                let answer = json!({ "id": id, "trace": trace });
                if *check && finish == Finish::Fine && expected(case, *dialect).is_some_and(|expected| *expected != answer["trace"]) {
                    finish = Finish::Found;
                }
                context.out.json(&answer)?;
            }
            Err(why) => {
                complain(&format!("case {id}: {why}"));
                context.out.json(&json!({ "id": id, "error": why }))?;
                finish = Finish::Failed;
            }
        }
    }
    Ok(finish)
}

fn trace(case: &Value, dialect: Dialect) -> Result<Vec<Line>, String> {
    let case: Case = serde_json::from_value(case.clone()).map_err(|why| why.to_string())?;
    replay(&case, dialect).map_err(|why| why.to_string())
}

/// What the original did, under `expect`: its key is the dialect and the version after an `@`.
fn expected(case: &Value, dialect: Dialect) -> Option<&Value> {
    let all = case.get("expect")?.as_object()?;
    all.iter().find(|(peer, _)| peer.split('@').next() == Some(dialect.name())).map(|(_, trace)| trace)
}
