//! The keys that keys are made with, in a file outside of the database: whoever steals the one without the other has nothing.
//!
//! A generation holds two keys of 256 bits: the *mint key*, with which mint tags are made, and the *verifier key*, with which secrets
//! that were drawn here are compared. New keys are made with the newest generation; the older ones are still good, until they are
//! taken out. Processes that share a database share the file.
//!
//! Promises
//! - KR-1 The file is readable for its owner alone from the instant it exists (mode 0600); one that others can read is refused.
//! - KR-2 It is replaced whole or not at all, and a process that finds none and another that does so too agree on one.
//! - KR-3 A keyring whose keys were made for another database is noticed (see [`Keyring::id`]).

use crate::private;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize as _, Zeroizing};

/// The file in the data directory.
pub const FILE: &str = "keyring.json";
/// How many generations there are at most.
pub const GENERATIONS_MAX: usize = 8;
const FILE_MAX: u64 = 64 * 1024;

/// A key of 256 bits.
type Secret = Zeroizing<[u8; 32]>;

/// One pair of keys.
pub struct Generation {
    /// Its number, from 1, growing.
    pub number: u32,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    mint: Secret,
    verifier: Secret,
}

impl Generation {
    fn draw(number: u32, created_ms: u64) -> Result<Generation, KeyringError> {
        let mut generation = Generation { number, created_ms, mint: Zeroizing::default(), verifier: Zeroizing::default() };
        for key in [&mut generation.mint, &mut generation.verifier] {
            getrandom::fill(key.as_mut()).map_err(|error| KeyringError::Randomness(error.to_string()))?;
        }
        Ok(generation)
    }

    /// The key for mint tags.
    #[must_use]
    pub fn mint(&self) -> &[u8; 32] {
        &self.mint
    }

    /// The key for verifiers.
    #[must_use]
    pub fn verifier(&self) -> &[u8; 32] {
        &self.verifier
    }
}

