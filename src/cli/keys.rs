//! `homeostat keys …`: create, look at, rotate and take back API keys.
//!
//! A running gateway is asked (with a key of one's own where it wants one, from a file or the variable `HOMEOSTAT_KEY`, never from the
//! command line, which others on the machine can read); with `--local` the database and the keyring themselves are worked on. A key that
//! was drawn is shown once, on standard output or in a file for its owner alone.

mod clock;
mod door;
mod files;
mod receipt;

pub(crate) use files::{KEY_VARIABLE, from_environment};

use super::args::{End, KeysArgs, KeysCommand, NewKeyArgs};
use super::out::{Tone, complain, plain};
use super::tail::readable::local;
use super::{CliError, Context, Finish, Out, bus, orders};
use crate::clock::now_ms;
use crate::keys::ask::{ChangeRecipient, CreateKey, KeyAnswer, RevokeKey, RotateKey, bootstrap};
use crate::keys::format::KeyText;
use crate::keys::keyring::Keyring;
use crate::keys::{Actor, Keys, KeysError, Refused};
use crate::store::Store;
use door::Door;
use files::{forget, private, secret, write_private};
use homeostat_schemas::Scope;
use homeostat_schemas::key::Environment;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Keys in one answer of a list.
const PAGE: u32 = 500;
/// The first key, in the data directory.
const BOOTSTRAP_FILE: &str = "bootstrap.key";

/// Runs the command.
///
/// # Errors
/// There is no gateway, or no database; or it cannot be done.
pub async fn run(context: &mut Context, args: KeysArgs) -> Result<Finish, CliError> {
    match &args.command {
        KeysCommand::Open(args) => return super::sealed::open(context, args).await,
        KeysCommand::Xkey(args) => return super::sealed::xkey(context, args),
        KeysCommand::Verify { file } => return verify(context, file).await,
        KeysCommand::Bootstrap { out } => return first(context, out.clone()).await,
        KeysCommand::Keyring { rotate, retire } => return keyring(context, *rotate, *retire).await,
        KeysCommand::AcceptClock(who) => return clock::accept(context, who).await.map(|()| Finish::Fine),
        _ => {}
    }
    let door = if args.local {
        Door::Local(Box::new(open(context).await?), Actor::local(&person()))
    } else {
        Door::http(context, args.url.as_deref(), args.key_file.as_deref())?
    };
    if let Door::Local(_, actor) = &door
        && let Some((action, target)) = recorded(&args.command)
    {
        record(context, action, target, &actor.name).await?;
    }
    match args.command {
        KeysCommand::Create { new, out } => {
            let mut file = out.as_deref().map(private).transpose()?;
            let answer = door.create(&asked(new, None)).await.inspect_err(|_| forget(out.as_deref()))?;
            tell(context, answer, file.as_mut().zip(out.as_deref()))?;
        }
        KeysCommand::Import { new, hash } => {
            let hash = secret(&hash)?.expose().to_owned();
            tell(context, door.create(&asked(new, Some(hash))).await?, None)?;
        }
        KeysCommand::List { owner } => list(context, &door, owner.as_deref()).await?,
        KeysCommand::Show { id } => tell(context, door.show(&id).await?, None)?,
        KeysCommand::Rotate { id, expected, compromised, grace, out } => {
            let mut file = out.as_deref().map(private).transpose()?;
            let asked = RotateKey { expected, compromised, grace_ms: grace };
            let mut answer = door.rotate(&id, &asked).await.inspect_err(|_| forget(out.as_deref()))?;
            if let (Door::Local(keys, _), true) = (&door, compromised) {
                answer.receipt = receipt::everywhere(context, keys, &answer.record).await?;
            }
            let receipt = answer.receipt.clone();
            tell(context, answer, file.as_mut().zip(out.as_deref()))?;
            if compromised && !context.json {
                receipt::tell(&mut context.out, receipt.as_ref())?;
            }
        }
        KeysCommand::Revoke { id, version, compromised } => {
            let mut answer = door.revoke(&id, &RevokeKey { version, compromised }).await?;
            if let Door::Local(keys, _) = &door {
                answer.receipt = receipt::everywhere(context, keys, &answer.record).await?;
            }
            let receipt = answer.receipt.clone();
            tell(context, answer, None)?;
            if !context.json {
                receipt::tell(&mut context.out, receipt.as_ref())?;
            }
        }
        KeysCommand::Recipient { id, xkey } => tell(context, door.recipient(&id, ChangeRecipient { recipient: xkey }).await?, None)?,
        KeysCommand::Open(_)
        | KeysCommand::Xkey(_)
        | KeysCommand::Verify { .. }
        | KeysCommand::Bootstrap { .. }
        | KeysCommand::Keyring { .. }
        | KeysCommand::AcceptClock(_) => {}
    }
    Ok(Finish::Fine)
}

