//! The table `[nats]`: how to reach the bus, and the server of our own when none is named.
//!
//! The nerves know their settings, but not the manual's JSON Schema; these types mirror theirs. Defaults stand there alone, and a
//! field added there does not compile here until it is mirrored.

use homeostat_nats::{BusConfig, EmbeddedConfig, RunInfo, StreamConfig, TlsConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A file with a secret is at most this large.
const SECRET_MAX: u64 = 64 * 1024;

/// The bus.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// Address of a nats-server of yours, or several separated by commas. Without it a server of our own is started.
    pub url: Option<String>,
    /// First tokens of every subject: a word and the schema version. Another word gets streams and buckets of its own.
    pub root: String,
    /// A `.creds` file (JWT and seed).
    pub credentials_file: Option<PathBuf>,
    /// A file with an nkey seed.
    pub nkey_file: Option<PathBuf>,
    /// User name.
    pub user: Option<String>,
    /// A file whose first line is the password for `user`.
    pub password_file: Option<PathBuf>,
    /// A file whose first line is a token, for servers that use one.
    pub token_file: Option<PathBuf>,
    /// The directory that `homeostat nats render --callout` wrote: then API keys are credentials of the bus, too, and their connections
    /// end with them. Not set: they are not.
    pub callout_dir: Option<PathBuf>,
    /// Transport security.
    pub tls: TlsSettings,
    /// What the server's monitoring calls this connection.
    pub name: String,
    /// How long making the connection may take, milliseconds.
    pub connect_timeout_ms: u64,
    /// How long an answer of the bus may take, milliseconds.
    pub request_timeout_ms: u64,
    /// The streams and their limits.
    pub stream: StreamSettings,
    /// The server of our own.
    pub embedded: EmbeddedSettings,
}

impl Default for NatsConfig {
    fn default() -> Self {
        // Without an address there is the embedded server, so the default address is nobody's.
        let BusConfig {
            url: _,
            root,
            credentials_file,
            nkey_file,
            user,
            password: _,
            password_file,
            token: _,
            tls,
            name,
            connect_timeout_ms,
            request_timeout_ms,
            stream,
        } = BusConfig::default();
        NatsConfig {
            url: None,
            root,
            credentials_file,
            nkey_file,
            user,
            password_file,
            token_file: None,
            callout_dir: None,
            tls: tls.into(),
            name,
            connect_timeout_ms,
            request_timeout_ms,
            stream: stream.into(),
            embedded: EmbeddedSettings::default(),
        }
    }
}

/// Transport security of the connection to the bus.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// Certificate authority, PEM. Not set: the system's.
    pub ca: Option<PathBuf>,
    /// Client certificate, PEM; needs `key`.
    pub cert: Option<PathBuf>,
    /// File with the key of the client certificate, PEM.
    pub key: Option<PathBuf>,
    /// Refuse to talk without TLS. A `tls://` address demands it, too.
    pub required: bool,
}

impl Default for TlsSettings {
    fn default() -> Self {
        TlsConfig::default().into()
    }
}

impl From<TlsConfig> for TlsSettings {
    fn from(TlsConfig { ca, cert, key, required }: TlsConfig) -> Self {
        TlsSettings { ca, cert, key, required }
    }
}

/// The streams' limits; together they bound the disk.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamSettings {
    /// The log holds at most this many bytes; the oldest messages go first.
    pub max_bytes: u64,
    /// The log holds nothing older, seconds.
    pub max_age_s: u64,
    /// The largest message, bytes.
    pub max_message_bytes: u32,
    /// A `Nats-Msg-Id` is remembered for so long, seconds; a retry within it is a duplicate. Memory grows with rate × window.
    pub duplicate_window_s: u64,
    /// The archive of alerts, commands and outcomes holds at most this many bytes.
    pub archive_max_bytes: u64,
    /// The archive holds nothing older, seconds.
    pub archive_max_age_s: u64,
    /// The bucket of current state holds at most this many bytes.
    pub state_max_bytes: u64,
    /// The bucket of checkpoints holds at most this many bytes.
    pub checkpoints_max_bytes: u64,
    /// The ledger of the audit log holds at most this many bytes; full, it takes no more, and what must stand there first is not done.
    pub ledger_max_bytes: u64,
    /// Copies of everything in a cluster: 1, 3 or 5.
    pub replicas: u8,
    /// Let a lowered limit drop messages that are there now.
    pub allow_data_loss: bool,
}

impl Default for StreamSettings {
    fn default() -> Self {
        StreamConfig::default().into()
    }
}

impl From<StreamConfig> for StreamSettings {
    fn from(config: StreamConfig) -> Self {
        let StreamConfig {
            max_bytes,
            max_age_s,
            max_message_bytes,
            duplicate_window_s,
            archive_max_bytes,
            archive_max_age_s,
            state_max_bytes,
            checkpoints_max_bytes,
            ledger_max_bytes,
            replicas,
            allow_data_loss,
        } = config;
        StreamSettings {
            max_bytes,
            max_age_s,
            max_message_bytes,
            duplicate_window_s,
            archive_max_bytes,
            archive_max_age_s,
            state_max_bytes,
            checkpoints_max_bytes,
            ledger_max_bytes,
            replicas,
            allow_data_loss,
        }
    }
}

