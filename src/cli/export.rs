//! `homeostat export`: what other tools read, printed, written, or compared with what stands there.

use super::args::{ExportArgs, ExportWhat};
use super::out::Tone;
use super::{CliError, Context, Finish};
use crate::export;
use crate::metrics::Metrics;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines of a difference that are shown for a file.
const SHOWN_MAX: usize = 10;

/// Runs the command.
///
/// # Errors
/// A file cannot be read or written.
pub fn run(context: &mut Context, args: &ExportArgs) -> Result<Finish, CliError> {
    let files = match args.what {
        ExportWhat::Schemas => export::schemas()?,
        ExportWhat::Asyncapi => export::asyncapi(),
        ExportWhat::AlertRules => export::alert_rules(args.runbooks.trim_end_matches('/')),
        ExportWhat::Dashboards => export::dashboards()?,
        ExportWhat::Metrics => export::metrics(),
    };
    if args.check {
        let home = match args.what {
            ExportWhat::Schemas | ExportWhat::Asyncapi => export::DIR,
            ExportWhat::AlertRules => export::RULES_DIR,
            ExportWhat::Dashboards => export::DASHBOARDS_DIR,
            ExportWhat::Metrics => export::PAGES_DIR,
        };
        let dir = args.out.clone().unwrap_or_else(|| PathBuf::from(home));
        return check(context, args.what, &files, &dir);
    }
    match &args.out {
        Some(dir) => write(context, &files, dir)?,
        None => print(context, args, &files)?,
    }
    Ok(Finish::Fine)
}

fn print(context: &mut Context, args: &ExportArgs, files: &BTreeMap<String, String>) -> Result<(), CliError> {
    match args.what {
        ExportWhat::Schemas => context.out.pretty(&export::words()),
        ExportWhat::Dashboards => context.out.pretty(&export::dashboards::documents()),
        ExportWhat::Asyncapi if context.json => context.out.pretty(&export::asyncapi::document()),
        ExportWhat::AlertRules if context.json => context.out.pretty(&export::alert_rules::document(args.runbooks.trim_end_matches('/'))),
        ExportWhat::Metrics if context.json => context.out.pretty(&Metrics::default().described()),
        ExportWhat::Asyncapi | ExportWhat::AlertRules | ExportWhat::Metrics => {
            files.values().try_for_each(|text| context.out.line(text.trim_end()))
        }
    }
}

fn write(context: &mut Context, files: &BTreeMap<String, String>, dir: &Path) -> Result<(), CliError> {
    for (name, text) in files {
        let path = dir.join(name);
        let failed = |why: std::io::Error| CliError::new(format!("{} cannot be written", path.display())).because(why);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::write(&path, text).map_err(failed)?;
    }
    if context.json {
        return context.out.json(&json!({ "dir": dir.display().to_string(), "files": files.keys().collect::<Vec<_>>() }));
    }
    context.out.line(format!("wrote {} files below {}", files.len(), dir.display()))
}

fn check(context: &mut Context, what: ExportWhat, files: &BTreeMap<String, String>, dir: &Path) -> Result<Finish, CliError> {
    // Outside of the repository every file is missing: one word about that, not one a file.
    if !files.keys().any(|name| dir.join(name).exists()) {
        return Err(CliError::new(format!("there is nothing of ours below {} to compare with", dir.display()))
            .advise("run it in the repository, or name the directory with --out"));
    }
    let mut problems: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, text) in files {
        match std::fs::read_to_string(dir.join(name)) {
            Ok(there) if there == *text => {}
            Ok(there) => drop(problems.insert(name.clone(), difference(&there, text))),
            Err(why) => drop(problems.insert(name.clone(), vec![why.to_string()])),
        }
    }
    if what == ExportWhat::Schemas {
        for name in strangers(files, dir) {
            problems.insert(name, vec!["there is no such word any more".to_owned()]);
        }
    }
    if context.json {
        let told: Map<String, Value> = problems.iter().map(|(name, lines)| (name.clone(), json!(lines))).collect();
        context.out.json(&json!({ "dir": dir.display().to_string(), "files": files.len(), "different": told }))?;
    } else if problems.is_empty() {
        context.out.line(format!("{} files below {} are up to date", files.len(), dir.display()))?;
    } else {
        for (name, lines) in &problems {
            let name = context.out.paint(Tone::Bad, name);
            context.out.line(format!("{name} is not what the types say:"))?;
            lines.iter().try_for_each(|line| context.out.line(format!("  {line}")))?;
        }
        let word = match what {
            ExportWhat::Schemas => "schemas",
            ExportWhat::Asyncapi => "asyncapi",
            ExportWhat::AlertRules => "alert-rules",
            ExportWhat::Dashboards => "dashboards",
            ExportWhat::Metrics => "metrics",
        };
        context.out.line(format!("write them anew with `homeostat export {word} --out {}`", dir.display()))?;
    }
    Ok(if problems.is_empty() { Finish::Fine } else { Finish::Failed })
}

/// Schema files for which there is no word.
fn strangers(files: &BTreeMap<String, String>, dir: &Path) -> BTreeSet<String> {
    let there = std::fs::read_dir(dir.join("json")).into_iter().flatten().flatten();
    let names = there.filter_map(|entry| entry.file_name().into_string().ok()).map(|name| format!("json/{name}"));
    names.filter(|name| name.ends_with(".schema.json") && !files.contains_key(name)).collect()
}

/// The lines that only one of two texts has, where they begin to differ.
fn difference(there: &str, wanted: &str) -> Vec<String> {
    let (there, wanted): (Vec<&str>, Vec<&str>) = (there.lines().collect(), wanted.lines().collect());
    let same = there.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
    let rest = (there.len().min(wanted.len())).saturating_sub(same);
    let tail = there.iter().rev().zip(wanted.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let part = |lines: &[&str], sign: char| {
        let lines = lines.get(same..lines.len().saturating_sub(tail)).unwrap_or_default();
        let mut shown: Vec<String> = lines.iter().take(SHOWN_MAX).map(|line| format!("{sign} {}", line.trim())).collect();
        if lines.len() > SHOWN_MAX {
            shown.push(format!("{sign} … {} more lines", lines.len() - SHOWN_MAX));
        }
        shown
    };
    let mut told = vec![format!("from line {}:", same + 1)];
    told.extend(part(&there, '-'));
    told.extend(part(&wanted, '+'));
    told
}
