//! The flags of `homeostat keys`.

use super::Named;
use super::sealed::{OpenArgs, XkeyArgs};
use clap::{Args, Subcommand, ValueHint};
use homeostat_schemas::{Ms, Scope, UnixMs};
use std::path::PathBuf;

/// `keys`
#[derive(Debug, Clone, Args)]
pub struct KeysArgs {
    /// What to do
    #[command(subcommand)]
    pub command: KeysCommand,
    /// Work on the database and the keyring themselves, not through a running gateway
    #[arg(long, global = true)]
    pub local: bool,
    /// The gateway [default: the one of the data directory, else gateway.listen]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "local")]
    pub url: Option<String>,
    /// A file with the key to show to the gateway [default: the variable HOMEOSTAT_KEY, where there is one]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key_file: Option<PathBuf>,
}

/// `keys …`
#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Create a key; it is shown once
    Create {
        /// What it is to be
        #[command(flatten)]
        new: NewKeyArgs,
        /// Write it into this file (mode 0600, which must not exist) instead of showing it
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
    /// Create a key for a secret that its holder has, from its hash alone
    Import {
        /// What it is to be
        #[command(flatten)]
        new: NewKeyArgs,
        /// A file with the hash ($argon2id$…); `-` is standard input
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        hash: PathBuf,
    },
    /// List keys
    List {
        /// Those of one service
        #[arg(long, value_name = "SERVICE")]
        owner: Option<String>,
    },
    /// Show one key, and how it is used
    Show {
        /// The key's id
        id: String,
    },
    /// Draw another secret; the old one is accepted until its grace ends
    Rotate {
        /// The key's id
        id: String,
        /// Only if this version is in force
        #[arg(long, value_name = "VERSION")]
        expected: Option<u32>,
        /// Somebody else may know the secret: the old one ends at once
        #[arg(long)]
        compromised: bool,
        /// Another grace, for this once: 1d, 12h, 0
        #[arg(long, value_name = "TIME", value_parser = span, conflicts_with = "compromised")]
        grace: Option<Ms>,
        /// Write it into this file (mode 0600, which must not exist) instead of showing it
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
    /// Take a key back, at once
    Revoke {
        /// The key's id
        id: String,
        /// This version only
        #[arg(id = "only", long, value_name = "VERSION")] // `version` is the id of the flag that every command has
        version: Option<u32>,
        /// Somebody else may know the secret
        #[arg(long)]
        compromised: bool,
    },
    /// Change the recipient of sealed secrets; it takes a day
    Recipient {
        /// The key's id
        id: String,
        /// The public xkey (X…); without one nobody is
        xkey: Option<String>,
    },
    /// Open sealed deliveries of new secrets, from a file or as they come on the bus
    Open(OpenArgs),
    /// Make an xkey, to which new secrets can be sealed: the seed into a file, its public half printed
    Xkey(XkeyArgs),
    /// Say whether a key is accepted: exit code 0 or 1. Always local
    Verify {
        /// A file with the key; `-` is standard input
        #[arg(default_value = "-", value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Make the first key: 15 minutes, good for creating one key. Always local
    Bootstrap {
        /// Where to write it (mode 0600) [default: bootstrap.key in the data directory]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
    /// Look at the keys that keys are made with, renew them. Always local
    Keyring {
        /// Make another generation; keys of the older ones stay good
        #[arg(long)]
        rotate: bool,
        /// Take a generation out: its keys are not accepted any more
        #[arg(long, value_name = "GENERATION", conflicts_with = "rotate")]
        retire: Option<u32>,
    },
    /// The clock jumped, and is right as it is now: go on rotating and expiring keys by it
    AcceptClock(Named),
}

/// What a key is to be.
#[derive(Debug, Clone, Args)]
pub struct NewKeyArgs {
    /// The service that it is to belong to
    #[arg(long, value_name = "SERVICE")]
    pub owner: String,
    /// What its holder may do; may be repeated: probe, metrics, telemetry:write, alerts:read, status:read, commands:write, keys:admin
    #[arg(long = "scope", value_name = "SCOPE", required_unless_present = "all_scopes", value_delimiter = ',')]
    pub scopes: Vec<Scope>,
    /// Everything, and so any other key may be made with it
    #[arg(long, conflicts_with = "scopes")]
    pub all_scopes: bool,
    /// A note; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// A key for tests (hst_test_…)
    #[arg(long)]
    pub test: bool,
    /// Its end: after 30d, 12h, or at a time; whatever happens
    #[arg(long, value_name = "TIME", value_parser = end)]
    pub expires: Option<End>,
    /// How often it should be rotated: 90d, never [default: 90d]
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub rotate_every: Option<Ms>,
    /// How long an old secret is accepted beside the new one [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub grace: Option<Ms>,
    /// The public xkey (X…) to which new secrets are sealed
    #[arg(long, value_name = "XKEY")]
    pub recipient: Option<String>,
}

/// When something ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// So long from now.
    After(Ms),
    /// Then.
    At(UnixMs),
}

fn end(text: &str) -> Result<End, String> {
    span(text).map(End::After).or_else(|_| homeostat_schemas::time::parse(text).map(End::At).map_err(|error| error.to_string()))
}

/// `90d`, `12h`, `30m`, `45s`, `0`, `never`.
fn span(text: &str) -> Result<Ms, String> {
    if text == "never" || text == "0" {
        return Ok(0);
    }
    let wrong = || format!("`{text}` is no time: write 90d, 12h, 30m, 45s");
    let unit = match text.chars().last() {
        Some('d') => 86_400_000,
        Some('h') => 3_600_000,
        Some('m') => 60_000,
        Some('s') => 1_000,
        _ => return Err(wrong()),
    };
    let number: Ms = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no label: write NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_unit_and_ends_as_either() {
        assert_eq!([span("90d"), span("2h"), span("0"), span("never")], [Ok(7_776_000_000), Ok(7_200_000), Ok(0), Ok(0)]);
        for bad in ["", "d", "5", "5w", "-1d", "é", "99999999999999999d"] {
            assert!(span(bad).is_err(), "{bad}");
        }
        assert_eq!(end("1d"), Ok(End::After(86_400_000)));
        assert_eq!(end("2026-01-01T00:00:00Z"), Ok(End::At(1_767_225_600_000)));
        assert!(end("soon").is_err());
    }
}
