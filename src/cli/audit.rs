//! `homeostat audit verify|export|tail`: who changed what, and whether anybody tampered with the record of it.

use super::args::{AuditArgs, AuditCommand};
use super::out::{Tone, complain, plain};
use super::tail::readable::local;
use super::{CliError, Context, Finish, bus};
use crate::audit::chain::Head;
use crate::audit::record::CHECKPOINT;
use crate::audit::{Checker, Record, Report, SigningKey, export};
use futures::{StreamExt as _, pin_mut};
use homeostat_nats::{Entry, Ledger};
use serde::Deserialize as _;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the end is looked at while it is followed.
const LOOK: Duration = Duration::from_millis(500);

/// Runs the command.
///
/// # Errors
/// There is no log, or it cannot be read.
pub async fn run(context: &mut Context, args: &AuditArgs) -> Result<Finish, CliError> {
    match &args.command {
        AuditCommand::Verify { file, keys, head } => verify(context, file.as_deref(), keys, *head).await,
        AuditCommand::Export { out } => write(context, out.as_ref()).await,
        AuditCommand::Tail { lines, no_follow } => tail(context, *lines, *no_follow).await,
    }
}

async fn ledger(context: &Context) -> Result<Ledger, CliError> {
    Ok(bus::log(context).await?.ledger())
}

async fn verify(context: &mut Context, file: Option<&Path>, keys: &[String], noted: Option<Head>) -> Result<Finish, CliError> {
    let mut trusted: BTreeSet<String> = keys.iter().cloned().collect();
    if trusted.is_empty() {
        let own = SigningKey::read(&context.config().data_dir).map_err(|error| CliError::new("the signing key").because(error))?;
        trusted.extend(own.map(|key| key.public()));
    }
    let believed = trusted.is_empty();
    let checker = Checker::new(trusted, noted);
    let report = match file {
        Some(path) if path == Path::new("-") => {
            let checked = tokio::task::spawn_blocking(move || export::check_file(std::io::stdin().lock(), checker)).await;
            checked.map_err(|error| CliError::new("standard input").because(error))??.end()
        }
        Some(path) => {
            let failed = |why: std::io::Error| CliError::new(format!("{} cannot be read", path.display())).because(why);
            export::check_file(BufReader::new(File::open(path).map_err(failed)?), checker).map_err(failed)?.end()
        }
        None => export::check_bus(&ledger(context).await?, checker).await?.end(),
    };
    if context.json {
        context.out.json(&report)?;
    } else {
        tell(context, &report, believed)?;
    }
    Ok(if report.ok { Finish::Fine } else { Finish::Failed })
}

fn tell(context: &mut Context, report: &Report, believed: bool) -> Result<(), CliError> {
    let out = &mut context.out;
    if let Some(fault) = &report.fault {
        out.line(out.paint(Tone::Bad, &format!("tampered with: {}", plain(&fault.what))))?;
        out.line(format!("{} records before it fit, the last of them {}", report.records, report.last))?;
        return Ok(());
    }
    out.line(format!("{} {} records, {} signatures", out.paint(Tone::Good, "sound:"), report.records, report.checkpoints))?;
    let unsigned = report.last - report.signed_through;
    out.line(format!("signed through record {}, {unsigned} behind it", report.signed_through))?;
    for key in &report.keys {
        let note = if believed { "  (not compared with any key that is trusted: name one with --key)" } else { "" };
        out.line(format!("by {}{note}", plain(key)))?;
    }
    out.line(format!("head {}:{}", report.last, report.head))?;
    out.line(out.paint(Tone::Faint, "note the head elsewhere; `audit verify --head` will miss whatever is cut off behind it"))
}

async fn write(context: &mut Context, out: Option<&PathBuf>) -> Result<Finish, CliError> {
    let ledger = ledger(context).await?;
    let Some(path) = out else {
        let count = export::export(&ledger, &mut context.out).await.map_err(|why| CliError::new("the audit log").because(why))?;
        complain(&format!("{count} records"));
        return Ok(Finish::Fine);
    };
    // A file is there whole or not at all.
    let failed = |why: std::io::Error| CliError::new(format!("{} cannot be written", path.display())).because(why);
    let new = path.with_extension("part");
    let mut file = BufWriter::new(File::create(&new).map_err(failed)?);
    let count = export::export(&ledger, &mut file).await.map_err(|why| CliError::new("the audit log").because(why))?;
    file.flush().map_err(failed)?;
    file.get_ref().sync_all().map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)?;
    if context.json {
        context.out.json(&json!({ "file": path.display().to_string(), "records": count }))?;
    } else {
        context.out.line(format!("{count} records in {}", path.display()))?;
    }
    Ok(Finish::Fine)
}

async fn tail(context: &mut Context, lines: u64, no_follow: bool) -> Result<Finish, CliError> {
    let ledger = ledger(context).await?;
    let mut next = ledger.bounds().await?.last.saturating_sub(lines) + 1;
    loop {
        let last = ledger.bounds().await?.last;
        {
            let entries = ledger.read(next, last);
            pin_mut!(entries);
            while let Some(entry) = entries.next().await {
                show(context, &entry?)?;
            }
        }
        next = next.max(last + 1);
        context.out.flush()?;
        if no_follow {
            return Ok(Finish::Fine);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn show(context: &mut Context, entry: &Entry) -> Result<(), CliError> {
    let link = match export::link(entry) {
        Ok(link) => link,
        Err(fault) if context.json => return context.out.json(&fault),
        Err(fault) => return context.out.line(context.out.paint(Tone::Bad, &plain(&fault.what))),
    };
    if context.json {
        return context.out.json(&link);
    }
    let out = &mut context.out;
    let Ok(record) = Record::deserialize(&link.record) else {
        return out.line(out.paint(Tone::Bad, &format!("record {} is not in the form of one", link.seq)));
    };
    if record.action == CHECKPOINT {
        let through = record.detail.get("through").and_then(serde_json::Value::as_u64).unwrap_or_default();
        return out.line(out.paint(Tone::Faint, &format!("{:>6}  {}  signed through {through}", link.seq, local(record.at_ms))));
    }
    let source = record.source.map(|source| format!(" from {source}")).unwrap_or_default();
    let detail = if record.detail.is_null() { String::new() } else { format!("  {}", record.detail) };
    let time = out.paint(Tone::Faint, &local(record.at_ms));
    let (action, rest) = (plain(&record.action), format!("{} by {}{source}{detail}", record.target, record.by));
    out.line(format!("{:>6}  {time}  {} {}", link.seq, out.paint(Tone::Strong, &action), plain(&rest)))
}
