//! `homeostat up`: the system, until SIGINT or SIGTERM.

use crate::config::Config;
use crate::system::{self, SystemError, Where};
use serde_json::json;
use std::io::Write as _;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Where a running system is, for other commands: in the data directory, beside `run.json` of the embedded server.
pub const FILE: &str = "up.json";

/// Runs the system in the foreground.
///
/// # Errors
/// Why it ended otherwise than it was told.
pub async fn run(mut config: Config, as_json: bool) -> Result<(), SystemError> {
    not_to_itself(&mut config, std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok());
    let (sender, stop) = watch::channel(false);
    let no_signals = |error: std::io::Error| SystemError::Start(format!("signals cannot be received: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: what is under way is finished and saved; once more ends at once");
        sender.send_replace(true);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // What was acknowledged is safe wherever the process ends.
        std::process::exit(130);
    });
    let file = config.data_dir.join(FILE);
    // Until it is up, the file is another one's.
    let mut own = false;
    let result = system::up(config, stop, |here| {
        match write_file(&file, here) {
            Ok(()) => own = true,
            Err(error) => tracing::warn!(%error, "other commands will not find this system by its data directory"),
        }
        // Nobody reading is no reason to stop.
        let _ = say(here, as_json);
    })
    .await;
    if own {
        let _ = std::fs::remove_file(&file);
    }
    result
}

/// Takes back an OTLP endpoint that is the gateway's own: each decision would be telemetry for the next. The variable is often set
/// for a whole machine or container, and is meant for the applications there.
fn not_to_itself(config: &mut Config, variable: Option<String>) {
    let Some(endpoint) = config.telemetry.otlp_endpoint.clone().or(variable) else { return };
    if config.gateway.is_at(&endpoint, &host()) {
        tracing::warn!(%endpoint, "traces are not exported: the OTLP endpoint is this gateway itself; name another in telemetry.otlp_endpoint");
        // Empty, and not absent: absent would mean the variable.
        config.telemetry.otlp_endpoint = Some(String::new());
    }
}

fn write_file(path: &Path, here: &Where) -> std::io::Result<()> {
    let text = json!({ "gateway": here.gateway, "nats": here.nats, "database": here.database, "pid": std::process::id() }).to_string();
    let new = path.with_extension("json.new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, path)
}

fn say(here: &Where, as_json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        let line = json!({
            "gateway": here.gateway, "nats": here.nats, "embedded": here.embedded, "database": here.database, "data_dir": here.data_dir,
            "signer": here.signer
        });
        return writeln!(out, "{line}");
    }
    let own = if here.embedded { " (embedded)" } else { "" };
    writeln!(out, "homeostat is up")?;
    writeln!(out, "  gateway   {}   /readyz  /metrics  /v1/traces  /v1/events  /api/v1/status", here.gateway)?;
    writeln!(out, "  bus       {}{own}", here.nats)?;
    writeln!(out, "  history   {}", here.database)?;
    writeln!(out, "  data      {}", here.data_dir)?;
    writeln!(out, "  signs as  {}", here.signer)?;
    writeln!(out)?;
    let (flag, gateway) = (flag(&here.data_dir), for_others(&here.gateway, &host()));
    writeln!(out, "  watch it:  homeostat{flag} tail")?;
    writeln!(out, "  feed it:   export OTEL_EXPORTER_OTLP_ENDPOINT={gateway}")?;
    writeln!(out, "             homeostat{flag} publish events.ndjson")?;
    writeln!(out, "  stop it:   Ctrl-C")?;
    out.flush()
}

/// What other commands have to be told to find this system: nothing, where it is where they look by themselves.
fn flag(data_dir: &str) -> String {
    if Path::new(data_dir) == Config::default().data_dir {
        return String::new();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%=,".contains(&byte);
    if !data_dir.is_empty() && data_dir.bytes().all(plain) {
        format!(" --data-dir {data_dir}")
    } else {
        format!(" --data-dir '{}'", data_dir.replace('\'', r"'\''"))
    }
}

/// The name under which others know this machine.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The gateway's address as others can use it: "every interface" is where one listens, not where one sends.
fn for_others(gateway: &str, host: &str) -> String {
    let host = if host.is_empty() { "localhost" } else { host };
    let Some((scheme, address)) = gateway.split_once("://") else { return gateway.to_owned() };
    match ["0.0.0.0:", "[::]:"].into_iter().find_map(|every| address.strip_prefix(every)) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => gateway.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_exported_to_the_gateway_itself() {
        let after = |set: Option<&str>, variable: Option<&str>| {
            let mut config = Config::default();
            config.telemetry.otlp_endpoint = set.map(str::to_owned);
            not_to_itself(&mut config, variable.map(str::to_owned));
            config.telemetry.otlp_endpoint
        };
        let own = format!("http://{}", Config::default().gateway.listen);
        assert_eq!(after(None, Some(&own)).as_deref(), Some(""));
        assert_eq!(after(Some(&own), None).as_deref(), Some(""));
        assert_eq!(after(None, Some("http://collector:4318")), None);
        assert_eq!(after(Some("http://collector:4318"), Some(&own)).as_deref(), Some("http://collector:4318"));
        assert_eq!(after(None, None), None);
    }

    #[test]
    fn what_is_advised_can_be_pasted() {
        assert_eq!(flag("homeostat-data"), "");
        assert_eq!(flag("/var/lib/homeostat"), " --data-dir /var/lib/homeostat");
        assert_eq!(flag("it's here"), r" --data-dir 'it'\''s here'");
        assert_eq!(for_others("http://0.0.0.0:8080", "box"), "http://box:8080");
        assert_eq!(for_others("https://[::]:8080", "box"), "https://box:8080");
        assert_eq!(for_others("http://127.0.0.1:8080", "box"), "http://127.0.0.1:8080");
    }
}
