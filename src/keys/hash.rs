//! argon2id, and how much of it is run at once.
//!
//! A hash costs 19 MiB and some 25 ms on purpose (19 MiB, t = 2, p = 1: OWASP ASVS 5.0, appendix C). The memory is taken once and used
//! again: fresh pages cost as much as the hash. What waits for its turn longer than the queue allows is told that we are busy, never
//! that its key is wrong.
//!
//! Promises
//! - KH-1 At most as many hashes at once as there are permits, each in memory that is bounded; the memory lives as long as the permits.
//! - KH-2 A hash from elsewhere is run only within [`Phc`]'s bounds, whatever it asks for.
//! - KH-3 A run that nobody waits for any more still holds its permit until it ends.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Memory of our own hashes, KiB.
const MEMORY_KIB: u32 = 19 * 1024;
/// The same, in blocks of 1 KiB.
const OWN_BLOCKS: usize = 19 * 1024;
/// Passes of our own hashes.
const PASSES: u32 = 2;
const SALT_LEN: usize = 16;
const HASH_LEN: usize = 32;

/// The most memory that a hash from elsewhere may ask for, KiB.
pub const MEMORY_MAX_KIB: u32 = 64 * 1024;
/// The most passes.
pub const PASSES_MAX: u32 = 10;
/// The most lanes.
pub const LANES_MAX: u32 = 4;
/// The most memory times passes: 64 MiB three times is what others use at most by default.
const WORK_MAX: u32 = 3 * MEMORY_MAX_KIB;

/// A hash in the PHC string format: `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.
#[derive(Clone, PartialEq, Eq)]
pub struct Phc {
    algorithm: Algorithm,
    version: Version,
    memory: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl fmt::Debug for Phc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phc({} m={},t={},p={})", self.algorithm, self.memory, self.passes, self.lanes)
    }
}

/// A text that is no hash that is run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a hash that can be checked here: {0}")]
pub struct PhcError(String);

impl FromStr for Phc {
    type Err = PhcError;

    fn from_str(text: &str) -> Result<Phc, PhcError> {
        let wrong = |why: &str| PhcError(why.to_owned());
        if text.len() > 512 {
            return Err(wrong("it is longer than 512 bytes"));
        }
        let mut parts = text.split('$');
        let form = "write it as $argon2id$v=19$m=19456,t=2,p=1$salt$hash (argon2i and argon2d are taken as well)";
        if parts.next() != Some("") {
            return Err(wrong(form));
        }
        let algorithm = match parts.next() {
            Some("argon2id") => Algorithm::Argon2id,
            Some("argon2i") => Algorithm::Argon2i,
            Some("argon2d") => Algorithm::Argon2d,
            _ => return Err(wrong(form)),
        };
        let mut next = parts.next().ok_or_else(|| wrong(form))?;
        // Without a version it is the first one, as the reference implementation reads it.
        let version = match next.strip_prefix("v=") {
            Some(version) => {
                next = parts.next().ok_or_else(|| wrong(form))?;
                match version {
                    "19" => Version::V0x13,
                    "16" => Version::V0x10,
                    _ => return Err(wrong("its version is neither 19 nor 16")),
                }
            }
            None => Version::V0x10,
        };
        let (mut memory, mut passes, mut lanes) = (None, None, None);
        for pair in next.split(',') {
            let (name, value) = pair.split_once('=').ok_or_else(|| wrong(form))?;
            let place = match name {
                "m" => &mut memory,
                "t" => &mut passes,
                "p" => &mut lanes,
                _ => return Err(wrong("it has a parameter other than m, t and p")),
            };
            if place.replace(value.parse::<u32>().map_err(|_| wrong("a parameter is no number"))?).is_some() {
                return Err(wrong("a parameter stands there twice"));
            }
        }
        let (Some(memory), Some(passes), Some(lanes)) = (memory, passes, lanes) else { return Err(wrong("m, t or p is missing")) };
        if !(1..=LANES_MAX).contains(&lanes) || !(1..=PASSES_MAX).contains(&passes) || !(8 * lanes..=MEMORY_MAX_KIB).contains(&memory) {
            return Err(PhcError(format!(
                "m={memory},t={passes},p={lanes} is out of bounds: 8·p ≤ m ≤ {MEMORY_MAX_KIB} KiB, t ≤ {PASSES_MAX}, p ≤ {LANES_MAX}"
            )));
        }
        if memory.saturating_mul(passes) > WORK_MAX {
            return Err(PhcError(format!("m={memory},t={passes} is too much work: m · t ≤ {WORK_MAX}")));
        }
        let bytes = |part: Option<&str>, least, most| {
            let bytes = STANDARD_NO_PAD.decode(part.unwrap_or_default()).map_err(|_| wrong("salt or hash is no base64 without padding"))?;
            if (least..=most).contains(&bytes.len()) { Ok(bytes) } else { Err(PhcError(format!("salt or hash has {} bytes", bytes.len()))) }
        };
        let salt = bytes(parts.next(), 8, 64)?;
        let hash = bytes(parts.next(), 16, 64)?;
        if parts.next().is_some() {
            return Err(wrong(form));
        }
        Ok(Phc { algorithm, version, memory, passes, lanes, salt, hash })
    }
}