/// What of a command stands in the audit log.
fn recorded(command: &KeysCommand) -> Option<(&'static str, &str)> {
    match command {
        KeysCommand::Create { new, .. } | KeysCommand::Import { new, .. } => Some(("key.create", &new.owner)),
        KeysCommand::Rotate { id, .. } => Some(("key.rotate", id)),
        KeysCommand::Revoke { id, .. } => Some(("key.revoke", id)),
        KeysCommand::Recipient { id, .. } => Some(("key.recipient", id)),
        KeysCommand::List { .. }
        | KeysCommand::Show { .. }
        | KeysCommand::Open(_)
        | KeysCommand::Xkey(_)
        | KeysCommand::Verify { .. }
        | KeysCommand::Bootstrap { .. }
        | KeysCommand::Keyring { .. }
        | KeysCommand::AcceptClock(_) => None,
    }
}

/// Puts what is about to be done into the audit log. Where no bus runs there is none; whoever has the data directory in hand may go on,
/// and hears of it.
async fn record(context: &Context, action: &str, target: &str, by: &str) -> Result<(), CliError> {
    match bus::log(context).await {
        Ok(log) => bus::record(&log, action, target, by, json!({ "local": true })).await,
        Err(_) => {
            complain("no bus runs here: this does not stand in the audit log");
            Ok(())
        }
    }
}

/// Whoever sits there.
fn person() -> String {
    format!("local:{}", plain(&orders::user()))
}

fn asked(new: NewKeyArgs, hash: Option<String>) -> CreateKey {
    CreateKey {
        owner: new.owner,
        scopes: if new.all_scopes { Scope::ALL.iter().copied().collect() } else { new.scopes.into_iter().collect() },
        labels: new.labels.into_iter().collect(),
        environment: if new.test { Environment::Test } else { Environment::Live },
        starts_ms: None,
        expires_ms: new.expires.map(|end| match end {
            End::After(span) => now_ms().saturating_add(span),
            End::At(at) => at,
        }),
        rotate_every_ms: new.rotate_every,
        grace_ms: new.grace,
        recipient: new.recipient,
        hash,
    }
}

/// The database and the keyring of the settings.
async fn open(context: &Context) -> Result<Keys, CliError> {
    let config = context.config();
    let store = Store::connect(&config.database, &config.data_dir).await.map_err(|error| CliError::new("").because(error))?;
    Keys::open(store, &config.gateway.keys, &config.data_dir).map_err(refused)
}

fn refused(error: KeysError) -> CliError {
    CliError::new("").because(error)
}

async fn list(context: &mut Context, door: &Door, owner: Option<&str>) -> Result<(), CliError> {
    let mut after = String::new();
    let mut none = true;
    loop {
        let page = door.page(owner, &after).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.record.id);
        none = false;
        for answer in &page {
            if context.json {
                context.out.json(&answer.record)?;
            } else {
                row(&mut context.out, answer)?;
            }
        }
    }
    if none && !context.json {
        context.out.line("there are no keys; `homeostat keys create` makes one")?;
    }
    Ok(())
}

