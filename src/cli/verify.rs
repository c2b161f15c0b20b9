//! `homeostat verify`: whether alerts and commands on the log are what a trusted signer said.

use super::args::VerifyArgs;
use super::out::{Tone, plain};
use super::tail::readable::local;
use super::{CliError, Context, Finish, bus};
use crate::config::Config;
use crate::signing;
use homeostat_nats::{Entry, Log, Reader, ReaderError, ReaderOptions};
use homeostat_schemas::Position;
use homeostat_schemas::signature::{Signed, Signers, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// So many messages that are not good are named; all are counted.
const NAMED_MAX: usize = 1_000;
/// How long to wait for a message of a kind that the log may not hold at all.
const QUIET: Duration = Duration::from_secs(2);

/// Whom this machine trusts.
///
/// # Errors
/// A setting is no public key.
pub fn trusted(config: &Config) -> Result<Signers, CliError> {
    Ok(signing::trusted(&config.signing, &config.data_dir)?)
}

/// What the signature of a message of the log is worth.
#[must_use]
pub fn verdict(trusted: &Signers, entry: &Entry) -> Verdict {
    trusted.verify(&Signed::of(&entry.subject, entry.sorted_headers(), &entry.payload))
}

/// What was looked at and what came of it.
#[derive(Debug, Default, Serialize)]
struct Report {
    checked: u64,
    good: u64,
    unsigned: u64,
    untrusted: u64,
    malformed: u64,
    forged: u64,
    /// Good messages by who signed them.
    signers: BTreeMap<String, u64>,
    /// Those that are not good, or all of those that were asked for; the first of them.
    messages: Vec<Checked>,
}

#[derive(Debug, Serialize)]
struct Checked {
    position: Position,
    at_ms: u64,
    subject: String,
    id: String,
    signature: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
}

impl Report {
    fn take(&mut self, entry: &Entry, verdict: &Verdict, asked: bool) {
        self.checked += 1;
        let count = match verdict {
            Verdict::Good(signer) => {
                *self.signers.entry(signer.clone()).or_default() += 1;
                &mut self.good
            }
            Verdict::Unsigned => &mut self.unsigned,
            Verdict::Untrusted(_) => &mut self.untrusted,
            Verdict::Malformed => &mut self.malformed,
            Verdict::Forged(_) => &mut self.forged,
        };
        *count += 1;
        if (asked || !verdict.is_good()) && self.messages.len() < NAMED_MAX {
            self.messages.push(Checked {
                position: entry.seq,
                at_ms: entry.at_ms,
                subject: entry.subject.to_string(),
                id: entry.header("ce-id").unwrap_or_default().to_owned(),
                signature: verdict.word(),
                signer: verdict.signer().map(str::to_owned),
            });
        }
    }
}

/// Runs the command.
///
/// # Errors
/// There is no log, or it cannot be read.
pub async fn run(context: &mut Context, args: &VerifyArgs) -> Result<Finish, CliError> {
    let trusted = trusted(context.config())?;
    if trusted.is_empty() {
        return Err(CliError::new("no signer is trusted here")
            .advise("run it where the data directory of `homeostat up` is, or name the public key that `up` prints in `signing.trusted`"));
    }
    let root = bus::root(context.config())?;
    let log = bus::log(context).await?;
    let from = match args.since {
        Some(since) => bus::first_at(&log, since).await?,
        None => 1,
    };
    let mut report = Report::default();
    let filters = ["alert.>", "command.>"].map(|kind| format!("{root}.{kind}")).to_vec();
    each(&log, from, filters, |entry| {
        let asked = args.ids.iter().any(|id| entry.header("ce-id") == Some(id));
        if asked || args.ids.is_empty() {
            report.take(entry, &verdict(&trusted, entry), asked);
        }
        true
    })
    .await?;
    if let Some(missing) = args.ids.iter().find(|id| !report.messages.iter().any(|message| message.id == **id)) {
        return Err(CliError::new(format!("no alert and no command with the id `{}` is on the log", plain(missing)))
            .advise("`homeostat tail all --since 1d --json` shows ids"));
    }
    let good = report.good == report.checked;
    if context.json {
        context.out.pretty(&report)?;
    } else {
        tell(context, &report)?;
    }
    Ok(if args.check && !good { Finish::Found } else { Finish::Fine })
}

fn tell(context: &mut Context, report: &Report) -> Result<(), CliError> {
    let out = &mut context.out;
    for Checked { position, at_ms, subject, id, signature, signer } in &report.messages {
        let tone = if *signature == "good" { Tone::Good } else { Tone::Bad };
        let word = out.paint(tone, &format!("{signature:<9}"));
        let signer = signer.as_deref().map(|signer| format!("  {}", plain(signer))).unwrap_or_default();
        out.line(format!("{} {word} {position}  {}  {}{signer}", local(*at_ms), plain(subject), plain(id)))?;
    }
    let Report { checked, good, unsigned, untrusted, malformed, forged, signers, .. } = report;
    out.line(format!(
        "{checked} alerts and commands: {good} good, {unsigned} unsigned, {untrusted} by others, {malformed} unreadable, {forged} forged"
    ))?;
    signers.iter().try_for_each(|(signer, count)| out.line(format!("  {count} by {signer}")))
}

/// The signature of the newest message on this subject that has this id, if the log still holds one.
///
/// # Errors
/// The log cannot be read.
pub async fn of(context: &Context, subject: &str, id: &str) -> Result<Option<Verdict>, CliError> {
    let trusted = trusted(context.config())?;
    let log = bus::log(context).await?;
    let mut found = None;
    each(&log, 1, vec![subject.to_owned()], |entry| {
        if entry.header("ce-id") == Some(id) {
            found = Some(verdict(&trusted, entry));
        }
        true
    })
    .await?;
    Ok(found)
}

/// Every message that is there now, in order, until somebody has seen enough.
async fn each(log: &Log, from: Position, filters: Vec<String>, mut see: impl FnMut(&Entry) -> bool) -> Result<(), CliError> {
    let last = log.bounds().await?.last;
    let mut reader = Reader::open(log, from, ReaderOptions { filters, ..ReaderOptions::default() }).await?;
    loop {
        let entries = match tokio::time::timeout(QUIET, reader.next()).await {
            Ok(Ok(entries)) => entries,
            Ok(Err(ReaderError::Overtaken { .. })) => continue,
            Ok(Err(error)) => return Err(error.into()),
            // Nothing more of these kinds.
            Err(_) => return Ok(()),
        };
        for entry in &entries {
            if entry.seq > last || !see(entry) {
                return Ok(());
            }
        }
        if reader.pending() == 0 {
            return Ok(());
        }
    }
}
