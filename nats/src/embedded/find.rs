//! Where the nats-server binary is.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{EmbeddedConfig, EmbeddedError};

const NAME: &str = "nats-server";
/// How far above the executable a `.tools` folder is looked for: `target/debug/deps/…`.
const LEVELS: usize = 5;

/// The setting, `PATH`, the tools folder, next to the executable; the first one that is there.
pub(super) fn binary(config: &EmbeddedConfig) -> Result<PathBuf, EmbeddedError> {
    let mut looked = Vec::new();
    if let Some(binary) = &config.binary {
        looked.push(format!("setting {}", binary.display()));
        // A setting that is wrong is not made up for by something else.
        return executable(binary).ok_or(EmbeddedError::NoBinary { looked });
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // An empty or relative entry would run whatever lies in the working directory.
    let on_path = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    looked.push("PATH".to_owned());
    let tools = tools(config);
    looked.extend(tools.iter().map(|dir| dir.display().to_string()));
    on_path.chain(tools).find_map(|dir| executable(&dir.join(NAME))).ok_or(EmbeddedError::NoBinary { looked })
}

fn tools(config: &EmbeddedConfig) -> Vec<PathBuf> {
    if let Some(dir) = &config.tools_dir {
        return vec![dir.clone()];
    }
    let mut dirs = Vec::new();
    if let Ok(here) = std::env::current_dir() {
        dirs.push(here.join(".tools"));
    }
    if let Ok(exe) = std::env::current_exe()
        && let Some(beside) = exe.parent()
    {
        dirs.push(beside.to_owned());
        dirs.extend(beside.ancestors().take(LEVELS).map(|dir| dir.join(".tools")));
    }
    dirs
}

fn executable(path: &Path) -> Option<PathBuf> {
    let data = std::fs::metadata(path).ok()?;
    (data.is_file() && data.permissions().mode() & 0o111 != 0).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_missing_server_is_an_error_that_names_the_command_to_install_it() {
        let config = EmbeddedConfig { binary: Some("/nowhere/nats-server".into()), ..EmbeddedConfig::default() };
        let error = binary(&config).unwrap_err().to_string();
        assert!(error.contains(super::super::INSTALL_COMMAND), "{error}");
        assert!(error.contains("/nowhere/nats-server"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_not_a_server() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(NAME);
        std::fs::write(&file, "").unwrap();
        assert_eq!(executable(&file), None);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(executable(&file), Some(file));
        assert_eq!(executable(dir.path()), None);
    }
}
