//! Settings: default < file < environment < flag.
//!
//! Every setting is a field of [`Config`] with a doc comment; that comment is the manual (`homeostat config explain`) and the
//! field is the only place where a default stands. What a file, a variable or a flag says is kept with its origin, so that an
//! error names where the mistake stands and `config explain` says who decided.
//!
//! | module | what |
//! |---|---|
//! | [`sources`] | files, variables and flags into assignments, each with its origin |
//! | [`schema`] | which settings there are, from the types and their doc comments |
//! | [`check`] | what has the right form and cannot work, judged over all settings |
//! | [`problem`] | what can be wrong with an assignment, all of it at once |
//! | [`show`] | the settings in force, for people and machines, without secrets |
//! | [`database`], [`nats`] | two of the tables |
//!
//! Promises
//! - S-1 A key nobody knows is an error that names where it stands and the nearest key there is; nothing is ignored.
//! - S-2 Secrets come from files (`*_file`) or inside an address; neither is ever printed.
//! - S-3 All mistakes are reported at once, not one a run.

pub mod check;
pub mod database;
pub mod nats;
pub mod problem;
pub mod schema;
pub mod show;
pub mod sources;

pub use database::DatabaseConfig;
pub use nats::NatsConfig;
pub use problem::{ConfigError, Problem};
pub use sources::{Assignment, Origin, Sources};

use crate::roster::ActorSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// All settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the embedded bus, the embedded database and `run.json` live.
    pub data_dir: PathBuf,
    /// The bus: a server of yours, or the embedded one.
    pub nats: NatsConfig,
    /// The database for history: SQLite in the data directory, or a PostgreSQL of yours.
    pub database: DatabaseConfig,
    /// The applications' PostgreSQL, whose planner is asked before an index is advised.
    pub planner: crate::planner::PlannerConfig,
    /// The key that signs alerts and commands, and the keys that are trusted.
    pub signing: crate::signing::SigningConfig,
    /// HTTP: probes, intake, API.
    pub gateway: crate::gateway::GatewayConfig,
    /// Where alerts are sent beside the bus.
    pub delivery: crate::delivery::DeliveryConfig,
    /// How Homeostat itself is watched: logs and traces.
    pub telemetry: crate::telemetry::TelemetryConfig,
    /// What carries the minds: checkpoints, restarts, batches.
    pub shell: crate::shell::ShellConfig,
    /// One table an actor: its mode, its rules' modes, its thresholds.
    #[schemars(with = "std::collections::BTreeMap<String, Value>")]
    pub actors: ActorSettings,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from("homeostat-data"),
            nats: NatsConfig::default(),
            database: DatabaseConfig::default(),
            planner: crate::planner::PlannerConfig::default(),
            signing: crate::signing::SigningConfig::default(),
            gateway: crate::gateway::GatewayConfig::default(),
            delivery: crate::delivery::DeliveryConfig::default(),
            telemetry: crate::telemetry::TelemetryConfig::default(),
            shell: crate::shell::ShellConfig::default(),
            actors: ActorSettings::default(),
        }
    }
}

impl Config {
    /// The files that must be there when the system starts, with the settings that name them.
    #[must_use]
    pub fn named_files(&self) -> Vec<(String, &Path)> {
        let Config { nats, database, signing, gateway, delivery, .. } = self;
        let named = [
            ("nats.credentials_file", &nats.credentials_file),
            ("nats.nkey_file", &nats.nkey_file),
            ("nats.password_file", &nats.password_file),
            ("nats.token_file", &nats.token_file),
            ("nats.callout_dir", &nats.callout_dir),
            ("nats.tls.ca", &nats.tls.ca),
            ("nats.tls.cert", &nats.tls.cert),
            ("nats.tls.key", &nats.tls.key),
            ("database.password_file", &database.password_file),
            ("signing.key_file", &signing.key_file),
            ("gateway.tls.cert", &gateway.tls.cert),
            ("gateway.tls.key", &gateway.tls.key),
            ("gateway.tls.client_ca", &gateway.tls.client_ca),
        ];
        let named = named.into_iter().map(|(key, path)| (key.to_owned(), path));
        let secrets = delivery.webhooks.iter().map(|(name, hook)| (format!("delivery.webhooks.{name}.secret_file"), &hook.secret_file));
        named.chain(secrets).filter_map(|(key, path)| Some((key, path.as_deref()?))).collect()
    }
}

/// The settings in force, and who said what.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What differs from the defaults (or repeats them), in the order in which it was applied.
    pub assignments: Vec<Assignment>,
}

impl Loaded {
    /// Who decided a setting: the last one who said something about it.
    #[must_use]
    pub fn origin(&self, path: &str) -> Origin {
        let covers = |a: &&Assignment| {
            let own = a.path();
            own == path || path.strip_prefix(&own).is_some_and(|rest| rest.starts_with('.'))
        };
        self.assignments.iter().rev().find(covers).map_or(Origin::Default, |a| a.origin.clone())
    }

    /// Lays what somebody changed at run time over what is configured; `actors` are all tables of actors as they are in force.
    pub fn change(&mut self, actors: &ActorSettings) {
        let changes = sources::leaves(&actors.0, &self.config.actors.0);
        for (keys, value) in changes {
            let keys = std::iter::once("actors".to_owned()).chain(keys).collect();
            self.assignments.push(Assignment { keys, value, text: None, origin: Origin::RunTime });
        }
        self.config.actors = actors.clone();
    }

    /// A fault with the place where it stands.
    fn problem(&self, fault: check::Fault) -> Problem {
        let origin = Some(self.origin(&fault.key)).filter(|origin| *origin != Origin::Default);
        Problem { what: format!("`{}`", fault.key), key: fault.key, origin, why: Some(fault.why), hint: Some(fault.hint) }
    }
}

impl Config {
    /// Reads all sources, the later ones over the earlier ones.
    ///
    /// # Errors
    /// Every unknown key, wrong type, unreadable source and setting that cannot work, at once.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let (assignments, mut problems) = sources.read();
        let defaults = serde_json::to_value(Config::default()).map_err(|why| ConfigError::one(Problem::whole(&why.to_string())))?;
        let known = schema::Schema::of_config();
        let mut effective = defaults.clone();
        let mut good = Vec::with_capacity(assignments.len());
        for assignment in assignments {
            match problem::check(&known, &defaults, assignment) {
                Ok(assignment) => {
                    sources::set(&mut effective, &assignment.keys, assignment.value.clone());
                    good.push(assignment);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let config = match Config::from_value(&effective) {
            Ok(config) => config,
            // Each was fine by itself; a word about the whole is needed only when nothing else explains it.
            Err(why) if problems.is_empty() => return Err(ConfigError::one(Problem::whole(&why))),
            Err(_) => return Err(ConfigError { problems }),
        };
        let loaded = Loaded { config, assignments: good };
        problems.extend(check::faults(&loaded.config).into_iter().map(|fault| loaded.problem(fault)));
        if problems.is_empty() { Ok(loaded) } else { Err(ConfigError { problems }) }
    }

    /// The settings of a complete or partial tree; what is absent is the default.
    ///
    /// # Errors
    /// The parser's word.
    pub fn from_value(value: &Value) -> Result<Config, String> {
        let config: Config = serde_json::from_value(value.clone()).map_err(|why| why.to_string())?;
        config.actors.check().map_err(|error| error.to_string())?;
        Ok(config)
    }
}
