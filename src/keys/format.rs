//! How a key looks: `hst_{live|test}_{id:12}_{secret:43}_{tag:11}{crc:6}`, 83 characters, all of them base62.
//!
//! - `id` names the row in the database. It is no secret.
//! - `secret` is 43 letters and digits from the operating system: 256 bits.
//! - `tag`, the *mint tag*, is a 64-bit truncated keyed BLAKE3 over id and secret. Without the mint key nobody can write one that is
//!   right, so that nobody can make the server look anything up, let alone run argon2.
//! - `crc` is the CRC-32 (ISO-HDLC, as in zlib and PNG) of everything before it, six base62 digits, the largest first: a scanner of
//!   public repositories recognises a key by it without asking anybody, as it does those of GitHub.
//!
//! A key whose secret was drawn elsewhere, of which only a hash was handed over, is shown as `hst_{live|test}_{id:12}_{tag:11}~{secret}`:
//! its tag is over the id alone, and comes with the import.
//!
//! Promises
//! - KF-1 Nothing that is shown makes the parser panic, allocate, or look at more than [`SHOWN_MAX`] bytes.
//! - KF-2 A key that was minted is read as itself; with any one character changed it is not read at all.

use homeostat_schemas::key::{Environment, KEY_ID_LEN};
use std::fmt;
use zeroize::Zeroizing;

/// The length of a minted key.
pub const KEY_LEN: usize = 83;
/// The length of its secret.
pub const SECRET_LEN: usize = 43;
/// The longest text that may be a key.
pub const SHOWN_MAX: usize = 256;
/// The longest secret that was drawn elsewhere.
pub const FOREIGN_MAX: usize = 192;

const TAG_LEN: usize = 11;
const CRC_LEN: usize = 6;
const HEAD_LEN: usize = "hst_live_".len();
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The value of each base62 digit, 255 for everything else.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut digit = 0;
    while digit < DIGITS.len() {
        values[DIGITS[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// The id of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KEY_ID_LEN]);

impl KeyId {
    /// The id that this text is.
    #[must_use]
    pub fn parse(text: &str) -> Option<KeyId> {
        let bytes: [u8; KEY_ID_LEN] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_alphanumeric).then_some(KeyId(bytes))
    }

    /// A new one.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn draw() -> Result<KeyId, NoRandomness> {
        let mut id = [0; KEY_ID_LEN];
        draw(&mut id)?;
        Ok(KeyId(id))
    }

    /// Its letters and digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Letters and digits are UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_ID_LEN] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The operating system gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random numbers: {0}")]
pub struct NoRandomness(getrandom::Error);

/// A key in full. Wiped when it is dropped; shown nowhere but where it is meant to be seen, by [`expose`](KeyText::expose).
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(Zeroizing<String>);

impl KeyText {
    /// The text itself, for its owner's eyes.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A text that came from outside.
    #[must_use]
    pub fn new(text: String) -> KeyText {
        KeyText(Zeroizing::new(text))
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(…)")
    }
}

/// The parts of a key that was shown; the form is right, and nothing else is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shown<'a> {
    /// What it says that it is for.
    pub environment: Environment,
    /// Which key it says it is.
    pub id: KeyId,
    /// Its secret.
    pub secret: &'a [u8],
    /// The mint tag.
    pub tag: u64,
    /// Was the secret drawn elsewhere?
    pub foreign: bool,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("id", &self.id).field("foreign", &self.foreign).finish_non_exhaustive()
    }
}

impl Shown<'_> {
    /// Was it made by the holder of this mint key?
    #[must_use]
    pub fn minted_by(&self, mint: &[u8; 32]) -> bool {
        // One comparison of two registers: no time tells how much of it was right.
        self.tag == if self.foreign { foreign_tag(mint, &self.id) } else { tag(mint, &self.id, self.secret) }
    }
}

