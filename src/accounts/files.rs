//! Keys and configuration in a directory: `nats-server.conf`, a seed for every user in `credentials/` (mode 0600), and what its
//! program has to be told in `environment/`.
//!
//! What is rendered again keeps the keys it finds, so that another service or a changed limit locks nobody out.

use super::callout::{self, Guests};
use super::conf::{Listening, text};
use super::plan::{Plan, Role, User};
use homeostat_schemas::signature::{Signer, SignerError};
use nkeys::{KeyPair, KeyPairType, XKey};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The configuration's name.
pub const CONF_FILE: &str = "nats-server.conf";

/// Why nothing was rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A file cannot be written or read.
    #[error("{path} cannot be used: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A key that is there is none.
    #[error("{path} cannot be used: {source}; move it away for a new one")]
    Key {
        /// Which.
        path: String,
        /// Why.
        source: SignerError,
    },
    /// A seed that is there is of another kind.
    #[error("{path} is no seed {kind}; move it away for a new one")]
    Seed {
        /// Which.
        path: String,
        /// What it should be.
        kind: &'static str,
    },
    /// No random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The configuration.
    pub conf: PathBuf,
    /// Every user's public key, by its name.
    pub keys: BTreeMap<String, String>,
    /// Users whose keys are new.
    pub made: Vec<String>,
}

/// Where a user's seed lies.
#[must_use]
pub fn credential(dir: &Path, user: &str) -> PathBuf {
    dir.join("credentials").join(format!("{user}.nk"))
}

/// Writes everything. With `rotate`, every user gets another key. `signers` are the public keys whose commands applications trust.
///
/// # Errors
/// A file cannot be written, or a key that is there is none.
pub fn render(dir: &Path, plan: &Plan, listening: &Listening, signers: &[String], rotate: bool) -> Result<Rendered, RenderError> {
    for dir in [dir, &dir.join("credentials"), &dir.join("environment")] {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(failed(dir))?;
    }
    let (mut keys, mut made) = (BTreeMap::new(), Vec::new());
    for (_, user) in plan.users() {
        let path = credential(dir, &user.name);
        let (signer, new) = if path.exists() && !rotate { (read(&path)?, false) } else { (make(&path)?, true) };
        if new {
            made.push(user.name.clone());
        }
        keys.insert(user.name.clone(), signer.public().to_owned());
        if user.role != Role::Callout {
            let path = dir.join("environment").join(format!("{}.env", user.name));
            private(&path, environment(dir, plan, user, listening, signers).as_bytes())?;
        }
    }
    if let Some(guests) = Guests::of(plan) {
        for (name, kind) in [(callout::ISSUER, KeyPairType::Account), (callout::XKEY, KeyPairType::Curve)] {
            let (public, new) = seed(&credential(dir, name), &kind, rotate)?;
            if new {
                made.push(name.to_owned());
            }
            keys.insert(name.to_owned(), public);
        }
        private(&dir.join(callout::FILE), guests.text().as_bytes())?;
    }
    let conf = dir.join(CONF_FILE);
    private(&conf, text(plan, listening, &keys).as_bytes())?;
    Ok(Rendered { conf, keys, made })
}

/// What the program of a user has to be told.
fn environment(dir: &Path, plan: &Plan, user: &User, listening: &Listening, signers: &[String]) -> String {
    let scheme = if listening.tls.is_some() { "tls" } else { "nats" };
    let mut lines = vec![
        format!("HOMEOSTAT_NATS__URL={scheme}://{}", listening.listen),
        format!("HOMEOSTAT_NATS__NKEY_FILE={}", credential(dir, &user.name).display()),
        format!("HOMEOSTAT_NATS__ROOT={}", plan.root),
    ];
    let callout = plan.users().any(|(_, user)| user.role == Role::Callout);
    if callout && user.role == Role::Homeostat {
        lines.push(format!("HOMEOSTAT_NATS__CALLOUT_DIR={}", dir.display()));
    }
    if user.role == Role::Application {
        if callout {
            lines.push("# With an API key of the service, instead of the nkey: a file whose first line is the key.".to_owned());
            lines.push("#HOMEOSTAT_NATS__TOKEN_FILE=".to_owned());
        }
        lines.push(format!("HOMEOSTAT_NATS__INBOX_PREFIX={}", user.inbox_prefix));
        if signers.is_empty() {
            lines.push("# The public key that `homeostat up` prints; without it no command is carried out.".to_owned());
            lines.push("#HOMEOSTAT_CLIENT_TRUSTED_SIGNERS=".to_owned());
        } else {
            lines.push(format!("HOMEOSTAT_CLIENT_TRUSTED_SIGNERS={}", signers.join(",")));
        }
    }
    lines.join("\n") + "\n"
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RenderError {
    let path = path.display().to_string();
    move |source| RenderError::File { path, source }
}

fn read(path: &Path) -> Result<Signer, RenderError> {
    let text = std::fs::read_to_string(path).map_err(failed(path))?;
    Signer::from_seed(text.trim()).map_err(|source| RenderError::Key { path: path.display().to_string(), source })
}

fn make(path: &Path) -> Result<Signer, RenderError> {
    let wrong = |source| RenderError::Key { path: path.display().to_string(), source };
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(RenderError::Random)?;
    let signer = Signer::from_random(bytes).map_err(wrong)?;
    let seed = signer.seed().map_err(wrong)?;
    private(path, format!("{seed}\n").as_bytes())?;
    Ok(signer)
}

/// The seed of another kind than a user's: its public key, and whether it is new.
fn seed(path: &Path, kind: &KeyPairType, rotate: bool) -> Result<(String, bool), RenderError> {
    let curve = *kind == KeyPairType::Curve;
    let name = path.display().to_string();
    let wrong = |_: nkeys::error::Error| RenderError::Seed { path: name.clone(), kind: if curve { "of an xkey" } else { "of an account" } };
    if path.exists() && !rotate {
        let text = std::fs::read_to_string(path).map_err(failed(path))?;
        let public = if curve {
            XKey::from_seed(text.trim()).map_err(wrong)?.public_key()
        } else {
            KeyPair::from_seed(text.trim()).map_err(wrong)?.public_key()
        };
        return Ok((public, false));
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(RenderError::Random)?;
    let (public, seed) = if curve {
        let xkey = XKey::new_from_raw(bytes);
        (xkey.public_key(), xkey.seed().map_err(wrong)?)
    } else {
        let pair = KeyPair::new_from_raw(KeyPairType::Account, bytes).map_err(wrong)?;
        (pair.public_key(), pair.seed().map_err(wrong)?)
    };
    private(path, format!("{seed}\n").as_bytes())?;
    Ok((public, true))
}

/// A file for its owner alone, there whole or not at all.
fn private(path: &Path, content: &[u8]) -> Result<(), RenderError> {
    crate::private::replace(path, content).map_err(failed(path))
}
