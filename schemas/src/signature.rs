//! Signatures: who said an alert or a command, whatever the bus lets anybody publish.
//!
//! Permission to publish on a subject is no proof of the sender: a stream's acknowledgement goes to whatever subject its requester
//! names, and a server may be configured too generously. Homeostat therefore signs alerts and commands (Ed25519, the key an nkey of
//! NATS), and an executor carries out only what a signer that it trusts has signed.
//!
//! The header is `homeostat-signature: <public key>.<signature>`, the signature in base64url without padding. What is signed is the
//! [canonical form](Signed::canonical): the subject, the headers that mean something ([`SIGNED`]) and the body, each with its length,
//! so that nothing can be left out, shifted from one into another, or moved to another subject. A header that stands there twice, in
//! whatever spelling, is not verified at all: readers would differ in which one counts.
//!
//! What a signature does not say: that the message is new. It is heard once by the gate of the executor, which knows ids, fences and
//! expiry, all of them in the signed body.

/// The header that carries the signature.
pub const HEADER: &str = "homeostat-signature";

/// Headers that are signed beside subject and body, in this order.
pub const SIGNED: [&str; 8] = ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "ce-subject", "content-type", "traceparent"];

/// What no other use of the same key begins with.
const CONTEXT: &[u8] = b"homeostat-signature/1\n";

/// The parts of a message that a signature covers, and the signature, if there is one.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    subject: &'a str,
    headers: [Option<&'a str>; SIGNED.len()],
    body: &'a [u8],
    signature: Option<&'a str>,
    ambiguous: bool,
}

impl<'a> Signed<'a> {
    /// The parts of a message: its subject, all its headers as `(name, value)` with a pair for each value, and its body.
    #[must_use]
    pub fn of(subject: &'a str, headers: impl IntoIterator<Item = (&'a str, &'a str)>, body: &'a [u8]) -> Signed<'a> {
        let mut signed = Signed { subject, headers: [None; SIGNED.len()], body, signature: None, ambiguous: false };
        for (name, value) in headers {
            let place = if name.eq_ignore_ascii_case(HEADER) {
                &mut signed.signature
            } else if let Some(at) = SIGNED.iter().position(|known| name.eq_ignore_ascii_case(known)) {
                &mut signed.headers[at]
            } else {
                continue;
            };
            // Blanks at the ends do not survive every transport.
            signed.ambiguous |= place.replace(value.trim_ascii()).is_some();
        }
        signed
    }

    /// The bytes that are signed: `homeostat-signature/1\n`, then the subject, then for each of [`SIGNED`] a byte 0 (absent) or 1 and
    /// the value, then the body. Subject, values and body stand behind their length as eight bytes, the highest first.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let texts: usize = self.headers.iter().map(|value| 1 + value.map_or(0, |value| 8 + value.len())).sum();
        let mut bytes = Vec::with_capacity(CONTEXT.len() + 16 + self.subject.len() + texts + self.body.len());
        let put = |bytes: &mut Vec<u8>, part: &[u8]| {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        };
        bytes.extend_from_slice(CONTEXT);
        put(&mut bytes, self.subject.as_bytes());
        for value in self.headers {
            bytes.push(u8::from(value.is_some()));
            if let Some(value) = value {
                put(&mut bytes, value.as_bytes());
            }
        }
        put(&mut bytes, self.body);
        bytes
    }
}

/// What a signature is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A trusted signer, by its public key, said exactly this.
    Good(String),
    /// Nobody signed it.
    Unsigned,
    /// It cannot be read as a signature, or a signed header stands there twice.
    Malformed,
    /// This public key is none of the trusted ones. Whether the signature fits was not looked at.
    Untrusted(String),
    /// A trusted signer's name, and not its signature of this message.
    Forged(String),
}

impl Verdict {
    /// Did a trusted signer say exactly this?
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self, Verdict::Good(_))
    }

    /// One word for counts, labels and machines.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Verdict::Good(_) => "good",
            Verdict::Unsigned => "unsigned",
            Verdict::Malformed => "malformed",
            Verdict::Untrusted(_) => "untrusted",
            Verdict::Forged(_) => "forged",
        }
    }

    /// The public key that the message names.
    #[must_use]
    pub fn signer(&self) -> Option<&str> {
        match self {
            Verdict::Good(signer) | Verdict::Untrusted(signer) | Verdict::Forged(signer) => Some(signer),
            Verdict::Unsigned | Verdict::Malformed => None,
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Good(signer) => write!(f, "signed by {signer}"),
            Verdict::Unsigned => f.write_str("it is not signed"),
            Verdict::Malformed => f.write_str("its signature cannot be read"),
            Verdict::Untrusted(signer) => write!(f, "{signer}, who signed it, is not trusted here"),
            Verdict::Forged(signer) => write!(f, "its signature is not {signer}'s"),
        }
    }
}

#[cfg(feature = "signature")]
pub use keys::{SIGNERS_MAX, Signer, SignerError, Signers};

