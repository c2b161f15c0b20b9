//! `homeostat health replay CASES`: the health mind's rules over scripted cases, one line a case.

use super::args::{HealthArgs, HealthCommand};
use super::out::complain;
use super::{CliError, Context, Finish, cases};
use homeostat_actors::health::replay_case;
use serde_json::json;

/// Runs the command.
///
/// # Errors
/// The file cannot be read, or holds no cases.
pub fn run(context: &mut Context, args: &HealthArgs) -> Result<Finish, CliError> {
    let HealthCommand::Replay { cases: file, check } = &args.command;
    let mut finish = Finish::Fine;
    for (index, case) in cases::read(file)?.iter().enumerate() {
        let id = case.get("id").cloned().unwrap_or_else(|| json!(index));
        match replay_case(case) {
            Ok(result) => {
                if *check && finish == Finish::Fine && case.get("expect").is_some_and(|expect| *expect != result) {
                    finish = Finish::Found;
                }
                context.out.json(&json!({ "id": id, "result": result }))?;
            }
            Err(why) => {
                complain(&format!("case {id}: {why}"));
                context.out.json(&json!({ "id": id, "error": why.to_string() }))?;
                finish = Finish::Failed;
            }
        }
    }
    Ok(finish)
}
