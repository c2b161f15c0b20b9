//! `homeostat health replay CASES`: the health mind's rules over scripted cases, one line a case.

use super::args::{HealthArgs, HealthCommand};
use super::out::complain;
use super::{CliError, Context, Finish};
use homeostat_actors::health::replay_case;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;

/// A file of cases is at most this large.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Runs the command.
///
/// # Errors
/// The file cannot be read, or holds no cases.
pub fn run(context: &mut Context, args: &HealthArgs) -> Result<Finish, CliError> {
    let HealthCommand::Replay { cases, check } = &args.command;
    let mut finish = Finish::Fine;
    for (index, case) in read(cases)?.iter().enumerate() {
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

/// The cases: `{"cases": [...]}`, an array, or one case a line.
fn read(path: &Path) -> Result<Vec<Value>, CliError> {
    let mut text = String::new();
    let failed = |why: std::io::Error| CliError::new(format!("{} cannot be read", path.display())).because(why);
    super::query::open(path)?.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let values: Vec<Value> = serde_json::Deserializer::from_str(&text).into_iter().collect::<Result<_, _>>().map_err(|why| {
        CliError::new(format!("{} holds no cases", path.display())).because(why).advise("write {\"cases\": [...]} or one case a line")
    })?;
    let mut cases = Vec::new();
    for value in values {
        match value {
            Value::Array(all) => cases.extend(all),
            Value::Object(mut map) if map.get("cases").is_some_and(Value::is_array) => {
                if let Some(Value::Array(all)) = map.remove("cases") {
                    cases.extend(all);
                }
            }
            case => cases.push(case),
        }
    }
    Ok(cases)
}
