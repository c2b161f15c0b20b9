//! Settings that have the right form and yet cannot work: what `up` would refuse, said by `config check` as well.
//!
//! A setting is judged here with all others, after all sources have been read: an address beyond loopback is a mistake or not
//! depending on another setting. Nothing is looked up and nothing is opened: a file of settings is judged the same on any machine.

use super::Config;
use crate::gateway::GatewayConfig;
use homeostat_nats::BusError;
use homeostat_nats::async_nats::ServerAddr;
use homeostat_schemas::Root;
use homeostat_schemas::signature::Signers;
use serde_json::Value;

/// One setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The setting, dotted.
    pub key: String,
    /// Why it cannot work.
    pub why: String,
    /// What to write instead.
    pub hint: String,
}

/// Settings that are a share of something: 0 to 1.
const SHARES: &[&str] = &[
    "telemetry.sample_ratio",
    "actors.query.resolve_ratio",
    "actors.query.advice.cache_max_distinct_ratio",
    "actors.query.advice.effect_min_gain",
    "actors.query.cache.cold_ratio",
    "actors.query.cache.warm_ratio",
    "actors.query.cache.goal_ratio",
    "actors.health.error_rate",
    "actors.health.error_rate_clear",
    "actors.health.memory",
    "actors.health.pressure_memory",
    "actors.health.pressure_cpu",
    "actors.health.pressure_io",
    "actors.health.throttled",
    "actors.health.pool",
    "actors.recovery.blast_radius",
    "actors.recovery.brake_share",
];

/// Settings with which nothing would ever be done in time, or nothing at all, if they were 0.
const NOT_ZERO: &[&str] = &[
    "gateway.head_deadline_ms",
    "gateway.body_deadline_ms",
    "gateway.write_deadline_ms",
    "gateway.request_deadline_ms",
    "gateway.store_deadline_ms",
    "gateway.api_per_minute",
    "gateway.key_per_minute",
    "gateway.intake_mb_per_s",
    "gateway.api_max",
    "gateway.intake_max",
    "gateway.intake_memory_mb",
    "nats.connect_timeout_ms",
    "nats.request_timeout_ms",
    "nats.embedded.start_timeout_ms",
    "shell.step_deadline_s",
    "shell.stop_deadline_s",
    "shell.lease_renew_ms",
    "shell.lease_patience_ms",
    "actors.query.advice.verify_timeout_ms",
    "actors.health.probe_interval_ms",
    "actors.health.probe_fail_ms",
    "actors.health.stale_ms",
];

/// Everything that cannot work, in the order of the tables.
#[must_use]
pub fn faults(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    nats(config, &mut faults);
    signing(config, &mut faults);
    database(config, &mut faults);
    planner(config, &mut faults);
    gateway(&config.gateway, &mut faults);
    delivery(config, &mut faults);
    telemetry(config, &mut faults);
    shell(config, &mut faults);
    numbers(config, &mut faults);
    faults
}

fn fault(faults: &mut Vec<Fault>, key: &str, why: impl Into<String>, hint: impl Into<String>) {
    faults.push(Fault { key: key.to_owned(), why: why.into(), hint: hint.into() });
}

fn nats(config: &Config, faults: &mut Vec<Fault>) {
    let nats = &config.nats;
    for address in nats.url.iter().flat_map(|url| url.split(',')) {
        // The parser's word may quote a password.
        if address.trim().is_empty() || address.trim().parse::<ServerAddr>().is_err() {
            fault(faults, "nats.url", "it is no address of a NATS server", "write nats://host:port or tls://host:port");
            break;
        }
    }
    if let Err(error) = Root::try_from(nats.root.clone()) {
        fault(faults, "nats.root", error.to_string(), "write a word and the schema version, such as homeostat.v1");
    }
    if nats.tls.cert.is_some() != nats.tls.key.is_some() {
        fault(faults, "nats.tls.cert", "`cert` and `key` go together", "set both or neither");
    }
    if nats.password_file.is_some() && nats.user.is_none() {
        fault(faults, "nats.password_file", "a password needs a user", "set `nats.user`, too");
    }
    if nats.callout_dir.is_some() && nats.url.is_none() {
        fault(
            faults,
            "nats.callout_dir",
            "the embedded server asks nobody about keys",
            "set `nats.url`, the server that runs with what was rendered",
        );
    }
    if let Err(error) = nats.limits().check() {
        match error {
            BusError::Config { setting, reason } => fault(faults, &format!("nats.{setting}"), "it is out of bounds", reason),
            other => fault(faults, "nats.stream", other.to_string(), "see `homeostat config explain nats.stream`"),
        }
    }
}