/// All generations.
pub struct Keyring {
    id: String,
    /// Newest first, never empty.
    generations: Vec<Generation>,
    used: bool,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<u32> = self.generations.iter().map(|generation| generation.number).collect();
        f.debug_struct("Keyring").field("id", &self.id).field("generations", &numbers).finish_non_exhaustive()
    }
}

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file cannot be read or written.
    #[error("the keyring {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read it.
    #[error("the keyring {} can be read by others (mode {mode:04o}): chmod 600 it, and if anybody may have read it, `homeostat keys keyring --rotate`", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is none.
    #[error("the keyring {} cannot be understood: {why}; restore it from a backup: without it no key is accepted", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Randomness(String),
    /// A change that cannot be made.
    #[error("{0}")]
    Refused(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    keyring: String,
    /// Has anything been made with it?
    #[serde(default)]
    used: bool,
    generations: Vec<OnDiskGeneration>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDiskGeneration {
    number: u32,
    created_ms: u64,
    mint: String,
    verifier: String,
}

impl Drop for OnDiskGeneration {
    fn drop(&mut self) {
        self.mint.zeroize();
        self.verifier.zeroize();
    }
}

impl Keyring {
    /// Reads the file; makes it if there is none.
    ///
    /// # Errors
    /// See [`KeyringError`].
    pub fn open(path: &Path, now_ms: u64) -> Result<Keyring, KeyringError> {
        match Keyring::read(path) {
            Err(KeyringError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let mut id = [0; 8];
                getrandom::fill(&mut id).map_err(|error| KeyringError::Randomness(error.to_string()))?;
                let keyring = Keyring { id: hex(&id), generations: vec![Generation::draw(1, now_ms)?], used: false };
                keyring.write(path, true)?;
                // Another process may have been first: what stands in the file is what counts.
                Keyring::read(path)
            }
            read => read,
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// See [`KeyringError`].
    pub fn read(path: &Path) -> Result<Keyring, KeyringError> {
        let failed = |source| KeyringError::File { path: path.to_owned(), source };
        let wrong = |why: String| KeyringError::Form { path: path.to_owned(), why };
        let file = File::open(path).map_err(failed)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
            if mode & 0o077 != 0 {
                return Err(KeyringError::Open { path: path.to_owned(), mode });
            }
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_MAX).read_to_string(&mut text).map_err(failed)?;
        let disk: OnDisk =
            serde_json::from_str(&text).map_err(|error| wrong(format!("line {} column {}", error.line(), error.column())))?;
        if disk.generations.is_empty() || disk.generations.len() > GENERATIONS_MAX {
            return Err(wrong(format!("it has {} generations, and must have 1 to {GENERATIONS_MAX}", disk.generations.len())));
        }
        let mut generations = Vec::with_capacity(disk.generations.len());
        for generation in &disk.generations {
            let key = |text: &str| {
                unhex(text).ok_or_else(|| wrong(format!("a key of generation {} is not 64 hexadecimal digits", generation.number)))
            };
            let (mint, verifier) = (key(&generation.mint)?, key(&generation.verifier)?);
            generations.push(Generation { number: generation.number, created_ms: generation.created_ms, mint, verifier });
        }
        if !generations.is_sorted_by(|newer, older| newer.number > older.number) {
            return Err(wrong("its generations are not in order, the newest first".to_owned()));
        }
        Ok(Keyring { id: disk.keyring, generations, used: disk.used })
    }

    /// Its name, no secret. The database remembers which keyring its keys were made with.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Has any key been made with it?
    #[must_use]
    pub fn used(&self) -> bool {
        self.used
    }

    /// Notes in the file that keys have been made with it. The keyring as it is then.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn note_used(path: &Path) -> Result<Keyring, KeyringError> {
        Keyring::edit(path, |keyring| {
            keyring.used = true;
            Ok(())
        })
    }

    /// The generation that new keys are made with.
    #[must_use]
    pub fn newest(&self) -> &Generation {
        // Never empty: every way to make a keyring has seen to it.
        &self.generations[0]
    }

    /// All generations, the newest first.
    #[must_use]
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// One generation.
    #[must_use]
    pub fn generation(&self, number: u32) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.number == number)
    }

    /// Was this key made with any generation?
    #[must_use]
    pub fn minted(&self, shown: &super::format::Shown<'_>) -> bool {
        self.generations.iter().any(|generation| shown.minted_by(generation.mint()))
    }

    /// Makes another generation, with which new keys are made from now on. The older ones stay good.
    ///
    /// # Errors
    /// There are too many, or the file cannot be written.
    pub fn rotate(path: &Path, now_ms: u64) -> Result<Keyring, KeyringError> {
        Keyring::edit(path, |keyring| {
            if keyring.generations.len() == GENERATIONS_MAX {
                return Err(KeyringError::Refused(format!("a keyring has at most {GENERATIONS_MAX} generations: retire one first")));
            }
            let number = keyring.newest().number.saturating_add(1);
            keyring.generations.insert(0, Generation::draw(number, now_ms)?);
            Ok(())
        })
    }

    /// Takes a generation out: keys that were minted with it are not accepted any more.
    ///
    /// # Errors
    /// It is the newest, or there is no such one, or the file cannot be written.
    pub fn retire(path: &Path, number: u32) -> Result<Keyring, KeyringError> {
        Keyring::edit(path, |keyring| {
            if keyring.newest().number == number {
                return Err(KeyringError::Refused(format!("generation {number} is the newest: rotate the keyring first")));
            }
            if keyring.generation(number).is_none() {
                return Err(KeyringError::Refused(format!("the keyring has no generation {number}")));
            }
            keyring.generations.retain(|generation| generation.number != number);
            Ok(())
        })
    }

    /// Changes the file; one process after the other.
    fn edit(path: &Path, change: impl FnOnce(&mut Keyring) -> Result<(), KeyringError>) -> Result<Keyring, KeyringError> {
        let lock = path.with_extension("lock");
        let failed = |source| KeyringError::File { path: lock.clone(), source };
        let turn = File::options().create(true).truncate(false).write(true).open(&lock).map_err(failed)?;
        // Held until `turn` is dropped; the kernel lets go of it however this process ends.
        turn.lock().map_err(failed)?;
        let mut keyring = Keyring::read(path)?;
        change(&mut keyring)?;
        keyring.write(path, false)?;
        Ok(keyring)
    }

    /// Puts it into the file: whole, and for its owner alone. `first`: only if there is none yet.
    fn write(&self, path: &Path, first: bool) -> Result<(), KeyringError> {
        let failed = |source| KeyringError::File { path: path.to_owned(), source };
        let generation = |generation: &Generation| OnDiskGeneration {
            number: generation.number,
            created_ms: generation.created_ms,
            mint: hex(generation.mint()),
            verifier: hex(generation.verifier()),
        };
        let disk = OnDisk { keyring: self.id.clone(), used: self.used, generations: self.generations.iter().map(generation).collect() };
        let text = Zeroizing::new(serde_json::to_string_pretty(&disk).map_err(|error| failed(io::Error::other(error)))? + "\n");
        // One that somebody else has made first is as good.
        if first { private::create(path, text.as_bytes()).map(drop) } else { private::replace(path, text.as_bytes()) }.map_err(failed)
    }
}

