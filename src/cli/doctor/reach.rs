//! What can be reached: the database, the bus and its log, the gateway; and how far the log's limits go at the present rate.

use super::{Finding, bytes, hours};
use crate::callout::{Callout, probe};
use crate::cli::args::HealthcheckArgs;
use crate::cli::{CliError, Context, bus, healthcheck};
use crate::clock::now_ms;
use crate::config::Config;
use crate::store::Store;
use homeostat_nats::{Bus, Log};
use homeostat_schemas::{Root, Subject};
use std::time::Duration;

/// How far the clocks of bus and machine may be apart.
const SKEW_MS: u64 = 2_000;
/// Without a tick for so long, nobody moves log time.
const TICK_MS: u64 = 5_000;
/// A log that holds less than this is too short to look back.
const HOURS_MIN: f64 = 24.0;
/// A rate over less than this says nothing.
const SPAN_MIN_MS: u64 = 60_000;

/// Does a system of ours run in the data directory?
pub(super) fn is_running(config: &Config) -> bool {
    homeostat_nats::find_running(&config.data_dir).is_some() || config.data_dir.join(crate::cli::up::FILE).exists()
}

/// The database.
pub(super) async fn database(config: &Config) -> Finding {
    const NAME: &str = "database";
    if config.database.url.is_none() && !config.data_dir.join(crate::store::SQLITE_FILE).exists() {
        return Finding::ok(NAME, "SQLite in the data directory, made by `homeostat up`");
    }
    let store = match Store::connect(&config.database, &config.data_dir).await {
        Ok(store) => store,
        Err(error) => return Finding::fail(NAME, error.to_string(), "see the settings of `[database]`"),
    };
    let finding = match store.ping().await {
        Ok(took) => Finding::ok(NAME, format!("{} answers in {} ms", store.public_url(), took.as_millis())),
        Err(error) => Finding::fail(NAME, error.to_string(), "Homeostat works without it, but keeps no history"),
    };
    store.close().await;
    finding
}

/// What a finding about the connection to the bus is called.
pub(super) const BUS: &str = "bus";

/// The bus, the log on it, the clock, and the limits.
pub(super) async fn bus(context: &Context) -> Vec<Finding> {
    const NAME: &str = BUS;
    let config = match bus::find(context.config()) {
        Ok((config, _)) => config,
        Err(error) => return vec![Finding::warn(NAME, "not running", error.chain())],
    };
    let url = homeostat_nats::connect::public_url(&config.url);
    let connection = match Bus::connect(&config).await {
        Ok(connection) => connection,
        Err(error) => {
            return vec![Finding::fail(NAME, error.to_string(), "see whether nats-server runs there, and the credentials in `[nats]`")];
        }
    };
    let mut findings = Vec::new();
    let version = connection.client().server_info().version;
    match connection.client().flush().await {
        Ok(()) => findings.push(Finding::ok(NAME, format!("{url}, nats-server {version}"))),
        Err(error) => findings.push(Finding::fail(NAME, error.to_string(), "see whether nats-server is well")),
    }
    match connection.open_log().await {
        Ok(log) => match look(context, &log).await {
            Ok(more) => findings.extend(more),
            Err(error) => findings.push(Finding::fail("log", error.chain(), "see whether JetStream is enabled and well")),
        },
        Err(error) => findings.push(Finding::warn("log", error.to_string(), "`homeostat up` with the same --nats makes it")),
    }
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the connection did not end in order");
    }
    findings
}

/// Does the server ask about API keys, where the settings say so? Nothing where they do not.
pub(super) async fn callout(config: &Config) -> Option<Finding> {
    const NAME: &str = "callout";
    const ADVICE: &str = "run nats-server with what `homeostat nats render --callout` wrote into the directory of `nats.callout_dir`";
    let callout = match Callout::open(&config.nats) {
        Ok(callout) => callout?,
        Err(error) => return Some(Finding::fail(NAME, error.to_string(), ADVICE)),
    };
    Some(match probe::server_asks(&callout).await {
        Ok(true) => match callout.connections().present().await {
            Ok(servers) if !servers.is_empty() => {
                Finding::ok(NAME, format!("the server asks about API keys; connections can be closed on {}", servers.join(", ")))
            }
            Ok(_) => Finding::fail(NAME, "no server answers its system account: connections of keys that end cannot be closed", ADVICE),
            Err(error) => Finding::fail(NAME, format!("connections of keys that end cannot be closed: {error}"), ADVICE),
        },
        Ok(false) => Finding::fail(NAME, "the server does not ask about API keys", ADVICE),
        Err(error) => Finding::fail(NAME, error.to_string(), ADVICE),
    })
}

