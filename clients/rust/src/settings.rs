//! Settings: everything has a default, the environment may say otherwise, and code has the last word.

use crate::discover;
use crate::error::InitError;
use homeostat_schemas::Root;
use homeostat_schemas::event::{INTERVAL_S, SERVICE_MAX};
use homeostat_schemas::signature::Signers;
use std::path::PathBuf;
use std::time::Duration;

/// Where `homeostat up` listens when nothing else is known.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// Largest message, in bytes: what cannot be used is kept aside whole with headers of its own, and must still fit into 1 MiB.
pub(crate) const MESSAGE_MAX: usize = 512 * 1024;

/// How the client works. Made by [`Settings::new`], which reads the environment; every method overrides one thing.
///
/// | variable | what | default |
/// |---|---|---|
/// | `HOMEOSTAT_NATS` | address of the bus, `nats://user:password@host:4222`, several separated by commas | the `homeostat up` of this machine |
/// | `HOMEOSTAT_NATS__USER`, `HOMEOSTAT_NATS__PASSWORD_FILE` | user, and a file whose first line is the password | |
/// | `HOMEOSTAT_NATS__CREDENTIALS_FILE`, `HOMEOSTAT_NATS__NKEY_FILE` | a `.creds` file, a file with an nkey seed | |
/// | `HOMEOSTAT_NATS__TOKEN_FILE` | a file whose first line is a token: an API key, where the server asks Homeostat about them | |
/// | `HOMEOSTAT_NATS__INBOX_PREFIX` | first token of the subjects on which answers come, where a user may not subscribe to `_INBOX` | `_INBOX` |
/// | `HOMEOSTAT_NATS__ROOT` | first tokens of every subject | `homeostat.v1` |
/// | `HOMEOSTAT_DATA_DIR` | where `homeostat up` keeps its `run.json` | `homeostat-data` |
/// | `HOMEOSTAT_CLIENT_INSTANCE` | which replica this is | host name and process id |
/// | `HOMEOSTAT_CLIENT_ZONE` | in which failure domain it runs | none |
/// | `HOMEOSTAT_CLIENT_TRUSTED_SIGNERS` | public keys (`U…`, separated by commas) whose commands are carried out | those of the `homeostat up` of this machine |
/// | `HOMEOSTAT_CLIENT_UNSIGNED_COMMANDS` | `allow` carries out commands that nobody signed, too: for development | they are refused |
/// | `HOMEOSTAT_CLIENT_PARAMS_KEY` | 16 hex characters: replicas with the same key have comparable parameter hashes | random, new for every process |
#[derive(Clone)]
pub struct Settings {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) zone: Option<String>,
    pub(crate) root: String,
    pub(crate) url: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) credentials_file: Option<PathBuf>,
    pub(crate) nkey_file: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) inbox_prefix: Option<String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) params_key: Option<String>,
    pub(crate) queue_events: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) batch_wait: Duration,
    pub(crate) waiting_bytes: usize,
    pub(crate) in_flight: usize,
    pub(crate) ack_timeout: Duration,
    pub(crate) retry_within: Duration,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) sampling: Option<Duration>,
    pub(crate) retire: bool,
    pub(crate) signers: Vec<String>,
    pub(crate) unsigned: bool,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Addresses may hold passwords.
        f.debug_struct("Settings")
            .field("service", &self.service)
            .field("instance", &self.instance)
            .field("zone", &self.zone)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// Where the bus is and how to get in, as found at one moment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