impl fmt::Display for Phc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.version {
            Version::V0x10 => 16,
            Version::V0x13 => 19,
        };
        let encode = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
        write!(
            f,
            "${}$v={version}$m={},t={},p={}${}${}",
            self.algorithm,
            self.memory,
            self.passes,
            self.lanes,
            encode(&self.salt),
            encode(&self.hash)
        )
    }
}

/// Why a hash was not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Too many wait.
    #[error("too many keys are being checked at once")]
    Busy,
    /// It cannot be run: no memory, no random numbers, or the process is stopping.
    #[error("the hash cannot be computed")]
    Broken,
}

/// Runs hashes, a few at once. Clones share the permits.
#[derive(Clone)]
pub struct Hasher {
    permits: Arc<Semaphore>,
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
    runs: Arc<AtomicU64>,
    queue: Duration,
    /// Memory of new hashes, KiB.
    memory_kib: u32,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("runs", &self.runs()).finish_non_exhaustive()
    }
}

impl Hasher {
    /// `at_once`: how many at once, each with 19 MiB. `queue`: how long one may wait for its turn.
    #[must_use]
    pub fn new(at_once: usize, queue: Duration) -> Hasher {
        Hasher {
            permits: Arc::new(Semaphore::new(at_once.clamp(1, 64))),
            memory: Arc::default(),
            runs: Arc::default(),
            queue,
            memory_kib: MEMORY_KIB,
        }
    }

    /// The same, making hashes of another cost: for benches, which need many keys and measure something else.
    #[must_use]
    pub fn with_memory_kib(self, memory_kib: u32) -> Hasher {
        Hasher { memory_kib: memory_kib.clamp(8, MEMORY_KIB), ..self }
    }

    /// How many hashes have been run.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// The hash of a new secret, with a salt of its own.
    ///
    /// # Errors
    /// [`HashError`]; the queue is longer here, as nobody's request fails by it.
    pub async fn hash(&self, secret: &[u8]) -> Result<Phc, HashError> {
        let mut salt = vec![0; SALT_LEN];
        getrandom::fill(&mut salt).map_err(|_| HashError::Broken)?;
        let phc = Phc {
            algorithm: Algorithm::Argon2id,
            version: Version::V0x13,
            memory: self.memory_kib,
            passes: PASSES,
            lanes: 1,
            salt,
            hash: vec![0; HASH_LEN],
        };
        let hash = self.run(&phc, secret, self.queue * 40).await?;
        Ok(Phc { hash, ..phc })
    }

    /// Is it the hash of this secret?
    ///
    /// # Errors
    /// [`HashError::Busy`] when its turn did not come in time.
    pub async fn matches(&self, phc: &Phc, secret: &[u8]) -> Result<bool, HashError> {
        let hash = self.run(phc, secret, self.queue).await?;
        Ok(constant_time_eq(&hash, &phc.hash))
    }

    async fn run(&self, phc: &Phc, secret: &[u8], queue: Duration) -> Result<Vec<u8>, HashError> {
        let permit = tokio::time::timeout(queue, self.permits.clone().acquire_owned()).await.map_err(|_| HashError::Busy)?;
        let permit = permit.map_err(|_| HashError::Broken)?;
        let (this, phc, secret) = (self.clone(), phc.clone(), Zeroizing::new(secret.to_vec()));
        let run = tokio::task::spawn_blocking(move || {
            // Held until the run has ended, whether or not anybody still waits for it.
            let _permit = permit;
            this.compute(&phc, &secret)
        });
        run.await.unwrap_or(Err(HashError::Broken))
    }

