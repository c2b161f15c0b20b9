//! jemalloc heap profiles: the text that `prof.dump` writes (`heap_v2`), and the older one of gperftools.
//!
//! ```text
//! heap_v2/524288
//!   t*: 28106: 56637512 [0: 0]
//! @ 0x5f86da8 0x5f5a1dc 0x4037b2
//!   t*: 13: 6688 [0: 0]
//!   t3: 12: 6496 [0: 0]
//! MAPPED_LIBRARIES:
//! 00400000-00452000 r-xp 00000000 08:02 173521 /usr/bin/app
//! ```
//!
//! A stack's own line is that of all threads (`t*`); in brackets stands what was ever allocated, which is not there unless jemalloc was
//! told to count it. The profile is a sample of one allocation in so many bytes; amounts are made whole as `jeprof` does it: a site
//! whose objects have the mean size m was seen with the probability 1 − e^(−m/rate), and counts as often again. Addresses become
//! `library+0xoffset` by the map at the end, so that the same place has the same name in the next process.

use super::source::Source;
use super::{Amount, Entry, Format, HeapError, NAMES_MAX, OTHERS, Profile};
use std::collections::HashMap;
use std::io::Read;

/// A line is at most this long.
const LINE_MAX: usize = 256 * 1024;
/// Places in all stacks together.
const PLACES_MAX: usize = 8_000_000;
/// Libraries in the map.
const MAPS_MAX: usize = 100_000;
/// Places of a stack that are shown.
const SHOWN: usize = 6;

struct Map {
    from: u64,
    to: u64,
    offset: u64,
    name: String,
}

/// Reads a profile.
///
/// # Errors
/// See [`HeapError`].
pub(super) fn read<R: Read>(source: Source<R>) -> Result<Profile, HeapError> {
    let mut lines = Lines { source, line: Vec::new(), started: 0 };
    let head = lines.next()?.unwrap_or_default();
    let rate = rate(&head).ok_or_else(|| lines.malformed("the first line is not `heap_v2/RATE`"))?;
    let mut sites: HashMap<Vec<u64>, Amount> = HashMap::new();
    let (mut maps, mut places, mut stack) = (Vec::new(), 0, None::<Vec<u64>>);
    let mut total = None;
    let mut mapped = false;
    while let Some(line) = lines.next()? {
        let text = line.trim();
        if mapped {
            maps.extend(map(text));
            if maps.len() > MAPS_MAX {
                return Err(HeapError::TooMuch { limit: MAPS_MAX, what: "mapped libraries" });
            }
        } else if text.starts_with("MAPPED_LIBRARIES") {
            mapped = true;
        } else if let Some(addresses) = text.strip_prefix('@') {
            let addresses = self::addresses(addresses).ok_or_else(|| lines.malformed("a stack that is none"))?;
            places += addresses.len();
            stack = Some(addresses);
        } else if let Some((amount, addresses)) = text.split_once('@') {
            // The older form: amounts and stack on one line.
            let amount = amounts(amount).ok_or_else(|| lines.malformed("amounts that are none"))?;
            let addresses = self::addresses(addresses).ok_or_else(|| lines.malformed("a stack that is none"))?;
            places += addresses.len();
            sites.entry(addresses).or_default().add(amount.whole(rate));
        } else if let Some(rest) = text.strip_prefix("t*:") {
            let amount = amounts(rest).ok_or_else(|| lines.malformed("amounts that are none"))?;
            match stack.take() {
                Some(stack) => sites.entry(stack).or_default().add(amount.whole(rate)),
                None => total = Some(amount),
            }
        } else if text.starts_with('t') && text[1..].starts_with(|c: char| c.is_ascii_digit()) || text.is_empty() {
            // One thread's part of what was counted already.
        } else {
            return Err(lines.malformed("a line that is none of a heap profile"));
        }
        if places > PLACES_MAX {
            return Err(HeapError::TooMuch { limit: PLACES_MAX, what: "places in stacks" });
        }
    }
    if stack.is_some() || sites.is_empty() && total.is_none_or(|total| total.count != 0) {
        return Err(lines.source.cut_off("before the amounts of a stack"));
    }
    // Everything is followed by the map; a profile without it may have lost stacks as well.
    if !mapped {
        return Err(lines.source.cut_off("before the mapped libraries"));
    }
    maps.sort_by_key(|map| map.from);
    Ok(profile(sites, &maps))
}

fn profile(sites: HashMap<Vec<u64>, Amount>, maps: &[Map]) -> Profile {
    let mut entries: HashMap<String, Entry> = HashMap::new();
    let mut total = Amount::default();
    for (stack, amount) in sites {
        total.add(amount);
        let name = if entries.len() < NAMES_MAX { name(&stack, maps) } else { OTHERS.to_owned() };
        entries.entry(name).or_default().own.add(amount);
    }
    Profile { format: Format::Jemalloc, value: Some("inuse_space".to_owned()), entries, total }
}

