//! Keys and secrets from files, from the environment, and into files for their owner alone.

use crate::cli::CliError;
use crate::keys::format::KeyText;
use std::io::{Read as _, Write as _};
use std::path::Path;

/// The variable with the key to show to the gateway.
pub(crate) const KEY_VARIABLE: &str = "HOMEOSTAT_KEY";
/// Of a key or a hash, no more is read.
const SECRET_MAX: u64 = 4_096;

/// The key to show to a gateway, where the environment names one. What can stand in no header is none.
pub(crate) fn from_environment() -> Option<KeyText> {
    let key = std::env::var(KEY_VARIABLE).ok()?.trim().to_owned();
    key.bytes().all(|byte| byte.is_ascii_graphic()).then(|| KeyText::new(key))
}

/// A secret from a file or standard input, without the end of its line.
pub(super) fn secret(path: &Path) -> Result<KeyText, CliError> {
    let failed = |error: std::io::Error| CliError::new(format!("{} cannot be read", path.display())).because(error);
    let mut text = zeroize::Zeroizing::new(String::new());
    if path == Path::new("-") {
        std::io::stdin().lock().take(SECRET_MAX).read_to_string(&mut text).map_err(failed)?;
    } else {
        std::fs::File::open(path).map_err(failed)?.take(SECRET_MAX).read_to_string(&mut text).map_err(failed)?;
    }
    Ok(KeyText::new(text.trim().to_owned()))
}

/// A new file for its owner alone. It is made before the key is drawn, so that no key is lost for want of a place.
pub(super) fn private(path: &Path) -> Result<std::fs::File, CliError> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| {
        CliError::new(format!("{} cannot be made", path.display())).because(error).advise("name a file that does not exist")
    })
}

/// A file that was made for a key that was not.
pub(super) fn forget(path: Option<&Path>) {
    if let Some(path) = path {
        let _ = std::fs::remove_file(path);
    }
}

pub(super) fn write_private(file: &mut std::fs::File, path: &Path, text: &KeyText) -> Result<(), CliError> {
    let written = file.write_all(text.expose().as_bytes()).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all());
    written.map_err(|error| CliError::new(format!("{} cannot be written", path.display())).because(error))
}
