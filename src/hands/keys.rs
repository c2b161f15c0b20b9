//! The hand `keys`: what the key rotation mind has done to keys: a new version, the end of an old one, another recipient; and the list of
//! all of them.
//!
//! A new secret is drawn, hashed and sealed in this process, and written down in one transaction: the version's hash, the fact and the
//! sealed box for its owner, or nothing of it. The plaintext lives in one stack frame and is wiped. What is on its way to the owner (the
//! outbox, the bus, the log) is the box alone.
//!
//! Every ask names the version that it is about, and the transaction compares: an ask that is carried out late, twice, or by two
//! processes at once rotates once. Whoever was second answers that it is done, with the record as it is.

use super::Hands;
use crate::audit::Act;
use crate::clock::now_ms;
use crate::keys::format::KeyText;
use crate::keys::keyring::Keyring;
use crate::keys::records::Sealed;
use crate::keys::{KeysError, Rotation};
use homeostat_actors::key_rotation::{self, ROTATE};
use homeostat_nats::Message;
use homeostat_schemas::envelope::cloudevents_headers;
use homeostat_schemas::key::KeyRecord;
use homeostat_schemas::sealed::Sealer;
use homeostat_schemas::{Ask, Outcome, OutcomeStatus, Subject};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use zeroize::Zeroizing;

/// The hand's name.
pub(super) const NAME: &str = key_rotation::KEYS;

/// Who did it, in facts.
const BY: &str = "key_rotation";
/// Keys of one page.
const PAGE_MAX: u32 = 100;
/// What the private key of the sender is derived for; another use derives another key.
const SENDER: &str = "homeostat 2026-11-25 xkey that seals new secrets to their owners";

/// What is asked about one key.
#[derive(Debug, Deserialize)]
struct Asked {
    key: String,
    #[serde(default)]
    version: u32,
    /// The command that is carried out, and whose it is.
    #[serde(default)]
    command: Option<String>,
    #[serde(default)]
    service: String,
    #[serde(default)]
    compromised: bool,
}

/// A command that is not carried out.
#[derive(Debug, Deserialize)]
struct Refusal {
    command: String,
    service: String,
    why: String,
}

#[derive(Debug, Deserialize)]
struct List {
    #[serde(default)]
    after: String,
    limit: u32,
}

/// Who seals: the same xkey in every process that shares the keyring, for as long as its oldest generation is not taken out. It is
/// derived from the keyring, so that nothing else has to be kept and shared.
fn sealer(keyring: &Keyring) -> Sealer {
    let oldest = keyring.generations().last().map_or_else(|| keyring.newest().mint(), |generation| generation.mint());
    let private = Zeroizing::new(blake3::derive_key(SENDER, oldest));
    Sealer::new(*private)
}

/// Does what is asked.
///
/// # Errors
/// What went wrong, in words that may be shown.
pub(super) async fn work(hands: &Hands, ask: &Ask, within: Duration) -> Result<Value, String> {
    let done = tokio::time::timeout(within, answer(hands, ask)).await;
    done.map_err(|_| "it took too long; whether it was done shows at the next try".to_owned())?
}

async fn answer(hands: &Hands, ask: &Ask) -> Result<Value, String> {
    let wrong = |error: serde_json::Error| format!("the ask cannot be understood: {error}");
    match ask.what.as_str() {
        "list" => list(hands, List::deserialize(&ask.args).map_err(wrong)?).await,
        "refuse" => {
            let Refusal { command, service, why } = Refusal::deserialize(&ask.args).map_err(wrong)?;
            say(hands, &service, outcome(&command, OutcomeStatus::Refused, Some(why))).await?;
            Ok(Value::Null)
        }
        what => {
            let asked = Asked::deserialize(&ask.args).map_err(wrong)?;
            let done = change(hands, what, &asked).await;
            if let Some(command) = &asked.command {
                let status = if done.is_ok() { OutcomeStatus::Done } else { OutcomeStatus::Failed };
                say(hands, &asked.service, outcome(command, status, done.as_ref().err().cloned())).await?;
            }
            let record = done?;
            hands.keys.verifier.evict(&record.id, record.generation);
            Ok(json!({ "record": record }))
        }
    }
}

async fn list(hands: &Hands, List { after, limit }: List) -> Result<Value, String> {
    let limit = limit.clamp(1, PAGE_MAX);
    let keys = hands.keys.records.list(None, &after, limit).await.map_err(|error| public(&error))?;
    let full = keys.len() == limit as usize;
    let next = keys.last().filter(|_| full).map(|last| last.id.clone());
    Ok(json!({ "keys": keys, "next": next }))
}