fn row(out: &mut Out, answer: &KeyAnswer) -> Result<(), CliError> {
    let KeyAnswer { record, state, .. } = answer;
    let state = out.paint(tone(*state), &format!("{:<8}", state.name()));
    let version = record.versions.last().map_or(0, |version| version.version);
    let scopes: Vec<&str> = record.scopes.iter().map(|scope| scope.name()).collect();
    let end = record.expires_ms.map(|end| format!("  until {}", local(end))).unwrap_or_default();
    out.line(format!("{}  {state} v{version:<4} {:<20} {}{end}", record.id, plain(&record.owner), scopes.join(" ")))
}

const fn tone(state: homeostat_schemas::KeyState) -> Tone {
    use homeostat_schemas::KeyState;
    match state {
        KeyState::Active => Tone::Good,
        KeyState::Pending | KeyState::Grace => Tone::Warning,
        KeyState::Revoked => Tone::Bad,
        KeyState::Expired | KeyState::Purged => Tone::Faint,
    }
}

/// One key in full; a key that was drawn goes to the file, if there is one.
fn tell(context: &mut Context, mut answer: KeyAnswer, file: Option<(&mut std::fs::File, &Path)>) -> Result<(), CliError> {
    let text = answer.key.take().map(KeyText::new);
    let written = match (&text, file) {
        (Some(text), Some((file, path))) => {
            write_private(file, path, text)?;
            Some(path.display().to_string())
        }
        _ => None,
    };
    if context.json {
        let mut value = serde_json::to_value(&answer).map_err(|error| CliError::new("it cannot be written").because(error))?;
        match (&text, written) {
            (_, Some(path)) => value["file"] = path.into(),
            (Some(text), None) => value["key"] = text.expose().into(),
            (None, None) => {}
        }
        return context.out.json(&value);
    }
    row(&mut context.out, &answer)?;
    for version in &answer.record.versions {
        let now = now_ms();
        let state = version.state_at(now);
        let state = context.out.paint(tone(state), &format!("{:<8}", state.name()));
        let usage = answer.usage.iter().find(|usage| usage.version == version.version);
        let used = usage.map_or_else(String::new, |usage| {
            let from = usage.source.as_deref().map(|source| format!(" from {}", plain(source))).unwrap_or_default();
            format!("  used {} times, last {}{from}", usage.count, local(usage.last_used_ms))
        });
        let end = version.expires_ms.map(|end| format!("  until {}", local(end))).unwrap_or_default();
        context.out.line(format!("  v{:<4} {state} since {}{end}{used}", version.version, local(version.created_ms)))?;
    }
    if let Some(change) = &answer.record.recipient_change {
        let to = change.recipient.as_deref().unwrap_or("nobody");
        context.out.line(format!(
            "  from {} on new secrets are sealed for {}, as {} asked",
            local(change.from_ms),
            plain(to),
            plain(&change.by)
        ))?;
    }
    if let Some(prefix) = &answer.prefix {
        context.out.line(format!("  its holder shows their secret behind this: {}", plain(prefix)))?;
    }
    match (text, written) {
        (_, Some(path)) => context.out.line(format!("The key is in {} and nowhere else", plain(&path))),
        (Some(text), None) => {
            context.out.line("This is the key. It is shown this once:")?;
            context.out.line(text.expose())
        }
        (None, None) => Ok(()),
    }
}

async fn verify(context: &mut Context, file: &Path) -> Result<Finish, CliError> {
    let text = secret(file)?;
    let keys = open(context).await?;
    let judged = keys.verifier.verify(text.expose()).await;
    match judged {
        Ok(principal) => {
            if context.json {
                let scopes: Vec<&str> = principal.scopes.iter().map(|scope| scope.name()).collect();
                context.out.json(&json!({ "accepted": true, "id": principal.key, "owner": principal.owner, "version": principal.version, "scopes": scopes }))?;
            } else {
                let scopes: Vec<&str> = principal.scopes.iter().map(|scope| scope.name()).collect();
                let owner = plain(&principal.owner);
                context.out.line(format!("accepted: {} v{} of {owner}: {}", principal.key, principal.version, scopes.join(" ")))?;
            }
            Ok(Finish::Fine)
        }
        Err(Refused::Invalid) => {
            // Why, for whoever has the database in hand.
            let reason = reason(&keys, &text).await;
            if context.json {
                context.out.json(&json!({ "accepted": false, "reason": reason }))?;
            } else {
                context.out.line(format!("not accepted: {reason}"))?;
            }
            Ok(Finish::Failed)
        }
        Err(Refused::Busy) => Err(CliError::new("the key cannot be checked now").advise("see whether the database answers")),
    }
}