    fn compute(&self, phc: &Phc, secret: &[u8]) -> Result<Vec<u8>, HashError> {
        let params = Params::new(phc.memory, phc.passes, phc.lanes, Some(phc.hash.len())).map_err(|_| HashError::Broken)?;
        let blocks = params.block_count();
        let mut memory = self.pool().pop().unwrap_or_default();
        if memory.len() < blocks {
            memory.try_reserve_exact(blocks - memory.len()).map_err(|_| HashError::Broken)?;
            memory.resize(blocks, Block::new());
        }
        let mut hash = vec![0; phc.hash.len()];
        self.runs.fetch_add(1, Ordering::Relaxed);
        let argon2 = Argon2::new(phc.algorithm, phc.version, params);
        let done = argon2.hash_password_into_with_memory(secret, &phc.salt, &mut hash, &mut memory[..blocks]);
        // What a larger hash from elsewhere took is given back.
        memory.truncate(OWN_BLOCKS);
        memory.shrink_to_fit();
        self.pool().push(memory);
        done.map(|()| hash).map_err(|_| HashError::Broken)
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Vec<Vec<Block>>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Are they the same? Takes as long wherever they differ.
fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    // BLAKE3's hashes compare in constant time; what is compared are the hashes of hashes.
    a.len() == b.len() && blake3::hash(a) == blake3::hash(b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn a_hash_knows_its_secret_and_no_other() {
        let hasher = Hasher::new(2, Duration::from_secs(30));
        let phc = hasher.hash(b"secret").await.unwrap();
        let text = phc.to_string();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let read: Phc = text.parse().unwrap();
        assert_eq!(read, phc);
        assert!(hasher.matches(&read, b"secret").await.unwrap());
        assert!(!hasher.matches(&read, b"Secret").await.unwrap());
        assert_eq!(hasher.runs(), 3);
        assert_ne!(hasher.hash(b"secret").await.unwrap(), phc, "every salt is another");
    }

    #[tokio::test]
    async fn hashes_of_the_reference_implementation_are_understood() {
        // From the test vectors of the reference implementation (phc-winner-argon2, src/test.c): 64 MiB, 256 KiB, all three kinds.
        let hasher = Hasher::new(1, Duration::from_secs(60));
        for text in [
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
            "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
        ] {
            assert!(hasher.matches(&text.parse().unwrap(), b"password").await.unwrap(), "{text}");
        }
        assert!(hasher.pool().iter().all(|memory| memory.capacity() <= OWN_BLOCKS));
    }

    #[test]
    fn what_would_cost_too_much_is_not_read() {
        let phc = |parameters: &str| format!("$argon2id$v=19${parameters}$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4");
        assert!(phc("m=65536,t=3,p=4").parse::<Phc>().is_ok());
        for bad in [
            "m=65537,t=1,p=1",
            "m=4294967295,t=1,p=1",
            "m=65536,t=4,p=1",
            "m=256,t=11,p=1",
            "m=256,t=0,p=1",
            "m=256,t=1,p=5",
            "m=7,t=1,p=1",
            "m=256,t=1",
            "m=256,m=256,t=1,p=1",
            "m=256,t=1,p=1,keyid=AA",
            "m=-1,t=1,p=1",
        ] {
            assert!(phc(bad).parse::<Phc>().is_err(), "{bad}");
        }
        for bad in ["", "$", "argon2id", "$2b$12$abc", "$argon2id$v=18$m=256,t=1,p=1$c29tZXNhbHQ$x", &phc("m=256,t=1,p=1").repeat(8)] {
            assert!(bad.parse::<Phc>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_that_we_are_busy() {
        let hasher = Hasher::new(1, Duration::ZERO);
        let held = hasher.permits.clone().acquire_owned().await.unwrap();
        assert_eq!(
            hasher
                .matches(&"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4".parse().unwrap(), b"x")
                .await,
            Err(HashError::Busy)
        );
        drop(held);
        assert_eq!(hasher.runs(), 0);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,120}") {
            let _ = text.parse::<Phc>();
            let _ = format!("$argon2id$v=19$m={text}").parse::<Phc>();
        }
    }
}