/// The place of an address: in which library, and where in its file.
fn place(address: u64, maps: &[Map]) -> (Option<&Map>, u64) {
    let map = maps[..maps.partition_point(|map| map.from <= address)].last().filter(|map| address < map.to);
    (map, map.map_or(address, |map| address - map.from + map.offset))
}

/// The innermost places of a stack, without those of the allocator itself.
fn name(stack: &[u64], maps: &[Map]) -> String {
    let own = |address: &&u64| place(**address, maps).0.is_some_and(|map| map.name.contains("jemalloc"));
    let skipped = stack.iter().take_while(own).count() % stack.len().max(1);
    let stack = &stack[skipped..];
    let mut name = String::new();
    for (index, address) in stack.iter().take(SHOWN).enumerate() {
        let before = if index == 0 { "" } else { " < " };
        let (map, offset) = place(*address, maps);
        let library = map.map_or(String::new(), |map| format!("{}+", map.name));
        name.push_str(&format!("{before}{library}0x{offset:x}"));
    }
    if stack.len() > SHOWN {
        // Other stacks may begin alike: what is not shown tells them apart.
        let rest: Vec<u8> = stack[SHOWN..].iter().flat_map(|address| place(*address, maps).1.to_le_bytes()).collect();
        name.push_str(&format!(" < … #{:08x}", xxhash_rust::xxh3::xxh3_64(&rest) & 0xffff_ffff));
    }
    name
}

/// `heap_v2/524288`, or `heap profile: … @ heap_v2/524288`: bytes between two samples, 0 when nothing was sampled.
fn rate(line: &str) -> Option<f64> {
    let kind = line.rsplit_once('@').map_or(line, |(_, kind)| kind).trim();
    if !line.starts_with("heap") {
        return None;
    }
    let (kind, rate) = kind.split_once('/').unwrap_or((kind, "1"));
    let rate: f64 = rate.trim().parse().ok()?;
    match kind {
        "heap_v2" => Some(rate),
        "heapprofile" => Some(0.0),
        _ => None,
    }
}

fn addresses(text: &str) -> Option<Vec<u64>> {
    text.split_ascii_whitespace().map(|address| u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()).collect()
}

/// `13: 6688 [0: 0]`
fn amounts(text: &str) -> Option<Amount> {
    let (count, rest) = text.split_once(':')?;
    let (bytes, brackets) = rest.split_once('[')?;
    brackets.trim_end().strip_suffix(']')?.split_once(':')?;
    Some(Amount { count: count.trim().parse().ok()?, bytes: bytes.trim().parse().ok()? })
}

impl Amount {
    /// What a sample of one in `rate` bytes stands for.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn whole(self, rate: f64) -> Amount {
        if self.count <= 0 || rate <= 1.0 {
            return self;
        }
        let mean = self.bytes as f64 / self.count as f64;
        let scale = 1.0 / (1.0 - (-mean / rate).exp());
        if !scale.is_finite() {
            return self;
        }
        Amount { count: (self.count as f64 * scale).round() as i64, bytes: (self.bytes as f64 * scale).round() as i64 }
    }
}

/// `00400000-00452000 r-xp 00000000 08:02 173521 /usr/bin/app`
fn map(line: &str) -> Option<Map> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let offset = words.nth(1)?;
    let path = words.nth(2)?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
    Some(Map { from: hex(from)?, to: hex(to)?, offset: hex(offset)?, name })
}

struct Lines<R> {
    source: Source<R>,
    line: Vec<u8>,
    started: u64,
}

impl<R: Read> Lines<R> {
    /// The next line without its end; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<String>, HeapError> {
        self.line.clear();
        self.started = self.source.at();
        loop {
            let piece = self.source.piece()?;
            if piece.is_empty() {
                // Every line of a profile has an end.
                return if self.line.is_empty() { Ok(None) } else { Err(self.source.cut_off("in a line")) };
            }
            let end = memchr::memchr(b'\n', piece);
            let count = end.unwrap_or(piece.len());
            self.line.extend_from_slice(&piece[..count]);
            self.source.consume(count + usize::from(end.is_some()));
            if self.line.len() > LINE_MAX {
                return Err(HeapError::TooMuch { limit: LINE_MAX, what: "bytes in a line" });
            }
            if end.is_some() {
                return Ok(Some(String::from_utf8_lossy(&self.line).into_owned()));
            }
        }
    }

    fn malformed(&self, what: &str) -> HeapError {
        HeapError::Malformed { format: Format::Jemalloc, at: self.started, what: what.to_owned() }
    }
}
