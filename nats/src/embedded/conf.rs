//! The server's configuration file, from the template in `conf/`.

use std::path::PathBuf;

use super::{EmbeddedConfig, EmbeddedError, dir, text};

const TEMPLATE: &str = include_str!("../../conf/embedded.conf");

/// Where everything of one server lies.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) data_dir: PathBuf,
    pub(super) conf: PathBuf,
    pub(super) log: PathBuf,
    pub(super) stderr: PathBuf,
    pub(super) run: PathBuf,
}

/// Writes the configuration (mode 0600) and says where everything lies.
pub(super) fn write(config: &EmbeddedConfig, name: &str, port: u16, user: &str, password: &str) -> Result<Files, EmbeddedError> {
    let data_dir = std::fs::canonicalize(&config.data_dir).map_err(EmbeddedError::io(config.data_dir.display().to_string()))?;
    let files = Files {
        conf: data_dir.join("nats-server.conf"),
        log: data_dir.join("nats-server.log"),
        stderr: data_dir.join("nats-server.stderr"),
        run: data_dir.join(dir::RUN_FILE),
        data_dir,
    };
    let store = files.data_dir.join("jetstream");
    let sync = match config.sync_interval_ms {
        0 => "\"always\"".to_owned(),
        ms => format!("\"{ms}ms\""),
    };
    let filled = fill(
        TEMPLATE,
        &[
            ("server_name", quoted(name)),
            ("port", port.to_string()),
            ("user", quoted(user)),
            ("password", quoted(password)),
            ("store_dir", quoted(text(&store)?)),
            ("disk_bytes_max", config.disk_bytes_max.to_string()),
            ("memory_store_bytes", config.memory_store_bytes.to_string()),
            ("sync_interval", sync),
            ("max_payload_bytes", config.max_payload_bytes.to_string()),
            ("log_file", quoted(text(&files.log)?)),
            ("log_bytes", config.log_bytes.to_string()),
            ("log_files", config.log_files.to_string()),
        ],
    );
    dir::write_private(&files.conf, filled.as_bytes())?;
    Ok(files)
}

/// Replaces every `{{name}}`.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut out = template.to_owned();
    for (name, value) in values {
        out = out.replace(&format!("{{{{{name}}}}}"), value);
    }
    out
}

/// A string of the server's configuration language. Control characters were refused before.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_place_of_the_template_is_filled_and_what_is_odd_is_quoted() {
        let outer = tempfile::tempdir().unwrap();
        let data_dir = outer.path().join("a \"b\" \\c $d #e");
        std::fs::create_dir(&data_dir).unwrap();
        let config = EmbeddedConfig { data_dir, ..EmbeddedConfig::default() };
        let files = write(&config, "n", 4242, "u", "p\"w").unwrap();
        let text = std::fs::read_to_string(&files.conf).unwrap();
        let settings: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        assert!(settings.iter().all(|line| !line.contains("{{")), "{text}");
        assert!(text.contains(r#"password: "p\"w""#), "{text}");
        assert!(text.contains(r#"a \"b\" \\c $d #e/jetstream""#), "{text}");
    }
}
