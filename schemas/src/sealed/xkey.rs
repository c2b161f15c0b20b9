//! Sealing and opening.

use super::{SEALED_MAX, SealedKey, Seen};
use crate::time::UnixMs;
use data_encoding::BASE64URL_NOPAD;
use nkeys::XKey;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Why a delivery was not sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// Not a public xkey.
    #[error("`{0}` is no public xkey (they begin with X)")]
    Recipient(String),
    /// Not the seed of one.
    #[error("this is no seed of an xkey (they begin with SX)")]
    Seed,
    /// Sealed to somebody else.
    #[error("it is sealed to {0}, which is not us")]
    Foreign(String),
    /// Sealed by somebody else than the one who is trusted.
    #[error("it was sealed by {found}, and {trusted} is trusted; name the new sender if it is meant")]
    Sender {
        /// Who sealed it.
        found: String,
        /// Who is trusted.
        trusted: String,
    },
    /// Not newer than what was taken.
    #[error("version {version} of key {key} is not newer than {seen}, which was taken already")]
    Replayed {
        /// The key.
        key: String,
        /// The version that came.
        version: u32,
        /// The greatest that was taken.
        seen: u32,
    },
    /// Does not say the same inside and outside.
    #[error("what stands inside is about another {0} than what stands outside")]
    Different(&'static str),
    /// Not to be read.
    #[error("it cannot be opened: {0}")]
    Unreadable(&'static str),
    /// There is no room to remember another key.
    #[error("there is no room to remember another key")]
    Full,
}

/// What stands inside the box. It is wiped when it is dropped.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Inside {
    key: String,
    version: u32,
    owner: String,
    recipient: String,
    issued_ms: UnixMs,
    secret: String,
}

/// An opened secret. Wiped when it is dropped, and never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// A secret.
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text of the key: `hst_live_…`.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Seals secrets to their owners.
#[derive(Clone)]
pub struct Sealer {
    xkey: XKey,
    public: String,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("public", &self.public).finish_non_exhaustive()
    }
}

impl Sealer {
    /// One with this private key, 32 random bytes.
    #[must_use]
    pub fn new(private: [u8; 32]) -> Sealer {
        let xkey = XKey::new_from_raw(private);
        Sealer { public: xkey.public_key(), xkey }
    }

    /// Its public xkey, which stands in everything it seals.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Seals the secret of a version of a key to `recipient`.
    ///
    /// # Errors
    /// [`SealedError::Recipient`] when that is no public xkey.
    pub fn seal(
        &self,
        (key, version): (&str, u32),
        owner: &str,
        recipient: &str,
        issued_ms: UnixMs,
        secret: &str,
    ) -> Result<SealedKey, SealedError> {
        let to = recipient_of(recipient)?;
        let inside = Inside {
            key: key.to_owned(),
            version,
            owner: owner.to_owned(),
            recipient: recipient.to_owned(),
            issued_ms,
            secret: secret.to_owned(),
        };
        let plain = Zeroizing::new(serde_json::to_vec(&inside).map_err(|_| SealedError::Unreadable("it is no JSON"))?);
        let sealed = self.xkey.seal(&plain, &to).map_err(|_| SealedError::Unreadable("it cannot be sealed"))?;
        Ok(SealedKey {
            key: key.to_owned(),
            version,
            owner: owner.to_owned(),
            recipient: recipient.to_owned(),
            sender: self.public.clone(),
            issued_ms,
            sealed: BASE64URL_NOPAD.encode(&sealed),
        })
    }
}

/// Reads a public xkey.
///
/// # Errors
/// [`SealedError::Recipient`] when it is none.
fn recipient_of(text: &str) -> Result<XKey, SealedError> {
    XKey::from_public_key(text).map_err(|_| SealedError::Recipient(text.chars().take(64).collect()))
}

/// Opens what is sealed to one xkey.
#[derive(Clone)]
pub struct Opener {
    xkey: XKey,
    public: String,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("public", &self.public).finish_non_exhaustive()
    }
}

