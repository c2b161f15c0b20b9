//! `homeostat replay`: the minds over a recording, a file of events, or the log itself.
//!
//! Settings named on the command line (`--config`, `--set`) ask what *they* would have said; without any, a recording is replayed
//! with the settings it recorded.

use super::args::ReplayArgs;
use super::out::complain;
use super::{CliError, Context, Finish, bus, query};
use crate::cli::replay::verdict;
use crate::config::{Config, Sources};
use crate::replay::run::{Request, Summary, file, stream};
use indicatif::ProgressBar;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// The file or the log cannot be read, or the settings cannot be used.
pub async fn run(context: &mut Context, args: ReplayArgs) -> Result<Finish, CliError> {
    let against = args
        .against
        .as_ref()
        .map(|path| Config::load(&Sources::of_file(path.clone())))
        .transpose()
        .map_err(|error| super::unusable(&error))?;
    let request = Request {
        settings: context.config().actors.clone(),
        what_if: against.is_some() || context.named && !args.verify,
        against: against.map(|loaded| loaded.config.actors),
        since: args.since,
        until: args.until,
        verify: args.verify,
    };
    let bar = ProgressBar::new_spinner();
    bar.set_style(indicatif::ProgressStyle::with_template("{spinner} {pos} messages {elapsed}").unwrap_or_else(|_| bar.style()));
    let summary = match &args.file {
        Some(path) => {
            let mut input = query::open(path)?;
            let progress = |count: u64| bar.set_position(count);
            let again = || -> std::io::Result<Option<Box<dyn BufRead>>> {
                let regular = std::fs::metadata(path).is_ok_and(|about| about.is_file());
                if regular { Ok(Some(Box::new(BufReader::with_capacity(256 * 1024, File::open(path)?)))) } else { Ok(None) }
            };
            let replayed = file(&request, &mut input, &again, &mut context.out, &progress);
            replayed.map_err(|why| CliError::new(named(path)).because(why))?
        }
        None => {
            let log = bus::log(context).await?;
            let root = bus::root(context.config())?;
            let progress = |position: u64| bar.set_position(position);
            stream(&request, &log, &root, &mut context.out, &progress).await?
        }
    };
    bar.finish_and_clear();
    // What was said goes to standard output as it stands on the bus; a verification says nothing there but how it went.
    if args.verify && context.json {
        context.out.json(&summary)?;
    }
    context.out.flush()?;
    Ok(finish(&summary, args.check))
}

fn named(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

fn finish(summary: &Summary, check: bool) -> Finish {
    let (text, well) = verdict(summary);
    complain(&text);
    match (well, check && summary.said > 0) {
        (false, _) => Finish::Failed,
        (true, true) => Finish::Found,
        (true, false) => Finish::Fine,
    }
}