fn signing(config: &Config, faults: &mut Vec<Fault>) {
    if let Err(error) = Signers::new(config.signing.trusted.iter().map(String::as_str)) {
        fault(faults, "signing.trusted", error.to_string(), "write the public keys that `homeostat up` prints");
    }
}

fn database(config: &Config, faults: &mut Vec<Fault>) {
    let Some(url) = &config.database.url else { return };
    let sqlite = url.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    let good = match sqlite {
        Some(path) => !path.is_empty() && !path.contains(":memory:"),
        None => url.starts_with("postgres://") || url.starts_with("postgresql://"),
    };
    if !good {
        fault(faults, "database.url", "it is no address of a database", "write postgres://user@host/name or sqlite:path");
    }
}

fn planner(config: &Config, faults: &mut Vec<Fault>) {
    let Some(url) = &config.planner.url else { return };
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        fault(faults, "planner.url", "it is no address of a PostgreSQL", "write postgres://user@host/name");
    }
}

fn gateway(gateway: &GatewayConfig, faults: &mut Vec<Fault>) {
    if let Err(error) = gateway.check() {
        // The error names the setting itself; here it stands before.
        let why = error.to_string();
        let (key, why) = why.split_once(": ").filter(|(key, _)| key.starts_with("gateway.")).unwrap_or(("gateway.listen", &why));
        let (why, hint) = why.split_once("; ").unwrap_or((why, "write for example 127.0.0.1:8080"));
        fault(faults, key, why, hint);
    }
}

fn delivery(config: &Config, faults: &mut Vec<Fault>) {
    let http = |url: &str| url.starts_with("http://") || url.starts_with("https://");
    if !config.delivery.alertmanager.urls.iter().all(|url| http(url)) {
        fault(faults, "delivery.alertmanager.urls", "one of them is no address", "write http://host:9093");
    }
    for (name, webhook) in &config.delivery.webhooks {
        if !http(&webhook.url) {
            fault(faults, &format!("delivery.webhooks.{name}.url"), "it is no address", "write https://host/path");
        }
    }
}

fn telemetry(config: &Config, faults: &mut Vec<Fault>) {
    let telemetry = &config.telemetry;
    if let Err(error) = crate::telemetry::filter(&telemetry.log) {
        fault(faults, "telemetry.log", error.to_string(), "write a level such as info, or filters such as homeostat=debug,async_nats=warn");
    }
    let http = |endpoint: &&String| endpoint.is_empty() || endpoint.starts_with("http://") || endpoint.starts_with("https://");
    if telemetry.otlp_endpoint.as_ref().is_some_and(|endpoint| !http(&endpoint)) {
        fault(faults, "telemetry.otlp_endpoint", "it is no address of an OTLP receiver", "write http://host:4318");
    }
}

fn shell(config: &Config, faults: &mut Vec<Fault>) {
    let shell = &config.shell;
    if shell.lease_patience_ms > 0 && shell.lease_patience_ms <= shell.lease_renew_ms {
        let why = "a standby would take over between two signs of life";
        fault(faults, "shell.lease_patience_ms", why, "make it several times `shell.lease_renew_ms`");
    }
}

fn numbers(config: &Config, faults: &mut Vec<Fault>) {
    let Ok(tree) = serde_json::to_value(config) else { return };
    for key in NOT_ZERO {
        if at(&tree, key).and_then(Value::as_u64) == Some(0) {
            fault(faults, key, "0 would mean that it is never done", "it takes an integer of at least 1");
        }
    }
    for key in SHARES {
        if at(&tree, key).and_then(Value::as_f64).is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            fault(faults, key, "it is a share", "it takes a number from 0 to 1");
        }
    }
}

fn at<'v>(tree: &'v Value, key: &str) -> Option<&'v Value> {
    key.split('.').try_fold(tree, |value, key| value.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_work() {
        assert_eq!(faults(&Config::default()), []);
    }

    #[test]
    fn every_number_that_is_judged_is_a_setting() {
        let tree = serde_json::to_value(Config::default()).unwrap_or_default();
        for key in NOT_ZERO {
            assert!(at(&tree, key).is_some_and(Value::is_u64), "{key}");
        }
        for key in SHARES {
            assert!(at(&tree, key).is_some_and(Value::is_f64), "{key}");
        }
    }
}
