//! The command line: one file a command, one definition for help, man page and completions.
//!
//! Exit codes: 0 fine, 1 failed, 2 usage, 3 found something (only with `--check`). What a command says goes to standard output,
//! what is said about it (progress, errors, logs) to standard error. An error is one chain that ends in what to do. A reader
//! that goes away (`| head`) ends a command quietly.

pub mod anomalies;
pub mod args;
pub mod audit;
pub mod bench;
pub mod breaker;
pub mod bus;
pub mod cases;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod drift;
pub mod error;
pub mod explain;
pub mod export;
pub mod forecast;
pub mod health;
pub mod healthcheck;
pub mod heap;
pub mod keys;
pub mod leak;
pub mod nats;
mod orders;
pub mod out;
pub mod publish;
pub mod query;
pub mod record;
pub mod recovery;
pub mod replay;
pub mod replaying;
pub mod sealed;
pub mod series;
pub mod silence;
pub mod simulate;
pub mod status;
pub mod tail;
pub mod up;
pub mod verify;

pub use args::{Cli, Command};
pub use error::CliError;
pub use out::Out;

use crate::config::{Config, ConfigError, Loaded, Origin, Sources};
use crate::telemetry;
use clap::Parser as _;
use std::process::ExitCode;

/// How a command ended, when it did not fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Finish {
    /// All is well.
    #[default]
    Fine,
    /// Part of the work failed, and everything about it has been said.
    Failed,
    /// `--check` found something.
    Found,
}

impl From<Finish> for ExitCode {
    fn from(finish: Finish) -> ExitCode {
        match finish {
            Finish::Fine => ExitCode::SUCCESS,
            Finish::Failed => ExitCode::FAILURE,
            Finish::Found => ExitCode::from(3),
        }
    }
}

/// What every command is given.
pub struct Context {
    /// The settings in force, and who said what.
    pub loaded: Loaded,
    /// Were settings named on the command line, by `--config` or `--set`?
    pub named: bool,
    /// Is the answer for a machine?
    pub json: bool,
    /// Where the answer goes.
    pub out: Out,
}

impl Context {
    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(finish) => finish.into(),
        // Whoever was reading has seen enough.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            out::complain(&error.chain());
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<Finish, CliError> {
    // These need no settings, and must work where the settings are broken.
    let mut out = Out::stdout();
    let cli = match cli {
        Cli { command: Command::Completions(args), .. } => return completions::completions(&mut out, &args),
        Cli { command: Command::Man, .. } => return completions::man(&mut out),
        Cli { command: Command::Config(args::ConfigArgs { command: args::ConfigCommand::Check { file } }), global } => {
            return config::check(&mut out, &file, global.json);
        }
        cli => cli,
    };
    with_runtime(cli.global, cli.command, out)
}

fn with_runtime(global: args::Global, command: Command, out: Out) -> Result<Finish, CliError> {
    let json = global.json;
    let named = global.config.is_some() || !global.set.is_empty();
    let loaded = Config::load(&sources(global, &command)).map_err(|error| unusable(&error))?;
    let mut logs = loaded.config.telemetry.clone();
    if !matches!(command, Command::Up(_)) && loaded.origin("telemetry.log") == Origin::Default {
        // The answer is what counts; a log beside it is noise unless somebody asked for it.
        "warn".clone_into(&mut logs.log);
    }
    telemetry::logs(&logs)?;
    let context = Context { loaded, named, json, out };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(16).enable_all().build();
    let runtime = runtime.map_err(|why| CliError::new("the asynchronous runtime cannot start").because(why))?;
    let finish = runtime.block_on(dispatch(context, command));
    // A read of standard input that nobody waits for any more must not keep the process.
    runtime.shutdown_background();
    finish
}

/// Settings of this run: the file, the environment, `--set`, and the flags that are short for a setting.
fn sources(global: args::Global, command: &Command) -> Sources {
    let mut flags = global.set;
    let mut short = |name: &str, key: &str, value: Option<String>| {
        if let Some(value) = value {
            flags.push(crate::config::sources::Flag { name: name.to_owned(), key: key.to_owned(), value });
        }
    };
    short("--nats", "nats.url", global.nats);
    short("--database", "database.url", global.database);
    short("--data-dir", "data_dir", global.data_dir);
    if let Command::Up(up) = command {
        short("--listen", "gateway.listen", up.listen.clone());
    }
    Sources::of_process(global.config, flags)
}

async fn dispatch(mut context: Context, command: Command) -> Result<Finish, CliError> {
    let finish = match command {
        Command::Up(_) => return up::run(context.loaded.config, context.json).await.map(|()| Finish::Fine).map_err(CliError::from),
        Command::Status => status::run(&mut context).await,
        Command::Alerts(args) => status::alerts(&mut context, &args).await,
        Command::Publish(args) => publish::run(&mut context, &args).await,
        Command::Tail(args) => tail::run(&mut context, &args).await,
        Command::Record(args) => record::run(&mut context, &args).await,
        Command::Replay(args) => replaying::run(&mut context, args).await,
        Command::Explain(args) => explain::run(&mut context, &args).await,
        Command::Verify(args) => verify::run(&mut context, &args).await,
        Command::Query(args) => query::run(&mut context, &args).await,
        Command::Health(args) => health::run(&mut context, &args),
        Command::Anomalies(args) => anomalies::run(&mut context, &args),
        Command::Forecast(args) => forecast::run(&mut context, &args),
        Command::Breaker(args) => breaker::run(&mut context, &args),
        Command::Simulate(args) => simulate::run(&mut context, &args),
        Command::Drift(args) => drift::run(&mut context, &args).await,
        Command::Recovery(args) => recovery::run(&mut context, &args).await,
        Command::Audit(args) => audit::run(&mut context, &args).await,
        Command::Silence(args) => silence::run(&mut context, &args).await,
        Command::Acknowledge(args) => silence::acknowledge(&mut context, &args).await,
        Command::Keys(args) => keys::run(&mut context, args).await,
        Command::Leak(args) => leak::run(&mut context, &args),
        Command::Heap(args) => heap::run(&mut context, &args),
        Command::Nats(args) => nats::run(&mut context, &args).await,
        Command::Bench(args) => bench::run(&mut context, &args).await,
        Command::Export(args) => export::run(&mut context, &args),
        Command::Config(args) => config::run(&mut context, &args).await,
        Command::Doctor => doctor::run(&mut context).await,
        Command::Healthcheck(args) => healthcheck::run(&mut context, &args).await,
        Command::Completions(args) => completions::completions(&mut context.out, &args),
        Command::Man => completions::man(&mut context.out),
    }?;
    context.out.flush()?;
    Ok(finish)
}

/// Everything that is wrong with the settings, and where to read about them.
pub(crate) fn unusable(error: &ConfigError) -> CliError {
    CliError::new(error.to_string()).advise("`homeostat config explain` lists every setting and what it means")
}