/// The parts of what was shown, if it has the form of a key and its checksum is right.
#[must_use]
pub fn parse(text: &str) -> Option<Shown<'_>> {
    let bytes = text.as_bytes();
    if bytes.len() < HEAD_LEN + KEY_ID_LEN || bytes.len() > SHOWN_MAX {
        return None;
    }
    let (head, rest) = bytes.split_at(HEAD_LEN);
    let environment = match head {
        b"hst_live_" => Environment::Live,
        b"hst_test_" => Environment::Test,
        _ => return None,
    };
    let (id, rest) = rest.split_first_chunk::<KEY_ID_LEN>()?;
    let rest = rest.strip_prefix(b"_")?;
    if !id.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let id = KeyId(*id);
    if bytes.len() == KEY_LEN && rest[TAG_LEN] != b'~' && rest[SECRET_LEN] == b'_' {
        let (secret, rest) = rest.split_at(SECRET_LEN);
        let tail = &rest[1..];
        let crc = number(&tail[TAG_LEN..])?;
        if crc != u64::from(crc32fast::hash(&bytes[..KEY_LEN - CRC_LEN])) || !secret.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        return Some(Shown { environment, id, secret, tag: number(&tail[..TAG_LEN])?, foreign: false });
    }
    let (tag, rest) = rest.split_at_checked(TAG_LEN)?;
    let secret = rest.strip_prefix(b"~")?;
    let fine = (1..=FOREIGN_MAX).contains(&secret.len()) && secret.iter().all(u8::is_ascii_graphic);
    fine.then_some(Shown { environment, id, secret, tag: number(tag)?, foreign: true })
}

/// Draws a secret and writes the whole key.
///
/// # Errors
/// The operating system gives no random numbers.
pub fn mint(environment: Environment, id: &KeyId, mint: &[u8; 32]) -> Result<KeyText, NoRandomness> {
    let mut secret = Zeroizing::new([0_u8; SECRET_LEN]);
    draw(secret.as_mut())?;
    let mut text = Zeroizing::new(String::with_capacity(KEY_LEN));
    head(&mut text, environment, id);
    text.push_str(std::str::from_utf8(secret.as_ref()).unwrap_or_default());
    text.push('_');
    digits(&mut text, tag(mint, id, secret.as_ref()), TAG_LEN);
    let crc = crc32fast::hash(text.as_bytes());
    digits(&mut text, u64::from(crc), CRC_LEN);
    Ok(KeyText(text))
}

/// What the holder of a secret that was drawn elsewhere puts before it.
#[must_use]
pub fn foreign_prefix(environment: Environment, id: &KeyId, mint: &[u8; 32]) -> String {
    let mut text = String::with_capacity(HEAD_LEN + KEY_ID_LEN + TAG_LEN + 2);
    head(&mut text, environment, id);
    digits(&mut text, foreign_tag(mint, id), TAG_LEN);
    text.push('~');
    text
}

fn head(text: &mut String, environment: Environment, id: &KeyId) {
    text.push_str("hst_");
    text.push_str(environment.name());
    text.push('_');
    text.push_str(id.as_str());
    text.push('_');
}

/// 64 bits of a keyed BLAKE3 over id and secret.
fn tag(mint: &[u8; 32], id: &KeyId, secret: &[u8]) -> u64 {
    let mut input = Zeroizing::new([0_u8; KEY_ID_LEN + SECRET_LEN]);
    let (first, second) = input.split_at_mut(KEY_ID_LEN);
    first.copy_from_slice(id.as_bytes());
    second.copy_from_slice(&secret[..SECRET_LEN]);
    truncated(&blake3::keyed_hash(mint, input.as_ref()))
}

/// The same over the id alone; of another length, so that neither can be taken for the other.
fn foreign_tag(mint: &[u8; 32], id: &KeyId) -> u64 {
    let mut input = [0_u8; KEY_ID_LEN + 7];
    let (first, second) = input.split_at_mut(KEY_ID_LEN);
    first.copy_from_slice(id.as_bytes());
    second.copy_from_slice(b"foreign");
    truncated(&blake3::keyed_hash(mint, &input))
}

