//! What nats-server asks, and how it is answered.
//!
//! A question is a token that the server has signed, sealed to our xkey: who opens the box knows that it came from the holder of the
//! server's xkey, and the token inside names that xkey and is signed with the key that is the server's id. That this id is a server of
//! ours is the caller's to know ([`super::connections`]).
//!
//! An answer is a token of our own, sealed to that server, for that server, about the nkey that it drew for this one log-in: it is worth
//! nothing anywhere else and at no other time.

use super::jwt::{self, Claims};
use crate::accounts::callout::Grant;
use crate::keys::Principal;
use crate::keys::format::KeyText;
use homeostat_nats::async_nats::Message;
use homeostat_schemas::UnixMs;
use nkeys::{KeyPair, KeyPairType, XKey};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use zeroize::Zeroizing;

/// The header with the xkey of whoever sealed a question.
const XKEY_HEADER: &str = "Nats-Server-Xkey";
/// Larger questions are not read, bytes. With certificates of a client they have some 10 KiB.
pub(super) const REQUEST_MAX: usize = 128 * 1024;
/// For whom every question is.
const AUDIENCE: &str = "nats-authorization-request";
/// How connections that got in with an API key are called in the server's lists: `hst:<key>:<version>`.
const NAME: &str = "hst:";

#[derive(Deserialize)]
struct Nats {
    #[serde(rename = "type")]
    kind: String,
    server_id: Server,
    user_nkey: String,
    #[serde(default)]
    client_info: Client,
    #[serde(default)]
    connect_opts: Connect,
}

#[derive(Deserialize)]
struct Server {
    id: String,
    #[serde(default)]
    xkey: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Client {
    host: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Connect {
    auth_token: Option<String>,
    user: Option<String>,
    pass: Option<String>,
}

/// Who sealed a question, by its header.
pub(super) fn sender(message: &Message) -> Option<&str> {
    message.headers.as_ref()?.get(XKEY_HEADER).map(|value| value.as_str())
}

/// A question that is one.
#[derive(Debug)]
pub(super) struct Question {
    /// The id of the server that asks: the public key that signed.
    pub(super) server: String,
    /// The nkey that the server drew for this log-in.
    nkey: String,
    /// To whom the answer is sealed.
    xkey: XKey,
    /// Who wants in, if he says so.
    pub(super) name: Option<String>,
    /// The key that he shows.
    pub(super) key: Option<KeyText>,
    /// From where.
    pub(super) source: Option<IpAddr>,
}

/// What is needed to be asked, and to answer.
pub(super) struct Desk {
    issuer: KeyPair,
    issuer_public: String,
    xkey: XKey,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("issuer", &self.issuer_public).finish_non_exhaustive()
    }
}

impl Desk {
    /// One that signs with this account key and to whom is sealed with this xkey.
    pub(super) fn new(issuer: KeyPair, xkey: XKey) -> Desk {
        Desk { issuer_public: issuer.public_key(), issuer, xkey }
    }