#[cfg(feature = "signature")]
mod keys {
    use super::{Signed, Verdict};
    use data_encoding::BASE64URL_NOPAD;
    use nkeys::{KeyPair, KeyPairType};

    /// So many signers may be trusted at once: the one in use, the next, and those of other processes.
    pub const SIGNERS_MAX: usize = 32;

    /// Why a key cannot be used. The key itself is never repeated: it may be a secret one in the wrong place.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    pub enum SignerError {
        /// Not a public key.
        #[error("a signer is the public key of a user nkey: 56 characters that begin with U")]
        Public,
        /// Not a seed.
        #[error("a signing key is the seed of a user nkey: 58 characters that begin with SU")]
        Seed,
        /// Too many to try.
        #[error("more than {SIGNERS_MAX} trusted signers")]
        Many,
    }

    /// A key that signs.
    #[derive(Clone)]
    pub struct Signer {
        pair: KeyPair,
        public: String,
    }

    impl std::fmt::Debug for Signer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Signer").field("public", &self.public).finish_non_exhaustive()
        }
    }

    impl Signer {
        /// The signer of a seed, as NATS writes it (`SU…`).
        ///
        /// # Errors
        /// It is none.
        pub fn from_seed(seed: &str) -> Result<Signer, SignerError> {
            let pair = KeyPair::from_seed(seed).ok().filter(|pair| pair.key_pair_type() == KeyPairType::User);
            pair.map(Signer::new).ok_or(SignerError::Seed)
        }

        /// The signer of 32 random bytes.
        ///
        /// # Errors
        /// Never with 32 bytes, as the libraries stand.
        pub fn from_random(bytes: [u8; 32]) -> Result<Signer, SignerError> {
            KeyPair::new_from_raw(KeyPairType::User, bytes).map(Signer::new).map_err(|_| SignerError::Seed)
        }

        fn new(pair: KeyPair) -> Signer {
            Signer { public: pair.public_key(), pair }
        }

        /// The key by which others know it, `U…`.
        #[must_use]
        pub fn public(&self) -> &str {
            &self.public
        }

        /// The secret, to be kept.
        ///
        /// # Errors
        /// Never for a signer, as the library stands.
        pub fn seed(&self) -> Result<String, SignerError> {
            self.pair.seed().map_err(|_| SignerError::Seed)
        }

        /// The value of the header for these parts. The same parts give the same value.
        ///
        /// # Errors
        /// Never for a signer, as the library stands.
        pub fn sign(&self, parts: &Signed<'_>) -> Result<String, SignerError> {
            let signature = self.pair.sign(&parts.canonical()).map_err(|_| SignerError::Seed)?;
            Ok(format!("{}.{}", self.public, BASE64URL_NOPAD.encode(&signature)))
        }
    }

    /// The signers that are trusted. While a key is replaced there are two: the old one and the new one.
    #[derive(Clone, Default)]
    pub struct Signers(Vec<(String, KeyPair)>);

    impl std::fmt::Debug for Signers {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_list().entries(self.public()).finish()
        }
    }

    impl Signers {
        /// Those with these public keys; a key that is named twice counts once.
        ///
        /// # Errors
        /// One of them is no public key, or there are more than [`SIGNERS_MAX`].
        pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Signers, SignerError> {
            let mut signers = Signers::default();
            for key in keys {
                if signers.public().any(|known| known == key) {
                    continue;
                }
                if signers.0.len() == SIGNERS_MAX {
                    return Err(SignerError::Many);
                }
                let pair = KeyPair::from_public_key(key).ok().filter(|pair| pair.key_pair_type() == KeyPairType::User);
                signers.0.push((key.to_owned(), pair.ok_or(SignerError::Public)?));
            }
            Ok(signers)
        }

        /// Their public keys.
        pub fn public(&self) -> impl Iterator<Item = &str> {
            self.0.iter().map(|(key, _)| key.as_str())
        }

        /// Is nobody trusted?
        #[must_use]
        pub fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        /// What the signature of a message is worth. Only a message that names a trusted signer costs the arithmetic.
        #[must_use]
        pub fn verify(&self, parts: &Signed<'_>) -> Verdict {
            let Some(value) = parts.signature else { return if parts.ambiguous { Verdict::Malformed } else { Verdict::Unsigned } };
            let Some((signer, signature)) = value.split_once('.').filter(|_| !parts.ambiguous) else { return Verdict::Malformed };
            let Ok(signature) = BASE64URL_NOPAD.decode(signature.as_bytes()) else { return Verdict::Malformed };
            let key_like = signer.len() == 56 && signer.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            if signature.len() != 64 || !key_like {
                return Verdict::Malformed;
            }
            match self.0.iter().find(|(known, _)| known == signer) {
                None => Verdict::Untrusted(signer.to_owned()),
                Some((_, key)) if key.verify(&parts.canonical(), &signature).is_ok() => Verdict::Good(signer.to_owned()),
                Some(_) => Verdict::Forged(signer.to_owned()),
            }
        }
    }
}

#[cfg(all(test, feature = "signature"))]
mod tests;