impl Settings {
    /// The settings of a service (1 to 64 bytes, any name) as the environment has them.
    #[must_use]
    pub fn new(service: impl Into<String>) -> Settings {
        Settings::with_variables(service.into(), |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    pub(crate) fn with_variables(service: String, variable: impl Fn(&str) -> Option<String>) -> Settings {
        let path = |name: &str| variable(name).map(PathBuf::from);
        Settings {
            service,
            instance: variable("HOMEOSTAT_CLIENT_INSTANCE").unwrap_or_else(default_instance),
            zone: variable("HOMEOSTAT_CLIENT_ZONE"),
            root: variable("HOMEOSTAT_NATS__ROOT").unwrap_or_else(|| homeostat_schemas::subject::DEFAULT_ROOT.to_owned()),
            url: variable("HOMEOSTAT_NATS").or_else(|| variable("HOMEOSTAT_NATS__URL")),
            user: variable("HOMEOSTAT_NATS__USER"),
            password: variable("HOMEOSTAT_NATS__PASSWORD"),
            password_file: path("HOMEOSTAT_NATS__PASSWORD_FILE"),
            credentials_file: path("HOMEOSTAT_NATS__CREDENTIALS_FILE"),
            nkey_file: path("HOMEOSTAT_NATS__NKEY_FILE"),
            token_file: path("HOMEOSTAT_NATS__TOKEN_FILE"),
            ca_file: path("HOMEOSTAT_NATS__TLS__CA"),
            client_certificate: path("HOMEOSTAT_NATS__TLS__CERT").zip(path("HOMEOSTAT_NATS__TLS__KEY")),
            inbox_prefix: variable("HOMEOSTAT_NATS__INBOX_PREFIX"),
            data_dir: path("HOMEOSTAT_DATA_DIR").unwrap_or_else(|| PathBuf::from("homeostat-data")),
            params_key: variable("HOMEOSTAT_CLIENT_PARAMS_KEY"),
            queue_events: 32_768,
            queue_bytes: 32 << 20,
            batch_bytes: 128 << 10,
            batch_wait: Duration::from_millis(50),
            waiting_bytes: 32 << 20,
            in_flight: 16,
            ack_timeout: Duration::from_secs(5),
            retry_within: Duration::from_secs(100),
            heartbeat: Some(Duration::from_secs(10)),
            sampling: Some(Duration::from_secs(10)),
            retire: true,
            signers: list(variable("HOMEOSTAT_CLIENT_TRUSTED_SIGNERS")),
            unsigned: variable("HOMEOSTAT_CLIENT_UNSIGNED_COMMANDS").is_some_and(|word| word == "allow"),
        }
    }

    /// The address of the bus; several separated by commas. `nats://user:password@host` and `tls://host` are understood.
    #[must_use]
    pub fn url(self, url: impl Into<String>) -> Settings {
        Settings { url: Some(url.into()), ..self }
    }

    /// User and password.
    #[must_use]
    pub fn user_and_password(self, user: impl Into<String>, password: impl Into<String>) -> Settings {
        Settings { user: Some(user.into()), password: Some(password.into()), password_file: None, ..self }
    }

    /// A `.creds` file (JWT and seed).
    #[must_use]
    pub fn credentials_file(self, file: impl Into<PathBuf>) -> Settings {
        Settings { credentials_file: Some(file.into()), ..self }
    }

    /// A file with an nkey seed.
    #[must_use]
    pub fn nkey_file(self, file: impl Into<PathBuf>) -> Settings {
        Settings { nkey_file: Some(file.into()), ..self }
    }

    /// A file whose first line is a token: an API key of this service, where the server asks Homeostat about them. It is read again for
    /// every new connection, so that another version of the key is taken when the one before has ended.
    #[must_use]
    pub fn token_file(self, file: impl Into<PathBuf>) -> Settings {
        Settings { token_file: Some(file.into()), ..self }
    }

    /// Certificate authority of the server, PEM. Default: the system's.
    #[must_use]
    pub fn ca_file(self, file: impl Into<PathBuf>) -> Settings {
        Settings { ca_file: Some(file.into()), ..self }
    }

    /// Certificate and key of this client, PEM.
    #[must_use]
    pub fn client_certificate(self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Settings {
        Settings { client_certificate: Some((certificate.into(), key.into())), ..self }
    }

    /// First token of the subjects on which acknowledgements come, where a user may not subscribe to `_INBOX`.
    #[must_use]
    pub fn inbox_prefix(self, prefix: impl Into<String>) -> Settings {
        Settings { inbox_prefix: Some(prefix.into()), ..self }
    }

    /// Public keys (`U…`, as `homeostat up` prints its own) whose commands are carried out; those of others are refused. While a key
    /// is being replaced, name the old one and the new one.
    ///
    /// Default: the keys of the `homeostat up` of this machine. With an address of the bus, whoever answers there, if it is on a
    /// loopback address, and nobody otherwise.
    #[must_use]
    pub fn trusted_signers<S: Into<String>>(self, signers: impl IntoIterator<Item = S>) -> Settings {
        Settings { signers: signers.into_iter().map(Into::into).collect(), ..self }
    }

    /// Whether commands that nobody signed are carried out, too (default no). For development: whoever may publish on the subject of
    /// a command then decides what this service does.
    #[must_use]
    pub fn allow_unsigned_commands(self, allow: bool) -> Settings {
        Settings { unsigned: allow, ..self }
    }

    /// First tokens of every subject. Default `homeostat.v1`.
    #[must_use]
    pub fn root(self, root: impl Into<String>) -> Settings {
        Settings { root: root.into(), ..self }
    }

    /// Where `homeostat up` keeps its `run.json`, for when no address is set.
    #[must_use]
    pub fn data_dir(self, dir: impl Into<PathBuf>) -> Settings {
        Settings { data_dir: dir.into(), ..self }
    }

    /// Which replica this is. Default: host name and process id. No two that run at the same time may have the same.
    #[must_use]
    pub fn instance(self, instance: impl Into<String>) -> Settings {
        Settings { instance: instance.into(), ..self }
    }

    /// In which failure domain this replica runs.
    #[must_use]
    pub fn zone(self, zone: impl Into<String>) -> Settings {
        Settings { zone: Some(zone.into()), ..self }
    }

    /// Key of the parameter hashes, 16 hex characters. Replicas that share it have comparable hashes; whoever knows it can
    /// find out small parameters by trying.
    #[must_use]
    pub fn params_key(self, key: impl Into<String>) -> Settings {
        Settings { params_key: Some(key.into()), ..self }
    }

    /// How much may wait to be packed: events (default 32,768) and bytes (default 32 MiB). What comes beyond is dropped and
    /// counted.
    #[must_use]
    pub fn queue(self, events: usize, bytes: usize) -> Settings {
        Settings { queue_events: events, queue_bytes: bytes, ..self }
    }

    /// A message is sent when it has so many bytes (default 128 KiB, at most 512 KiB) or its first event is so old (default 50 ms).
    #[must_use]
    pub fn batch(self, bytes: usize, wait: Duration) -> Settings {
        Settings { batch_bytes: bytes, batch_wait: wait, ..self }
    }

    /// How many bytes of packed messages may wait for the bus (default 32 MiB). When it is away for longer than that lasts,
    /// the oldest are dropped first, and counted.
    #[must_use]
    pub fn waiting(self, bytes: usize) -> Settings {
        Settings { waiting_bytes: bytes, ..self }
    }

    /// How long to wait for an acknowledgement before the message is sent again (default 5 s), and for how long after its
    /// first try that may go on while nobody knows whether it was stored (default 100 s). The latter must be shorter than the
    /// stream's window for duplicates (`nats.stream.duplicate_window_s`, 120 s), or a message might be stored twice.
    #[must_use]
    pub fn retry(self, ack_timeout: Duration, within: Duration) -> Settings {
        Settings { ack_timeout, retry_within: within, ..self }
    }

    /// How often a heartbeat is sent (default 10 s; Homeostat calls a replica silent after three of them). `None` sends none.
    #[must_use]
    pub fn heartbeat(self, every: impl Into<Option<Duration>>) -> Settings {
        Settings { heartbeat: every.into(), ..self }
    }

    /// How often memory, CPU, pools and caches are reported (default 10 s). `None` leaves it to the application.
    #[must_use]
    pub fn sampling(self, every: impl Into<Option<Duration>>) -> Settings {
        Settings { sampling: every.into(), ..self }
    }

    /// Whether [`Client::shutdown`](crate::Client::shutdown) says goodbye, so that nobody waits for this replica (default yes).
    #[must_use]
    pub fn retire_on_shutdown(self, retire: bool) -> Settings {
        Settings { retire, ..self }
    }

    /// Checks everything that can be checked without the bus.
    pub(crate) fn check(&self) -> Result<Checked, InitError> {
        let bad = |setting, reason: &str| Err(InitError::Setting { setting, reason: reason.to_owned() });
        if !(1..=SERVICE_MAX).contains(&self.service.len()) {
            return bad("service", "a name has 1 to 64 bytes");
        }
        if self.instance.is_empty() || self.instance.len() > 256 {
            return bad("instance", "a name has 1 to 256 bytes");
        }
        if self.queue_events == 0 || self.queue_bytes == 0 || self.waiting_bytes == 0 {
            return bad("queue", "must be more than zero");
        }
        if self.batch_bytes == 0 || self.batch_bytes > MESSAGE_MAX || self.batch_wait.is_zero() || self.batch_wait > Duration::from_secs(60)
        {
            return bad("batch", "1 byte to 512 KiB, and more than zero to 60 s");
        }
        if self.ack_timeout.is_zero() || self.retry_within < self.ack_timeout {
            return bad("retry", "more than zero, and at least as long altogether as for one try");
        }
        if self.heartbeat.is_some_and(|every| !INTERVAL_S.contains(&every.as_secs_f64())) {
            return bad("heartbeat", "0.05 s to seven days");
        }
        if self.sampling.is_some_and(|every| every < Duration::from_millis(50)) {
            return bad("sampling", "at least 50 ms");
        }
        if self.user.is_none() && (self.password.is_some() || self.password_file.is_some()) {
            return bad("user", "a password needs a user");
        }
        if let Some(prefix) = &self.inbox_prefix
            && (prefix.is_empty() || prefix.bytes().any(|b| b <= b' ' || b == b'>' || b == b'*' || b == 0x7f))
        {
            return bad("inbox_prefix", "plain subject tokens");
        }
        if let Some(url) = &self.url {
            for address in url.split(',') {
                let parsed = address.trim().parse::<async_nats::ServerAddr>();
                // The address itself may hold a password and is not repeated.
                parsed.map_err(|_| InitError::Setting { setting: "url", reason: "write nats://host:port".to_owned() })?;
            }
        }
        let root = Root::try_from(self.root.clone()).map_err(|e| InitError::Setting { setting: "root", reason: e.to_string() })?;
        let key = match &self.params_key {
            Some(text) if text.len() == 16 => u64::from_str_radix(text, 16).ok(),
            Some(_) => None,
            None => Some(getrandom::u64()?),
        };
        let Some(params_key) = key else { return bad("params_key", "16 hex characters") };
        let signers = Signers::new(self.signers.iter().map(String::as_str));
        let signers = signers.map_err(|e| InitError::Setting { setting: "trusted_signers", reason: e.to_string() })?;
        Ok(Checked { root, params_key, signers })
    }

    /// Where the bus is now. Without an address it is looked for anew at every try: the application may be older than it.
    pub(crate) fn target(&self) -> Target {
        match &self.url {
            Some(url) => Target { url: url.clone(), user: self.user.clone(), password: self.password.clone() },
            None => match discover::running(&self.data_dir) {
                Some(run) => Target { url: run.url, user: Some(run.user), password: Some(run.password) },
                None => Target { url: DEFAULT_URL.to_owned(), user: self.user.clone(), password: self.password.clone() },
            },
        }
    }
}

/// What [`Settings::check`] made of them.
pub(crate) struct Checked {
    pub(crate) root: Root,
    pub(crate) params_key: u64,
    pub(crate) signers: Signers,
}

/// What stands between commas.
fn list(text: Option<String>) -> Vec<String> {
    text.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// Host name and process id: containers have the one, processes beside each other the other.
fn default_instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let host: String = host.as_deref().map(str::trim).filter(|name| !name.is_empty()).unwrap_or("host").chars().take(200).collect();
    format!("{host}-{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Settings {
        Settings::with_variables("shop".to_owned(), |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_is_read_and_code_has_the_last_word() {
        let settings = with(&[("HOMEOSTAT_NATS", "nats://me:secret@bus:1"), ("HOMEOSTAT_CLIENT_ZONE", "a")]);
        assert_eq!(settings.target().url, "nats://me:secret@bus:1");
        assert_eq!(settings.zone.as_deref(), Some("a"));
        assert!(!format!("{settings:?}").contains("secret"));
        assert_eq!(settings.url("nats://other:2").target().url, "nats://other:2");
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_name() {
        let named = |settings: Settings| match settings.check() {
            Err(InitError::Setting { setting, .. }) => setting,
            _ => "",
        };
        assert_eq!(named(with(&[])), "");
        assert_eq!(named(Settings::with_variables(String::new(), |_| None)), "service");
        assert_eq!(named(Settings::with_variables("x".repeat(65), |_| None)), "service");
        assert_eq!(named(with(&[]).root("a b")), "root");
        assert_eq!(named(with(&[]).params_key("xyz")), "params_key");
        assert_eq!(named(with(&[]).batch(MESSAGE_MAX + 1, Duration::from_millis(1))), "batch");
        assert_eq!(named(with(&[]).heartbeat(Duration::from_millis(1))), "heartbeat");
        assert_eq!(named(with(&[]).url("nats://:no port")), "url");
        assert_eq!(named(with(&[("HOMEOSTAT_NATS__PASSWORD", "x")])), "user");
        assert_eq!(named(with(&[("HOMEOSTAT_CLIENT_TRUSTED_SIGNERS", "UABC, nobody")])), "trusted_signers");
        assert_eq!(named(with(&[("HOMEOSTAT_NATS__INBOX_PREFIX", "_INBOX.>")])), "inbox_prefix");
    }
}