    /// Opens a question and checks all that can be checked without knowing the servers. Why it is none, otherwise.
    pub(super) fn read(&self, sender: Option<&str>, sealed: &[u8], now: UnixMs) -> Result<Question, &'static str> {
        if sealed.len() > REQUEST_MAX {
            return Err("it is too long");
        }
        let sender = sender.ok_or("it is not sealed: the server's `auth_callout` needs the xkey that was rendered")?;
        let xkey = XKey::from_public_key(sender).map_err(|_| "its sender is no xkey")?;
        let token = self.xkey.open(sealed, &xkey).map(Zeroizing::new).map_err(|_| "it is not sealed to us")?;
        let token = std::str::from_utf8(&token).map_err(|_| "it is no text")?;
        let Claims { iss, sub, aud, exp, nats, .. } = jwt::verified::<Nats>(token, &KeyPairType::Server)?;
        let Nats { kind, server_id, user_nkey, client_info, connect_opts: Connect { auth_token, user, pass } } = nats;
        // Wiped, whatever comes of it.
        let (token, pass) = (auth_token.map(KeyText::new), pass.map(KeyText::new));
        for (good, why) in [
            (kind == "authorization_request" && aud == AUDIENCE, "it is no question about a log-in"),
            (iss == server_id.id, "its issuer is not the server that it names"),
            (sub == self.issuer_public, "it is for another issuer"),
            (server_id.xkey == sender, "it was sealed by another than the server"),
            (exp.is_some_and(|exp| exp.saturating_mul(1_000) > now), "its time is over"),
            (is_user(&user_nkey), "it is about no user nkey"),
        ] {
            if !good {
                return Err(why);
            }
        }
        let empty = |text: &KeyText| text.expose().is_empty();
        Ok(Question {
            server: server_id.id,
            nkey: user_nkey,
            xkey,
            name: user.filter(|name| !name.is_empty()),
            key: token.filter(|text| !empty(text)).or(pass).filter(|text| !empty(text)),
            source: client_info.host.parse().ok(),
        })
    }

    /// The answer that lets somebody in, until the version of his key ends. Nothing when it has ended, or nothing can be signed.
    pub(super) fn admit(&self, question: &Question, principal: &Principal, grant: &Grant<'_>, now: UnixMs) -> Option<Vec<u8>> {
        let exp = principal.expires_ms.map(|at| at / 1_000);
        if exp.is_some_and(|exp| exp <= now / 1_000) {
            return None;
        }
        let permissions = &grant.permissions;
        let mut publish = json!({ "allow": permissions.publish, "deny": permissions.publish_deny });
        if permissions.publish.is_empty() {
            // An empty list of what is allowed would allow everything.
            publish = json!({ "deny": [">"] });
        }
        let user = Claims {
            exp,
            name: name(&principal.key, principal.version),
            ..self.claims(
                question,
                grant.account,
                now,
                json!({
                    "pub": publish,
                    "sub": { "allow": permissions.subscribe },
                    "subs": -1, "data": -1, "payload": -1,
                    "type": "user", "version": 2,
                }),
            )?
        };
        let user = jwt::sign(user, &self.issuer)?;
        self.answer(question, json!({ "jwt": user, "type": "authorization_response", "version": 2 }), now)
    }

    /// The answer that lets nobody in. Its reason stands in the server's log; the client hears of none.
    pub(super) fn refuse(&self, question: &Question, why: &str, now: UnixMs) -> Option<Vec<u8>> {
        self.answer(question, json!({ "error": why, "type": "authorization_response", "version": 2 }), now)
    }

    fn answer(&self, question: &Question, nats: Value, now: UnixMs) -> Option<Vec<u8>> {
        let answer = jwt::sign(self.claims(question, &question.server, now, nats)?, &self.issuer)?;
        self.xkey.seal(answer.as_bytes(), &question.xkey).ok()
    }

    fn claims(&self, question: &Question, aud: &str, now: UnixMs, nats: Value) -> Option<Claims<Value>> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).ok()?;
        Some(Claims {
            jti: format!("{:032x}", u128::from_le_bytes(id)),
            iat: now / 1_000,
            exp: None,
            iss: String::new(),
            sub: question.nkey.clone(),
            aud: aud.to_owned(),
            name: String::new(),
            nats,
        })
    }
}

fn is_user(nkey: &str) -> bool {
    KeyPair::from_public_key(nkey).is_ok_and(|pair| pair.key_pair_type() == KeyPairType::User)
}

/// What connections of a version of a key are called.
pub(super) fn name(key: &str, version: u32) -> String {
    format!("{NAME}{key}:{version}")
}

/// The key and the version that a connection is called by, if it got in with one.
pub(super) fn named(name: &str) -> Option<(&str, u32)> {
    let (key, version) = name.strip_prefix(NAME)?.split_once(':')?;
    Some((key, version.parse().ok()?))
}

#[cfg(test)]
mod tests;