/// When the file was last changed, as far as the file system tells.
#[must_use]
pub fn changed(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
        text
    })
}

pub(crate) fn unhex(text: &str) -> Option<Secret> {
    let mut bytes = Secret::default();
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::format::{KeyId, mint, parse};
    use super::*;
    use homeostat_schemas::key::Environment;

    #[test]
    fn a_file_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let first = Keyring::open(&path, 5).unwrap();
        let again = Keyring::open(&path, 9).unwrap();
        assert_eq!((first.id(), first.newest().mint()), (again.id(), again.newest().mint()));
        assert_eq!(again.newest().created_ms, 5);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(Keyring::open(&path, 9), Err(KeyringError::Open { .. })));
        }
    }

    #[test]
    fn two_that_find_none_agree_on_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let open = || {
            std::thread::spawn({
                let path = path.clone();
                move || Keyring::open(&path, 1).unwrap().id().to_owned()
            })
        };
        let ids: std::collections::BTreeSet<String> =
            (0..8).map(|_| open()).collect::<Vec<_>>().into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(ids.len(), 1);
    }

    #[test]
    fn keys_of_an_older_generation_stay_good_until_it_is_retired() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let first = Keyring::open(&path, 1).unwrap();
        let key = |keyring: &Keyring| mint(Environment::Live, &KeyId::draw().unwrap(), keyring.newest().mint()).unwrap();
        let old = key(&first);
        let second = Keyring::rotate(&path, 2).unwrap();
        assert_eq!((second.newest().number, second.id()), (2, first.id()));
        let new = key(&second);
        let good = |keyring: &Keyring| [&old, &new].map(|text| keyring.minted(&parse(text.expose()).unwrap()));
        assert_eq!(good(&Keyring::read(&path).unwrap()), [true, true]);
        assert!(Keyring::retire(&path, 2).is_err() && Keyring::retire(&path, 7).is_err());
        Keyring::retire(&path, 1).unwrap();
        assert_eq!(good(&Keyring::note_used(&path).unwrap()), [false, true]);
        assert!(Keyring::read(&path).unwrap().used());
        while Keyring::rotate(&path, 3).is_ok() {}
        assert_eq!(Keyring::read(&path).unwrap().generations().len(), GENERATIONS_MAX);
    }

    #[test]
    fn what_is_no_keyring_says_where_and_shows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let keyring = Keyring::open(&path, 1).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!format!("{keyring:?}").contains(&hex(keyring.newest().mint())));
        for bad in
            ["", "{}", &text.replace("\"number\": 1", "\"number\": \"1\""), &text.replace("\"mint\": \"", "\"mint\": \"zz"), &text[..80]]
        {
            fs::write(&path, bad).unwrap();
            let error = Keyring::read(&path).unwrap_err();
            assert!(matches!(error, KeyringError::Form { .. }), "{error}");
            assert!(!error.to_string().contains(&hex(keyring.newest().mint())));
        }
    }
}