fn truncated(hash: &blake3::Hash) -> u64 {
    hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Random bytes from the operating system.
pub(super) fn random(into: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(into).map_err(NoRandomness)
}

/// Fills with letters and digits, each as likely as any other.
fn draw(into: &mut [u8]) -> Result<(), NoRandomness> {
    let mut pool = Zeroizing::new([0_u8; 64]);
    let mut filled = 0;
    while filled < into.len() {
        random(pool.as_mut())?;
        // 248 = 4 · 62: what is above would make the first digits more likely.
        for byte in pool.iter().filter(|byte| **byte < 248) {
            let Some(place) = into.get_mut(filled) else { break };
            *place = DIGITS[usize::from(byte % 62)];
            filled += 1;
        }
    }
    Ok(())
}

fn digits(text: &mut String, mut number: u64, width: usize) {
    let mut written = [b'0'; TAG_LEN];
    for place in written[..width].iter_mut().rev() {
        *place = DIGITS[usize::try_from(number % 62).unwrap_or_default()];
        number /= 62;
    }
    text.extend(written[..width].iter().copied().map(char::from));
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        let value = VALUES[usize::from(*digit)];
        if value == 255 { None } else { number.checked_mul(62)?.checked_add(u64::from(value)) }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const MINT: [u8; 32] = [7; 32];

    fn example() -> KeyText {
        mint(Environment::Live, &KeyId::parse("aB3dE6gH9jK2").unwrap(), &MINT).unwrap()
    }

    #[test]
    fn a_key_is_read_as_what_was_minted() {
        let text = example();
        assert_eq!(text.expose().len(), KEY_LEN);
        let shown = parse(text.expose()).unwrap();
        assert_eq!((shown.id.as_str(), shown.environment, shown.foreign), ("aB3dE6gH9jK2", Environment::Live, false));
        assert!(shown.minted_by(&MINT) && !shown.minted_by(&[8; 32]));
        assert_ne!(example().expose(), text.expose(), "every secret is another");
        assert!(!format!("{text:?} {shown:?}").contains(std::str::from_utf8(shown.secret).unwrap()));
    }

    #[test]
    fn no_key_with_one_character_changed_is_ours() {
        let text = example();
        for place in 0..KEY_LEN {
            for other in ['0', 'Z', 'q', '_', '~', ' ', 'é'] {
                let changed: String = text.expose().chars().enumerate().map(|(i, c)| if i == place { other } else { c }).collect();
                // A `~` at one place makes the form of a foreign one of it, which has no checksum; its tag is as wrong.
                let read = parse(&changed).filter(|shown| !shown.foreign || shown.minted_by(&MINT));
                assert!(changed == text.expose() || read.is_none(), "{place} {other}");
            }
        }
    }

    #[test]
    fn the_checksum_is_the_one_that_others_compute() {
        // The check value of CRC-32/ISO-HDLC, from the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        let mut text = String::new();
        digits(&mut text, 0xcbf4_3926, CRC_LEN);
        assert_eq!(text, "3jZRME");
        assert_eq!(number(text.as_bytes()), Some(0xcbf4_3926));
    }

    #[test]
    fn a_foreign_secret_is_shown_behind_its_prefix() {
        let id = KeyId::parse("aB3dE6gH9jK2").unwrap();
        let text = foreign_prefix(Environment::Test, &id, &MINT) + "sk_42/+=";
        let shown = parse(&text).unwrap();
        assert!(shown.foreign && shown.minted_by(&MINT) && !shown.minted_by(&[8; 32]));
        assert_eq!(shown.secret, b"sk_42/+=");
        for bad in ["", " ", "a b", "ä", &"x".repeat(FOREIGN_MAX + 1)] {
            assert!(parse(&(foreign_prefix(Environment::Test, &id, &MINT) + bad)).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_the_parser_panic(text in "\\PC{0,300}") {
            let _ = parse(&text);
        }

        #[test]
        fn nothing_with_the_right_head_makes_the_parser_panic(rest in "[0-9A-Za-z_~é]{0,90}") {
            let _ = parse(&format!("hst_live_{rest}"));
        }

        #[test]
        fn numbers_come_back(value: u64) {
            let mut text = String::new();
            digits(&mut text, value, TAG_LEN);
            prop_assert_eq!(number(text.as_bytes()), Some(value));
        }

        #[test]
        fn every_key_is_read_again(seed: [u8; 32], live: bool) {
            let environment = if live { Environment::Live } else { Environment::Test };
            let id = KeyId::draw().unwrap();
            let text = mint(environment, &id, &seed).unwrap();
            let shown = parse(text.expose()).unwrap();
            prop_assert_eq!((shown.id, shown.environment), (id, environment));
            prop_assert!(shown.minted_by(&seed));
        }
    }
}
