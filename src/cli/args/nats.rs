//! `homeostat nats …`: a nats-server of one's own.

use crate::accounts::Profile;
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

/// `nats`
#[derive(Debug, Clone, Args)]
pub struct NatsArgs {
    /// What to do
    #[command(subcommand)]
    pub command: NatsCommand,
}

/// `nats …`
#[derive(Debug, Clone, Subcommand)]
pub enum NatsCommand {
    /// Write the configuration of a nats-server: accounts, users, permissions, keys
    Render(Box<RenderArgs>),
    /// Make the durable consumer from which a bot reads (with the credentials of Homeostat itself)
    Consumer(ConsumerArgs),
}

/// `nats render`
#[derive(Debug, Clone, Args)]
pub struct RenderArgs {
    /// What the server is for
    #[arg(long, value_enum)]
    pub profile: Profile,
    /// The directory for the configuration and the keys; keys that are there are kept
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// A service whose application reports (profile single)
    #[arg(long, value_name = "NAME")]
    pub service: Vec<String>,
    /// A tenant and its services (profile tenants): acme=shop,billing
    #[arg(long, value_name = "TENANT=SERVICE,…", value_parser = tenant)]
    pub tenant: Vec<(String, Vec<String>)>,
    /// A service that may also give orders, as a person may; with tenants: acme/shop
    #[arg(long, value_name = "NAME")]
    pub orders: Vec<String>,
    /// A program that reads alerts, commands and outcomes from a consumer of its own; with tenants: acme/pager
    #[arg(long, value_name = "NAME")]
    pub bot: Vec<String>,
    /// Somebody who looks on; with tenants: acme/screen
    #[arg(long, value_name = "NAME")]
    pub viewer: Vec<String>,
    /// Somebody who sees the alerts of all tenants
    #[arg(long, value_name = "NAME")]
    pub operator: Vec<String>,
    /// Where the server listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4222")]
    pub listen: String,
    /// The server's name
    #[arg(long, value_name = "NAME", default_value = "homeostat")]
    pub server_name: String,
    /// Where the server stores streams [default: jetstream in the directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub store_dir: Option<PathBuf>,
    /// The server's certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key", value_hint = ValueHint::FilePath)]
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_hint = ValueHint::FilePath)]
    pub tls_key: Option<PathBuf>,
    /// Clients must show a certificate of this authority, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_hint = ValueHint::FilePath)]
    pub tls_client_ca: Option<PathBuf>,
    /// Listen beyond loopback without TLS
    #[arg(long)]
    pub allow_plain: bool,
    /// What an account with a log may store beside Homeostat's own streams, MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub spare: u64,
    /// What streams in memory may take in such an account, MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub memory: u64,
    /// A public key whose commands applications trust [default: those of the data directory]
    #[arg(long, value_name = "KEY")]
    pub signer: Vec<String>,
    /// Let API keys be credentials of the bus, too: the server asks Homeostat about them (profile single)
    #[arg(long)]
    pub callout: bool,
    /// Give every user another key
    #[arg(long)]
    pub rotate: bool,
    /// With --json: print the secret keys, too
    #[arg(long)]
    pub show_secrets: bool,
}

/// `nats consumer`
#[derive(Debug, Clone, Args)]
pub struct ConsumerArgs {
    /// The bot's name, as it was rendered
    pub bot: String,
    /// What it reads; may be repeated
    #[arg(long, value_enum, default_values_t = [Reads::Alerts])]
    pub read: Vec<Reads>,
    /// From what was said before on, as far as the archive goes
    #[arg(long)]
    pub from_start: bool,
}

/// What a bot reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reads {
    /// Findings that began or ended
    Alerts,
    /// What should be done
    Commands,
    /// What became of it
    Outcomes,
}

fn tenant(text: &str) -> Result<(String, Vec<String>), String> {
    let (name, services) = text.split_once('=').ok_or("write TENANT=SERVICE,SERVICE")?;
    Ok((name.to_owned(), services.split(',').filter(|service| !service.is_empty()).map(str::to_owned).collect()))
}