async fn change(hands: &Hands, what: &str, asked: &Asked) -> Result<KeyRecord, String> {
    record(hands, what, asked).await?;
    let records = &hands.keys.records;
    let done = match what {
        "rotate" => {
            if let Some(command) = &asked.command {
                say(hands, &asked.service, outcome(command, OutcomeStatus::Accepted, None)).await?;
            }
            rotate(hands, asked).await
        }
        "expire" => records.expire(&asked.key, asked.version, BY).await,
        "purge" => records.purge(&asked.key, asked.version, BY).await,
        "recipient" => records.take_recipient(&asked.key, BY).await,
        _ => return Err("nothing of this name can be done to a key".to_owned()),
    };
    match done {
        Ok(record) => Ok(record),
        // Somebody else was first: it is done.
        Err(KeysError::Conflict { .. } | KeysError::State(_)) if asked.command.is_none() => {
            records.get(&asked.key).await.map_err(|error| public(&error))
        }
        Err(error) => Err(public(&error)),
    }
}

/// Records what is about to be done; what cannot be recorded is not done. That a version has ended is only written down, nobody does it.
async fn record(hands: &Hands, what: &str, asked: &Asked) -> Result<(), String> {
    let action = match what {
        "rotate" => "key.rotate",
        "purge" => "key.purge",
        "recipient" => "key.recipient",
        _ => return Ok(()),
    };
    let detail = json!({ "version": asked.version, "command": asked.command, "compromised": asked.compromised });
    let act = Act { action, target: &asked.key, by: BY, source: None, detail };
    hands.audit.record(act).await.map(|_| ()).map_err(|_| "it cannot be recorded in the audit log, so it is not done".to_owned())
}

async fn rotate(hands: &Hands, asked: &Asked) -> Result<KeyRecord, KeysError> {
    let records = &hands.keys.records;
    let sealer = sealer(&records.keyring());
    let seal = |record: &KeyRecord, version: u32, text: &KeyText| {
        let Some(recipient) = &record.recipient else {
            return Err(KeysError::State("no recipient is named to whom the new secret could be sealed".to_owned()));
        };
        let sealed = sealer.seal((&record.id, version), &record.owner, recipient, now_ms(), text.expose());
        let sealed = sealed.map_err(|error| KeysError::Seal(error.to_string()))?;
        let body = serde_json::to_string(&sealed).map_err(|error| KeysError::Seal(error.to_string()))?;
        Ok(Some(Sealed { subject: Subject::Sealed(record.owner.clone()).to_string(), body }))
    };
    let rotation = Rotation { id: &asked.key, expected: asked.version, compromised: asked.compromised, grace_ms: None, seal: Some(&seal) };
    let rotated = records.rotate(rotation, BY).await?;
    Ok(rotated.record)
}

fn outcome(command: &str, status: OutcomeStatus, detail: Option<String>) -> Outcome {
    Outcome { command: command.to_owned(), status, detail, at_ms: now_ms(), ..Outcome::default() }
}

/// Says what became of a command.
async fn say(hands: &Hands, service: &str, outcome: Outcome) -> Result<(), String> {
    let (topic, verb) = ROTATE.split_once('.').unwrap_or((ROTATE, ""));
    let status = serde_json::to_value(outcome.status).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
    let id = format!("{}/homeostat/{status}", outcome.command);
    let safe: String = service.chars().map(|c| if c.is_control() { ' ' } else { c }).take(512).collect();
    let headers = cloudevents_headers(&id, &format!("outcome.{ROTATE}"), "/homeostat/hands/keys", &safe, outcome.at_ms);
    let subject = hands.root.subject(&Subject::Outcome(topic.to_owned(), verb.to_owned(), service.to_owned()));
    let body = serde_json::to_vec(&outcome).map_err(|error| error.to_string())?;
    let message = headers.into_iter().fold(Message::new(subject, body), |message, (name, value)| message.with(name, value));
    hands.log.append(message).await.map(|_| ()).map_err(|_| "the bus does not take the outcome".to_owned())
}

/// What is wrong, without addresses, users and files.
fn public(error: &KeysError) -> String {
    match error {
        KeysError::Store(_) => "the database does not answer, or refused".to_owned(),
        KeysError::Keyring(_) | KeysError::Estranged(_) => {
            "the keyring cannot be used, or is not the one that the keys were made with".to_owned()
        }
        error => error.to_string(),
    }
}