impl Opener {
    /// One with this seed (`SX…`); blanks around it are left out.
    ///
    /// # Errors
    /// [`SealedError::Seed`] when it is none.
    pub fn from_seed(seed: &str) -> Result<Opener, SealedError> {
        let xkey = XKey::from_seed(seed.trim()).map_err(|_| SealedError::Seed)?;
        Ok(Opener { public: xkey.public_key(), xkey })
    }

    /// A new pair, drawn by the operating system: the opener, and its seed to be kept.
    ///
    /// # Errors
    /// [`SealedError::Seed`] when it cannot be written down, which does not happen.
    pub fn draw() -> Result<(Opener, Zeroizing<String>), SealedError> {
        let xkey = XKey::new();
        let seed = Zeroizing::new(xkey.seed().map_err(|_| SealedError::Seed)?);
        Ok((Opener { public: xkey.public_key(), xkey }, seed))
    }

    /// Is this text a public xkey, to which something can be sealed?
    #[must_use]
    pub fn is_recipient(text: &str) -> bool {
        recipient_of(text).is_ok()
    }

    /// Its public xkey: what Homeostat is told to seal to.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Reads the JSON of a delivery and opens it; what was seen is noted, so that it is taken once. Nothing is noted of what is refused.
    ///
    /// # Errors
    /// Why it was refused; nothing of the secret is in it.
    pub fn open(&self, payload: &[u8], seen: &mut Seen) -> Result<(SealedKey, Secret), SealedError> {
        if payload.len() > SEALED_MAX {
            return Err(SealedError::Unreadable("it is too long"));
        }
        let outside: SealedKey = serde_json::from_slice(payload).map_err(|_| SealedError::Unreadable("it is no sealed delivery"))?;
        if outside.recipient != self.public {
            return Err(SealedError::Foreign(outside.recipient.chars().take(64).collect()));
        }
        if let Some(trusted) = seen.sender.as_ref().filter(|trusted| **trusted != outside.sender) {
            return Err(SealedError::Sender { found: outside.sender.chars().take(64).collect(), trusted: trusted.clone() });
        }
        let sender = XKey::from_public_key(&outside.sender).map_err(|_| SealedError::Unreadable("its sender is no xkey"))?;
        let sealed = BASE64URL_NOPAD.decode(outside.sealed.as_bytes()).map_err(|_| SealedError::Unreadable("the box is no base64"))?;
        let plain = self.xkey.open(&sealed, &sender).map_err(|_| SealedError::Unreadable("the box is not ours, or damaged"))?;
        let plain = Zeroizing::new(plain);
        let mut inside: Inside = serde_json::from_slice(&plain).map_err(|_| SealedError::Unreadable("what is inside is no delivery"))?;
        for (same, what) in [
            (inside.key == outside.key, "key"),
            (inside.version == outside.version, "version"),
            (inside.owner == outside.owner, "owner"),
            (inside.recipient == outside.recipient, "recipient"),
            (inside.issued_ms == outside.issued_ms, "time of issue"),
        ] {
            if !same {
                return Err(SealedError::Different(what));
            }
        }
        if !seen.is_new(&outside.key, outside.version) {
            let last = seen.versions.get(&outside.key).copied().unwrap_or(0);
            return Err(SealedError::Replayed { key: outside.key, version: outside.version, seen: last });
        }
        if !seen.note(&outside.key, outside.version) {
            return Err(SealedError::Full);
        }
        seen.sender.get_or_insert_with(|| outside.sender.clone());
        Ok((outside, Secret(std::mem::take(&mut inside.secret))))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "aB3dE6gH9jK2";
    const SECRET: &str = "hst_live_something";

    fn sealer() -> Sealer {
        Sealer::new([7; 32])
    }

    fn sealed(version: u32, opener: &Opener) -> Vec<u8> {
        serde_json::to_vec(&sealer().seal((KEY, version), "shop", opener.public(), 5, SECRET).unwrap()).unwrap()
    }

    fn opener() -> Opener {
        Opener::draw().unwrap().0
    }

    #[test]
    fn its_owner_opens_it_once_and_nobody_else() {
        let (opener, other, mut seen) = (opener(), opener(), Seen::default());
        let payload = sealed(1, &opener);
        assert!(!String::from_utf8_lossy(&payload).contains(SECRET));
        assert!(matches!(other.open(&payload, &mut seen), Err(SealedError::Foreign(_))));
        let (outside, secret) = opener.open(&payload, &mut seen).unwrap();
        assert_eq!((outside.version, secret.expose()), (1, SECRET));
        assert_eq!(format!("{secret:?} {opener:?} {:?}", sealer()).matches("something").count(), 0);
        assert!(matches!(opener.open(&payload, &mut seen), Err(SealedError::Replayed { version: 1, seen: 1, .. })));
    }

    #[test]
    fn an_older_version_is_refused_and_a_newer_one_taken() {
        let (opener, mut seen) = (opener(), Seen::default());
        opener.open(&sealed(3, &opener), &mut seen).unwrap();
        assert!(matches!(opener.open(&sealed(2, &opener), &mut seen), Err(SealedError::Replayed { .. })));
        opener.open(&sealed(4, &opener), &mut seen).unwrap();
        assert_eq!(seen.versions[KEY], 4);
    }

    #[test]
    fn what_stands_outside_cannot_be_changed() {
        let opener = opener();
        let good: SealedKey = serde_json::from_slice(&sealed(1, &opener)).unwrap();
        for bad in [
            SealedKey { version: 9, ..good.clone() },
            SealedKey { key: "aB3dE6gH9jK3".to_owned(), ..good.clone() },
            SealedKey { owner: "bank".to_owned(), ..good.clone() },
            SealedKey { issued_ms: 6, ..good.clone() },
        ] {
            let mut seen = Seen::default();
            let result = opener.open(&serde_json::to_vec(&bad).unwrap(), &mut seen);
            assert!(matches!(result, Err(SealedError::Different(_))), "{result:?}");
            assert_eq!(seen, Seen::default(), "nothing is noted of what is refused");
        }
        let forged = SealedKey { sender: Opener::draw().unwrap().0.public().to_owned(), ..good };
        let result = opener.open(&serde_json::to_vec(&forged).unwrap(), &mut Seen::default());
        assert_eq!(result.err(), Some(SealedError::Unreadable("the box is not ours, or damaged")));
    }

    #[test]
    fn another_sender_than_the_first_is_refused() {
        let (opener, mut seen) = (opener(), Seen::default());
        opener.open(&sealed(1, &opener), &mut seen).unwrap();
        let other = Sealer::new([8; 32]).seal((KEY, 2), "shop", opener.public(), 5, SECRET).unwrap();
        let result = opener.open(&serde_json::to_vec(&other).unwrap(), &mut seen);
        assert!(matches!(result, Err(SealedError::Sender { .. })), "{result:?}");
    }

    #[test]
    fn only_an_xkey_is_a_recipient() {
        for bad in ["", "X", "UBUJMZHVOPQ2SK5VD3TY4VNBPVU2YFGRLK6EFPEPSMVDUYEBSROWZCEA", &"X".repeat(500)] {
            assert!(sealer().seal((KEY, 1), "shop", bad, 5, SECRET).is_err(), "{bad}");
            assert!(Opener::from_seed(bad).is_err());
        }
        // Made by the Go library.
        let opener = Opener::from_seed(" SXAKIYZX2POLIHZ5W5YZEWVTH24NLEUETBW3TKIVYRSS3GNHFXO5D4JJZM\n").unwrap();
        assert_eq!(opener.public(), "XBUJMZHVOPQ2SK5VD3TY4VNBPVU2YFGRLK6EFPEPSMVDUYEBSROWZCEA");
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_the_opener_panic(payload in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..400, byte in any::<u8>()) {
            let opener = Opener::from_seed("SXAKIYZX2POLIHZ5W5YZEWVTH24NLEUETBW3TKIVYRSS3GNHFXO5D4JJZM").unwrap();
            prop_assert!(opener.open(&payload, &mut Seen::default()).is_err());
            let mut damaged = sealed(1, &opener);
            let at = at % damaged.len();
            damaged[at] = byte;
            let _ = opener.open(&damaged, &mut Seen::default());
        }
    }
}