/// Why a key is refused. Said here, to somebody who can read the database anyway, and never over HTTP.
async fn reason(keys: &Keys, text: &KeyText) -> String {
    let Some(shown) = crate::keys::format::parse(text.expose()) else {
        return "it is no key: its form or its checksum is wrong".to_owned();
    };
    if !keys.records.keyring().minted(&shown) {
        return "it was not made with this keyring".to_owned();
    }
    match keys.records.get(shown.id.as_str()).await {
        Err(KeysError::NotFound(_)) => "there is no such key in the database".to_owned(),
        Err(error) => error.to_string(),
        Ok(record) if record.environment != shown.environment => format!("it is for {}", record.environment.name()),
        Ok(record) => {
            let now = now_ms();
            let states: Vec<String> =
                record.versions.iter().map(|version| format!("v{} {}", version.version, version.state_at(now))).collect();
            format!("its secret is that of no version that is accepted ({})", states.join(", "))
        }
    }
}

async fn first(context: &mut Context, out: Option<PathBuf>) -> Result<Finish, CliError> {
    let keys = open(context).await?;
    let path = out.unwrap_or_else(|| context.config().data_dir.join(BOOTSTRAP_FILE));
    let mut file = private(&path)?;
    let created = match bootstrap(&keys.records).await {
        Ok(created) => created,
        Err(error) => {
            drop(file);
            forget(Some(&path));
            return Err(refused(error));
        }
    };
    write_private(&mut file, &path, &created.text)?;
    let expires_ms = created.record.expires_ms.unwrap_or_default();
    if context.json {
        context.out.json(&json!({ "id": created.record.id, "file": path.display().to_string(), "expires_ms": expires_ms }))?;
    } else {
        context.out.line(format!(
            "The first key is in {}: until {}, and for one key. Make yours with it:",
            path.display(),
            local(expires_ms)
        ))?;
        context.out.line(format!("  homeostat keys --key-file {} create --owner YOU --all-scopes --out admin.key", path.display()))?;
    }
    Ok(Finish::Fine)
}

async fn keyring(context: &mut Context, rotate: bool, retire: Option<u32>) -> Result<Finish, CliError> {
    let config = context.config();
    let path = config.gateway.keys.keyring_path(&config.data_dir);
    let wrong = |error| refused(KeysError::Keyring(error));
    let keyring = match (rotate, retire) {
        (true, _) => Keyring::rotate(&path, now_ms()),
        (false, Some(number)) => Keyring::retire(&path, number),
        (false, None) => Keyring::open(&path, now_ms()),
    };
    let keyring = keyring.map_err(wrong)?;
    let generations: Vec<Value> = keyring
        .generations()
        .iter()
        .map(|generation| json!({ "number": generation.number, "created_ms": generation.created_ms }))
        .collect();
    if context.json {
        context.out.json(&json!({ "keyring": keyring.id(), "file": path.display().to_string(), "generations": generations }))?;
    } else {
        context.out.line(format!("keyring {} in {}", keyring.id(), path.display()))?;
        for (index, generation) in keyring.generations().iter().enumerate() {
            let newest = if index == 0 { "  new keys are made with it" } else { "" };
            context.out.line(format!("  generation {:<4} since {}{newest}", generation.number, local(generation.created_ms)))?;
        }
    }
    Ok(Finish::Fine)
}