impl StreamSettings {
    fn limits(&self) -> StreamConfig {
        StreamConfig {
            max_bytes: self.max_bytes,
            max_age_s: self.max_age_s,
            max_message_bytes: self.max_message_bytes,
            duplicate_window_s: self.duplicate_window_s,
            archive_max_bytes: self.archive_max_bytes,
            archive_max_age_s: self.archive_max_age_s,
            state_max_bytes: self.state_max_bytes,
            checkpoints_max_bytes: self.checkpoints_max_bytes,
            ledger_max_bytes: self.ledger_max_bytes,
            replicas: self.replicas,
            allow_data_loss: self.allow_data_loss,
        }
    }
}

/// The server of our own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedSettings {
    /// The nats-server binary. Not set: `PATH`, the folder with tools, next to this executable.
    pub binary: Option<PathBuf>,
    /// The folder with tools. Not set: `.tools` in the working directory, then above this executable.
    pub tools_dir: Option<PathBuf>,
    /// The port. Not set: 4222 if it is free, else any.
    pub port: Option<u16>,
    /// The server's soft memory limit (`GOMEMLIMIT`), MiB. Lower costs throughput under bursts.
    pub memory_limit_mib: u64,
    /// The most all streams together may take on disk, bytes.
    pub disk_bytes_max: u64,
    /// The most streams in memory may take, bytes.
    pub memory_store_bytes: u64,
    /// How often files are fsynced, milliseconds; 0 is after every message. A power cut loses at most this much of what was acknowledged.
    pub sync_interval_ms: u64,
    /// The largest message, bytes.
    pub max_payload_bytes: u32,
    /// Size at which the server's log file is rotated, bytes.
    pub log_bytes: u64,
    /// How many old log files are kept.
    pub log_files: u32,
    /// How long the start may take, milliseconds (recovery of a large store).
    pub start_timeout_ms: u64,
    /// How long an orderly stop may take before the server is killed, milliseconds.
    pub stop_timeout_ms: u64,
}

impl Default for EmbeddedSettings {
    fn default() -> Self {
        let EmbeddedConfig {
            data_dir: _,
            binary,
            tools_dir,
            port,
            memory_limit_mib,
            disk_bytes_max,
            memory_store_bytes,
            sync_interval_ms,
            max_payload_bytes,
            log_bytes,
            log_files,
            start_timeout_ms,
            stop_timeout_ms,
        } = EmbeddedConfig::default();
        EmbeddedSettings {
            binary,
            tools_dir,
            port,
            memory_limit_mib,
            disk_bytes_max,
            memory_store_bytes,
            sync_interval_ms,
            max_payload_bytes,
            log_bytes,
            log_files,
            start_timeout_ms,
            stop_timeout_ms,
        }
    }
}

impl EmbeddedSettings {
    /// What the nerves need to run the server in this data directory.
    #[must_use]
    pub fn embedded(&self, data_dir: &Path) -> EmbeddedConfig {
        let settings = self.clone();
        EmbeddedConfig {
            data_dir: data_dir.to_owned(),
            binary: settings.binary,
            tools_dir: settings.tools_dir,
            port: settings.port,
            memory_limit_mib: settings.memory_limit_mib,
            disk_bytes_max: settings.disk_bytes_max,
            memory_store_bytes: settings.memory_store_bytes,
            sync_interval_ms: settings.sync_interval_ms,
            max_payload_bytes: settings.max_payload_bytes,
            log_bytes: settings.log_bytes,
            log_files: settings.log_files,
            start_timeout_ms: settings.start_timeout_ms,
            stop_timeout_ms: settings.stop_timeout_ms,
        }
    }
}

impl NatsConfig {
    /// What the nerves need to connect to `url`. The secret files are read here, except those that the nerves read themselves.
    ///
    /// # Errors
    /// Which file cannot be read, and why.
    pub fn bus(&self, url: &str) -> Result<BusConfig, SecretError> {
        let token = self.token_file.as_deref().map(secret).transpose()?;
        Ok(BusConfig { url: url.to_owned(), token, ..self.base() })
    }

    /// The same for the embedded server, whose address and credentials stand in its `run.json`.
    #[must_use]
    pub fn own_bus(&self, run: &RunInfo) -> BusConfig {
        run.bus_config(&self.base())
    }

    fn base(&self) -> BusConfig {
        let NatsConfig {
            url: _,
            root,
            credentials_file,
            nkey_file,
            user,
            password_file,
            token_file: _,
            callout_dir: _,
            tls: TlsSettings { ca, cert, key, required },
            name,
            connect_timeout_ms,
            request_timeout_ms,
            stream,
            embedded: _,
        } = self.clone();
        BusConfig {
            url: String::new(),
            root,
            credentials_file,
            nkey_file,
            user,
            password: None,
            password_file,
            token: None,
            tls: TlsConfig { ca, cert, key, required },
            name,
            connect_timeout_ms,
            request_timeout_ms,
            stream: stream.limits(),
        }
    }

    /// The streams' limits, as the nerves check them.
    #[must_use]
    pub fn limits(&self) -> StreamConfig {
        self.stream.limits()
    }
}

/// A secret that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the secret in {} cannot be read ({why}); check the path and who may read it", path.display())]
pub struct SecretError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// The first line of a file with a secret in it.
///
/// # Errors
/// The file cannot be read, or is empty.
pub fn secret(path: &Path) -> Result<String, SecretError> {
    let wrong = |why: String| SecretError { path: path.to_owned(), why };
    let file = std::fs::File::open(path).map_err(|why| wrong(why.to_string()))?;
    let mut text = String::new();
    file.take(SECRET_MAX).read_to_string(&mut text).map_err(|why| wrong(why.to_string()))?;
    match text.lines().next().map(str::trim_end) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(wrong("its first line is empty".to_owned())),
    }
}
