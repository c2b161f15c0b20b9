//! `homeostat config show|explain|set|check`: the settings, for people and machines. Secrets are never printed.

use super::args::{ConfigArgs, ConfigCommand};
use super::out::Tone;
use super::{CliError, Context, Finish, Out, bus, orders};
use crate::config::schema::Schema;
use crate::config::show::{Explained, written};
use crate::config::sources::Flag;
use crate::config::{self, Config, Sources};
use crate::roster::ActorSettings;
use crate::settings;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// How long a running system may take to say what was changed on it.
const WITHIN: Duration = Duration::from_secs(2);

/// Runs `config show`, `config explain` and `config set`.
///
/// # Errors
/// A key nobody knows, a value that does not fit, or no bus to change settings on.
pub async fn run(context: &mut Context, args: &ConfigArgs) -> Result<Finish, CliError> {
    if matches!(args.command, ConfigCommand::Show | ConfigCommand::Explain { .. }) {
        changed(context).await;
    }
    match &args.command {
        ConfigCommand::Set { settings } => set(context, settings.clone()).await?,
        ConfigCommand::Show if context.json => context.out.pretty(&context.loaded.shown())?,
        ConfigCommand::Show => {
            let text = context.loaded.to_toml();
            context.out.line(text.trim_end())?;
        }
        ConfigCommand::Explain { key } => explain(context, key.as_deref().unwrap_or_default())?,
        ConfigCommand::Check { file } => return check(&mut context.out, file, context.json),
    }
    Ok(Finish::Fine)
}

/// Takes up what `config set` changed, if a system runs with these settings and answers at once.
async fn changed(context: &mut Context) {
    let read = async {
        let log = bus::log(context).await.ok()?;
        let root = bus::root(context.config()).ok()?;
        settings::read(&log, &root).await.ok().flatten()
    };
    let Ok(Some((in_force, _))) = tokio::time::timeout(WITHIN, read).await else { return };
    if in_force.comes_from(&context.config().actors) {
        context.loaded.change(&in_force.actors);
    }
}

/// Puts changed settings on the log. They stay in force until they are changed again, or until `up` starts with another
/// configuration than the last time.
async fn set(context: &mut Context, flags: Vec<Flag>) -> Result<(), CliError> {
    let checked = Config::load(&Sources { flags, ..Sources::default() }).map_err(|error| super::unusable(&error))?;
    if let Some(other) = checked.assignments.iter().find(|a| a.keys.first().is_none_or(|table| table != "actors")) {
        return Err(CliError::new(format!("`{}` cannot change while the system runs", other.path()))
            .advise("only settings below `actors` can; change it in the settings and start `homeostat up` again"));
    }
    let log = bus::log(context).await?;
    let root = bus::root(context.config())?;
    let detail = checked.assignments.iter().map(|assignment| (assignment.path(), assignment.value.clone()));
    let who = orders::user();
    bus::record(&log, "settings.set", "actors", &who, Value::Object(detail.collect())).await?;
    settings::change(&log, &root, |before| {
        let before = before.ok_or("no settings are in force yet: `homeostat up` has not run on this log")?;
        let mut tables = Value::Object(before.actors.0.clone());
        for assignment in &checked.assignments {
            config::sources::set(&mut tables, assignment.keys.get(1..).unwrap_or_default(), assignment.value.clone());
        }
        let Value::Object(tables) = tables else { return Err("`actors` must stay a table".to_owned()) };
        Ok(Some(before.with(ActorSettings(tables))))
    })
    .await
    .map_err(|error| CliError::new("the settings could not be changed").because(error))?;
    for assignment in &checked.assignments {
        if context.json {
            context.out.json(&json!({ "key": assignment.path(), "value": assignment.value }))?;
        } else {
            context.out.line(format!("{} = {} is in force", assignment.path(), written(&assignment.value)))?;
        }
    }
    Ok(())
}

fn explain(context: &mut Context, key: &str) -> Result<(), CliError> {
    let entries = context.loaded.explain(key);
    let schema = Schema::of_config();
    if entries.is_empty() {
        let near =
            schema.nearest(key).map_or_else(|| "`homeostat config explain` lists all".to_owned(), |near| format!("did you mean `{near}`?"));
        return Err(CliError::new(format!("unknown setting `{key}`")).advise(near));
    }
    let out = &mut context.out;
    if context.json {
        return entries.iter().try_for_each(|entry| out.json(entry));
    }
    let mut table = "";
    for Explained { key, value, default, from, takes, meaning } in &entries {
        let above = key.rsplit_once('.').map_or("", |(above, _)| above);
        if above != table {
            let about = schema.meaning(above).unwrap_or_default();
            out.line(format!("\n{} {}", out.paint(Tone::Strong, &format!("[{above}]")), out.paint(Tone::Faint, about)))?;
            table = above;
        }
        out.line(format!("{} = {}", out.paint(Tone::Strong, key), written(value)))?;
        out.line(format!("    {meaning}"))?;
        let story = if value == default { format!("from {from}") } else { format!("from {from}; default {}", written(default)) };
        out.line(format!("    {}", out.paint(Tone::Faint, &format!("takes {takes}; {story}"))))?;
    }
    Ok(())
}

/// Runs `config check FILE`: everything that is wrong with a file, exit code 1 when something is. Files that it names may be on another
/// machine: that one cannot be read here is said, and no reason to fail.
///
/// # Errors
/// Nobody reads any more.
pub fn check(out: &mut Out, file: &Path, json: bool) -> Result<Finish, CliError> {
    let checked = Config::load(&Sources::of_file(file.to_owned()));
    let problems = checked.as_ref().err().map(|error| error.problems.as_slice()).unwrap_or_default();
    let named = checked.as_ref().map(|loaded| loaded.config.named_files()).unwrap_or_default();
    let away = named.into_iter().filter_map(|(key, path)| {
        let why = std::fs::metadata(path).err()?;
        Some((key, format!("{}: {why}", path.display())))
    });
    let away: Vec<_> = away.collect();
    if json {
        let told = problems.iter().map(|problem| json!({ "key": problem.key, "problem": problem.to_string() }));
        let away: Vec<_> = away.iter().map(|(key, why)| json!({ "key": key, "problem": why })).collect();
        out.json(
            &json!({ "file": file.display().to_string(), "ok": checked.is_ok(), "problems": told.collect::<Vec<_>>(), "not_here": away }),
        )?;
    } else if let Ok(loaded) = &checked {
        out.line(format!("{}: fine, {} settings", file.display(), loaded.assignments.len()))?;
        away.iter().try_for_each(|(key, why)| out.line(format!("not here: {key}: {why}; `homeostat up` needs it")))?;
    } else {
        problems.iter().try_for_each(|problem| out.line(problem.to_string()))?;
    }
    out.flush()?;
    Ok(if checked.is_ok() { Finish::Fine } else { Finish::Failed })
}
