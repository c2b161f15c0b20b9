//! The chain: hᵢ = BLAKE3(hᵢ₋₁ ‖ i ‖ record), h₀ is all zeroes, i is eight bytes, most significant first.

use super::record::{CHECKPOINT, Record, Signature, canonical};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What a signature is over begins with this, so that it can be none over anything else.
const CONTEXT: &[u8] = b"homeostat audit checkpoint 1\n";

/// The hash of everything up to a record.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash of the next record, which stands at `seq`.
    #[must_use]
    pub fn then(self, seq: u64, record: &[u8]) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(&seq.to_be_bytes()).update(record);
        Hash(*hasher.finalize().as_bytes())
    }

    /// What a signature over it is made of.
    #[must_use]
    pub fn to_be_signed(self, seq: u64) -> Vec<u8> {
        [CONTEXT, &self.0, &seq.to_be_bytes()].concat()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 64 hexadecimal digits")]
pub struct NoHash;

impl FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Hash, NoHash> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoHash);
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(NoHash)?;
        }
        Ok(Hash(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The end of a log as somebody noted it: `SEQ:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last record then.
    pub seq: u64,
    /// The hash there.
    pub hash: Hash,
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Head, String> {
        let form = || "write SEQ:HASH, as `homeostat audit verify` prints it".to_owned();
        let (seq, hash) = text.split_once(':').ok_or_else(form)?;
        Ok(Head { seq: seq.parse().map_err(|_| form())?, hash: hash.parse().map_err(|_| form())? })
    }
}

/// A record with its place and hash: a line of an exported file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its place, from 1.
    pub seq: u64,
    /// The record.
    pub record: Value,
    /// The hash as it was stored.
    pub hash: Hash,
}

/// What is wrong with a log, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The first record that does not fit; the missing one when one is missing.
    pub seq: u64,
    /// What is wrong.
    pub what: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing is wrong.
    pub ok: bool,
    /// Records that fit, signatures among them.
    pub records: u64,
    /// The last of them.
    pub last: u64,
    /// The hash there: note it elsewhere, and nobody can cut anything off.
    pub head: Hash,
    /// Signatures that fit.
    pub checkpoints: u64,
    /// The last record that a trusted key vouches for; 0 when there is none.
    pub signed_through: u64,
    /// The keys that signed.
    pub keys: BTreeSet<String>,
    /// What is wrong, if something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// Walks a log from its first record to its last.
#[derive(Debug)]
pub struct Checker {
    /// Keys whose signatures count; with none of them, all that are right in themselves do.
    trusted: BTreeSet<String>,
    noted: Option<Head>,
    hash: Hash,
    report: Report,
    /// Where the last signature is.
    signed: u64,
}

impl Checker {
    /// Begins. The log must go through the noted end, if there is one. Without trusted keys, whatever key signed is believed: that finds mistakes, and not somebody who made a key of their own.
    #[must_use]
    pub fn new(trusted: BTreeSet<String>, noted: Option<Head>) -> Checker {
        let report = Report {
            ok: true,
            records: 0,
            last: 0,
            head: Hash::default(),
            checkpoints: 0,
            signed_through: 0,
            keys: BTreeSet::new(),
            fault: None,
        };
        Checker { trusted, noted, hash: Hash::default(), report, signed: 0 }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// The first fault; after it, nothing more can be said.
    pub fn take(&mut self, link: &Link) -> Result<(), Fault> {
        if let Some(fault) = &self.report.fault {
            return Err(fault.clone());
        }
        match self.judge(link) {
            Ok(hash) => {
                self.hash = hash;
                self.report.records += 1;
                self.report.last = link.seq;
                self.report.head = hash;
                Ok(())
            }
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// A fault that was found outside: a line that is no record, or an end that should have come later.
    pub fn fail(&mut self, fault: Fault) -> Fault {
        self.report.ok = false;
        self.report.fault.get_or_insert(fault).clone()
    }

    /// What was found.
    #[must_use]
    pub fn end(mut self) -> Report {
        let last = self.report.last;
        if let Some(noted) = self.noted.filter(|noted| noted.seq > last) {
            let what = format!("the log ends with record {last}, and record {} was noted: what is behind was cut off", noted.seq);
            self.fail(Fault { seq: last + 1, what });
        }
        self.report
    }

    /// The place and hash of the last record so far.
    #[must_use]
    pub fn head(&self) -> (u64, Hash) {
        (self.report.last, self.hash)
    }

    fn judge(&mut self, link: &Link) -> Result<Hash, Fault> {
        let expected = self.report.last + 1;
        if link.seq != expected {
            let what = match link.seq {
                seq if seq < expected => format!("record {seq} stands behind record {}: it was moved or is there twice", expected - 1),
                seq => format!("record {expected} is missing: record {seq} stands in its place"),
            };
            return Err(Fault { seq: expected, what });
        }
        let hash = self.hash.then(link.seq, &canonical(&link.record));
        if hash != link.hash {
            let what = format!(
                "record {expected} was edited, or does not follow from the one before it: its hash is {}, and from what stands there it is {hash}",
                link.hash
            );
            return Err(Fault { seq: expected, what });
        }
        if self.noted.is_some_and(|noted| noted.seq == link.seq && noted.hash != hash) {
            return Err(Fault { seq: expected, what: format!("record {expected} or one before it is another one than was noted") });
        }
        let record = Record::deserialize(&link.record);
        let record = record.map_err(|_| Fault { seq: expected, what: format!("record {expected} is not in the form of one") })?;
        if record.action == CHECKPOINT {
            self.signature(expected, &record)?;
        }
        Ok(hash)
    }

    /// Judges a signature over everything before it.
    fn signature(&mut self, seq: u64, record: &Record) -> Result<(), Fault> {
        let fault = |what: String| Fault { seq, what: format!("checkpoint {seq}: {what}") };
        let Signature { through, hash, key, signature } =
            Signature::deserialize(&record.detail).map_err(|_| fault("it is not in the form of one".to_owned()))?;
        if !self.trusted.is_empty() && !self.trusted.contains(&key) {
            return Err(fault(format!("{key} signed it, which is none of the trusted keys")));
        }
        let bytes = STANDARD.decode(&signature).unwrap_or_default();
        let holds = nkeys::KeyPair::from_public_key(&key).is_ok_and(|pair| pair.verify(&hash.to_be_signed(through), &bytes).is_ok());
        if !holds {
            return Err(fault("its signature is wrong".to_owned()));
        }
        if through != seq - 1 || hash != self.hash {
            let from = self.signed + 1;
            return Err(Fault {
                seq: from,
                what: format!("the chain from record {from} on was written anew: checkpoint {seq} vouches for another one"),
            });
        }
        self.report.checkpoints += 1;
        self.report.signed_through = through;
        self.report.keys.insert(key);
        self.signed = seq;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::super::key::SigningKey;
    use super::super::record::Act;
    use super::*;

    /// A chain of records with a signature behind every fifth.
    fn chain(count: u64, key: &SigningKey, act: impl Fn(u64) -> String) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        let mut hash = Hash::default();
        for seq in 1..=count {
            let record = if seq % 5 == 0 {
                key.checkpoint("c".to_owned(), seq - 1, hash)
            } else {
                Record::new("r".to_owned(), Act { action: "order.pause", target: &act(seq), by: "local", ..Act::default() })
            };
            hash = hash.then(seq, &record.bytes());
            links.push(Link { seq, record: serde_json::to_value(record).unwrap(), hash });
        }
        links
    }

    fn check(links: &[Link], trusted: &[&str]) -> Report {
        let mut checker = Checker::new(trusted.iter().map(|key| (*key).to_owned()).collect(), None);
        let _ = links.iter().try_for_each(|link| checker.take(link));
        checker.end()
    }

    fn fault(links: &[Link], trusted: &[&str]) -> (u64, String) {
        let fault = check(links, trusted).fault.unwrap();
        (fault.seq, fault.what)
    }

    #[test]
    fn whatever_is_done_to_a_chain_the_first_record_is_named() {
        let key = SigningKey::draw();
        let (public, other) = (key.public(), SigningKey::draw().public());
        let good = chain(12, &key, |seq| format!("t{seq}"));
        let report = check(&good, &[&public]);
        assert_eq!((report.ok, report.records, report.checkpoints, report.signed_through), (true, 12, 2, 9));

        let mut edited = good.clone();
        edited[6].record["target"] = "other".into();
        assert_eq!(fault(&edited, &[]).0, 7);
        // Whoever edits a record may also give it a hash that fits: then the next one does not.
        edited[6].hash = good[5].hash.then(7, &canonical(&edited[6].record));
        assert_eq!(fault(&edited, &[]).0, 8);

        let mut deleted = good.clone();
        deleted.remove(3);
        let (seq, what) = fault(&deleted, &[]);
        assert!(seq == 4 && what.contains("record 4 is missing"), "{what}");
        for link in &mut deleted[3..] {
            link.seq -= 1;
        }
        assert_eq!(fault(&deleted, &[]).0, 4);

        let mut moved = good.clone();
        moved.swap(6, 7);
        assert_eq!(fault(&moved, &[]).0, 7);
        (moved[6].seq, moved[7].seq) = (7, 8);
        assert_eq!(fault(&moved, &[]).0, 7);
        let mut twice = good.clone();
        twice.insert(3, good[2].clone());
        assert_eq!(fault(&twice, &[]).0, 4);

        // Written anew as a whole, with signatures of another key, or with the old ones.
        let anew = chain(12, &SigningKey::draw(), |seq| format!("x{seq}"));
        assert!(check(&anew, &[]).ok, "without a trusted key nobody can tell");
        assert!(fault(&anew, &[&public]).1.contains("none of the trusted keys"));
        assert!(fault(&good, &[&other]).1.contains("none of the trusted keys"));
        let mut mixed: Vec<Link> = chain(9, &key, |seq| format!("{}{seq}", if seq > 6 { "x" } else { "t" }));
        let stolen = good[9].record.clone();
        let hash = mixed[8].hash.then(10, &canonical(&stolen));
        mixed.push(Link { seq: 10, record: stolen, hash });
        let (seq, what) = fault(&mixed, &[&public]);
        assert!(seq == 6 && what.contains("written anew"), "{seq} {what}");
        let mut forged = good[..10].to_vec();
        forged[9].record["detail"]["signature"] = STANDARD.encode([7; 64]).into();
        forged[9].hash = forged[8].hash.then(10, &canonical(&forged[9].record));
        assert!(fault(&forged, &[&public]).1.contains("signature is wrong"));
    }

    #[test]
    fn what_was_cut_off_is_missed_by_whoever_noted_the_end() {
        let good = chain(12, &SigningKey::draw(), |seq| format!("t{seq}"));
        let noted = |seq: usize| format!("{seq}:{}", good[seq - 1].hash).parse().unwrap();
        let check = |links: &[Link], noted: Head| {
            let mut checker = Checker::new(BTreeSet::new(), Some(noted));
            let _ = links.iter().try_for_each(|link| checker.take(link));
            checker.end()
        };
        assert!(check(&good, noted(12)).ok && check(&good, noted(4)).ok);
        let cut = check(&good[..10], noted(12));
        assert_eq!((cut.ok, cut.fault.unwrap().seq), (false, 11));
        let another = chain(12, &SigningKey::draw(), |seq| format!("x{seq}"));
        assert_eq!(check(&another, noted(4)).fault.unwrap().seq, 4);
        assert!(["", "4", "x:00", "4:00"].iter().all(|wrong| wrong.parse::<Head>().is_err()));
    }

    #[test]
    fn a_hash_is_its_digits() {
        let hash = Hash::default().then(1, b"x");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for wrong in ["", "00", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<Hash>(), Err(NoHash));
        }
    }
}