async fn look(context: &Context, log: &Log) -> Result<Vec<Finding>, CliError> {
    let root = bus::root(context.config())?;
    let bounds = log.bounds().await?;
    let archive = log.archive_bounds().await?;
    let seen =
        format!("{} messages, {}; archive {} messages, {}", bounds.messages, bytes(bounds.bytes), archive.messages, bytes(archive.bytes));
    let mut findings = vec![Finding::ok("log", seen)];
    findings.push(tick(log, &root).await?);
    let first = log.get(bounds.first).await?;
    let last = log.get(bounds.last).await?;
    if let (Some(first), Some(last)) = (first, last) {
        findings.push(reach(context.config(), bounds.bytes, last.at_ms.saturating_sub(first.at_ms)));
    }
    Ok(findings)
}

/// Does log time move, and is it this machine's?
async fn tick(log: &Log, root: &Root) -> Result<Finding, CliError> {
    const NAME: &str = "clock";
    let Some(tick) = log.last_on(&root.subject(&Subject::Tick)).await? else {
        return Ok(Finding::warn(NAME, "log time has never moved", "start `homeostat up`"));
    };
    let now = now_ms();
    Ok(if tick.at_ms > now + SKEW_MS {
        let ahead = tick.at_ms - now;
        Finding::warn(NAME, format!("the bus is {ahead} ms ahead of this machine"), "let NTP set both clocks")
    } else if now.saturating_sub(tick.at_ms) > TICK_MS {
        let since = Duration::from_millis(now - tick.at_ms).as_secs();
        Finding::warn(
            NAME,
            format!("log time stands still since {since} s"),
            "see whether `homeostat up` runs; if it does, the clocks differ",
        )
    } else {
        Finding::ok(NAME, "log time moves, and agrees with this machine")
    })
}

/// How far back the log will reach at the rate of what it holds now.
fn reach(config: &Config, held: u64, span_ms: u64) -> Finding {
    const NAME: &str = "limits";
    let stream = &config.nats.stream;
    let age = stream.max_age_s as f64 / 3_600.0;
    if span_ms < SPAN_MIN_MS {
        return Finding::ok(
            NAME,
            format!("the log holds {} or {}, whichever is less; too young to say which", bytes(stream.max_bytes), hours(age)),
        );
    }
    let per_hour = held as f64 / span_ms as f64 * 3_600_000.0;
    let by_size = stream.max_bytes as f64 / per_hour.max(1.0);
    let kept = by_size.min(age);
    let per_hour = if per_hour.is_finite() && per_hour >= 0.0 { per_hour as u64 } else { 0 };
    let seen = format!(
        "at {} an hour the log reaches {} back (limits: {}, {})",
        bytes(per_hour),
        hours(kept),
        bytes(stream.max_bytes),
        hours(age)
    );
    if kept < HOURS_MIN { Finding::warn(NAME, seen, "raise `nats.stream.max_bytes`") } else { Finding::ok(NAME, seen) }
}

/// The gateway of the running system.
pub(super) async fn gateway(config: &Config, running: bool) -> Finding {
    const NAME: &str = "gateway";
    if !running {
        return Finding::warn(NAME, "not running", "start it with `homeostat up`");
    }
    let url = format!("{}/readyz", healthcheck::gateway(config));
    let args = HealthcheckArgs { url: Some(url.clone()), timeout_ms: 3_000 };
    match healthcheck::ask(&args, config).await {
        Ok((_, status)) if (200..300).contains(&status) => Finding::ok(NAME, format!("{url} is ready")),
        Ok((_, status)) => Finding::fail(NAME, format!("{url} says {status}"), format!("{url}?verbose says what is not ready")),
        Err(error) => Finding::fail(NAME, error.chain(), "see the log of `homeostat up`"),
    }
}
