//! Files for their owner alone: mode 0600, there whole or not at all, and their names on the disk when these functions return.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use tempfile::NamedTempFile;

/// Puts a file in the place of whatever is there.
///
/// # Errors
/// It cannot be written; then the old one is still there.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    written(path, content)?.persist(path).map_err(|error| error.error)?;
    named(path)
}

/// Makes a file. False when there is one already: it stays as it is.
///
/// # Errors
/// It cannot be written.
pub fn create(path: &Path, content: &[u8]) -> io::Result<bool> {
    match written(path, content)?.persist_noclobber(path) {
        Ok(_) => named(path).map(|()| true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// The content beside its place, on the disk. A temporary file is made with mode 0600.
fn written(path: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(".private").tempfile_in(folder(path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// The name must be on the disk as well.
fn named(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn one_that_is_there_is_replaced_when_asked_and_never_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed");
        assert!(create(&path, b"first").unwrap());
        assert!(!create(&path, b"second").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"third").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"third");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(replace(&dir.path().join("nowhere/seed"), b"x").is_err());
    }
}
