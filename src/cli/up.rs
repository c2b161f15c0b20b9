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
pub async fn run(config: Config, as_json: bool) -> Result<(), SystemError> {
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
    let result = system::up(config, stop, |here| {
        if let Err(error) = write_file(&file, here) {
            tracing::warn!(%error, "other commands will not find this system by its data directory");
        }
        // Nobody reading is no reason to stop.
        let _ = say(here, as_json);
    })
    .await;
    let _ = std::fs::remove_file(&file);
    result
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
            "gateway": here.gateway, "nats": here.nats, "embedded": here.embedded, "database": here.database, "data_dir": here.data_dir
        });
        return writeln!(out, "{line}");
    }
    let own = if here.embedded { " (embedded)" } else { "" };
    writeln!(out, "homeostat is up")?;
    writeln!(out, "  gateway   {}   /readyz  /metrics  /v1/traces  /v1/events  /api/v1/status", here.gateway)?;
    writeln!(out, "  bus       {}{own}", here.nats)?;
    writeln!(out, "  history   {}", here.database)?;
    writeln!(out, "  data      {}", here.data_dir)?;
    writeln!(out)?;
    writeln!(out, "  watch it:  homeostat tail")?;
    writeln!(out, "  feed it:   export OTEL_EXPORTER_OTLP_ENDPOINT={}", here.gateway)?;
    writeln!(out, "             homeostat publish events.ndjson")?;
    writeln!(out, "  stop it:   Ctrl-C")?;
    out.flush()
}
