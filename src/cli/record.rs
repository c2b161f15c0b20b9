//! `homeostat record`: the log, or a part of it, into a file that replays exactly.

use super::args::RecordArgs;
use super::out::complain;
use super::{CliError, Context, Finish, bus};
use crate::replay::record::{Range, record};
use indicatif::ProgressBar;
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// There is no log, or the file cannot be written.
pub async fn run(context: &mut Context, args: &RecordArgs) -> Result<Finish, CliError> {
    let log = bus::log(context).await?;
    let root = bus::root(context.config())?;
    let filter =
        args.subject.as_ref().map(|filter| if filter.starts_with(root.as_str()) { filter.clone() } else { format!("{root}.{filter}") });
    let from = match args.since {
        Some(since) => Some(bus::first_at(&log, since).await?),
        None => None,
    };
    let range = Range { from, since: args.since, until: args.until, filter };
    let bounds = log.bounds().await?;
    let bar = ProgressBar::new(bounds.last.saturating_sub(bounds.first) + 1);
    let progress = |position: u64| bar.set_position(position.saturating_sub(bounds.first));
    let count = match &args.out {
        // A file is there whole or not at all.
        Some(path) => {
            let new = path.with_extension("part");
            let failed = |path: &Path| CliError::new(format!("{} cannot be written", path.display()));
            let mut file = BufWriter::new(File::create(&new).map_err(|why| failed(&new).because(why))?);
            let count = record(&log, &root, range, &mut file, &progress).await?;
            file.flush()?;
            file.get_ref().sync_all()?;
            std::fs::rename(&new, path).map_err(|why| failed(path).because(why))?;
            count
        }
        None => record(&log, &root, range, &mut context.out, &progress).await?,
    };
    bar.finish_and_clear();
    match &args.out {
        Some(path) if context.json => context.out.json(&json!({ "file": path.display().to_string(), "messages": count }))?,
        Some(path) => context.out.line(format!("recorded {count} messages in {}", path.display()))?,
        None => complain(&format!("recorded {count} messages")),
    }
    Ok(Finish::Fine)
}
