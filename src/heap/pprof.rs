//! pprof profiles: `profile.proto` of github.com/google/pprof, plain or gzipped.
//!
//! The fields are read in whatever order they stand; of samples their stacks and one value are kept, of the tables what names need.
//! Of the values a profile offers, the one it calls its default is taken if it is in bytes, else the first of `inuse_space`, `space`,
//! or whatever else is in bytes. A function stands for what was allocated in it (`own`) and for all that was allocated in it and what
//! it called (`with_callees`), recursion counted once.

use super::source::Source;
use super::{Amount, Entry, Format, HeapError, NAMES_MAX, OTHERS, Profile};
use std::collections::{BTreeSet, HashMap};
use std::io::Read;

/// One field is at most this long, bytes.
const FIELD_MAX: usize = 64 * 1024 * 1024;
/// Places in all stacks together.
const PLACES_MAX: usize = 8_000_000;
/// Bytes of all strings together.
const STRINGS_MAX: usize = 128 * 1024 * 1024;
/// Locations and functions, each.
const TABLE_MAX: usize = 4_000_000;

#[derive(Default)]
struct Tables {
    sample_types: Vec<(u64, u64)>,
    default_type: u64,
    /// Numbers of locations, the innermost first; a stack is a part of it.
    places: Vec<u64>,
    /// Where each sample's stack ends in `places`, and its values in `values`.
    samples: Vec<(usize, usize)>,
    /// Values of samples; in each there are as many as there are types, which may stand behind them.
    values: Vec<i64>,
    /// Location → functions and lines, the innermost first; or its address.
    locations: HashMap<u64, (Vec<u64>, u64)>,
    /// Function → name and file.
    functions: HashMap<u64, (u64, u64)>,
    strings: Vec<String>,
}

/// Reads a profile.
///
/// # Errors
/// See [`HeapError`].
pub(super) fn read<R: Read>(mut source: Source<R>) -> Result<Profile, HeapError> {
    let mut tables = Tables::default();
    let mut bytes = Vec::new();
    let mut strings = 0;
    while let Some(key) = varint_or_end(&mut source)? {
        match (key >> 3, key & 7) {
            (0, _) => return Err(source.malformed(Format::Pprof, "a field without a number")),
            (14, 0) => tables.default_type = varint(&mut source)?,
            (_, 0) => drop(varint(&mut source)?),
            (_, 1) => pass(&mut source, 8)?,
            (_, 5) => pass(&mut source, 4)?,
            (field, 2) => {
                let length = usize::try_from(varint(&mut source)?).unwrap_or(usize::MAX);
                if length > FIELD_MAX {
                    return Err(HeapError::TooMuch { limit: FIELD_MAX, what: "bytes in a field" });
                }
                whole(&mut source, length, &mut bytes)?;
                if field == 6 {
                    strings += length;
                    if strings > STRINGS_MAX {
                        return Err(HeapError::TooMuch { limit: STRINGS_MAX, what: "bytes of names" });
                    }
                }
                let at = source.at();
                tables.field(field, &bytes).map_err(|why| match why {
                    Wrong::Shape(what) => HeapError::Malformed { format: Format::Pprof, at, what: what.to_owned() },
                    Wrong::TooMuch(limit, what) => HeapError::TooMuch { limit, what },
                })?;
            }
            (_, kind) => return Err(source.malformed(Format::Pprof, format!("a field of kind {kind}"))),
        }
    }
    if tables.sample_types.is_empty() || tables.strings.is_empty() {
        return Err(source.malformed(Format::Pprof, "no sample types or no strings"));
    }
    tables.profile().map_err(|what| source.malformed(Format::Pprof, what))
}

enum Wrong {
    Shape(&'static str),
    TooMuch(usize, &'static str),
}

impl From<&'static str> for Wrong {
    fn from(what: &'static str) -> Wrong {
        Wrong::Shape(what)
    }
}

impl Tables {
    fn field(&mut self, field: u64, bytes: &[u8]) -> Result<(), Wrong> {
        match field {
            1 => {
                let mut kind = (0, 0);
                each(bytes, |field, value| {
                    match (field, value) {
                        (1, Value::Number(name)) => kind.0 = name,
                        (2, Value::Number(unit)) => kind.1 = unit,
                        _ => {}
                    }
                    Ok(())
                })?;
                self.sample_types.push(kind);
                if self.sample_types.len() > 64 {
                    return Err(Wrong::TooMuch(64, "sample types"));
                }
            }
            2 => self.sample(bytes)?,
            4 => {
                let (mut id, mut address, mut functions) = (0, 0, Vec::new());
                each(bytes, |field, value| {
                    match (field, value) {
                        (1, Value::Number(number)) => id = number,
                        (3, Value::Number(number)) => address = number,
                        (4, Value::Bytes(line)) => each(line, |field, value| {
                            if let (1, Value::Number(function)) = (field, value) {
                                functions.push(function);
                            }
                            Ok(())
                        })?,
                        _ => {}
                    }
                    Ok(())
                })?;
                self.locations.insert(id, (functions, address));
            }
            5 => {
                let (mut id, mut name, mut file) = (0, 0, 0);
                each(bytes, |field, value| {
                    match (field, value) {
                        (1, Value::Number(number)) => id = number,
                        (2, Value::Number(number)) => name = number,
                        (4, Value::Number(number)) => file = number,
                        _ => {}
                    }
                    Ok(())
                })?;
                self.functions.insert(id, (name, file));
            }
            6 => self.strings.push(String::from_utf8_lossy(bytes).into_owned()),
            _ => {}
        }
        if self.locations.len().max(self.functions.len()) > TABLE_MAX {
            return Err(Wrong::TooMuch(TABLE_MAX, "locations or functions"));
        }
        Ok(())
    }

    fn sample(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let (mut places, mut values) = (Vec::new(), Vec::new());
        each(bytes, |field, value| {
            let into = match field {
                1 => &mut places,
                2 => &mut values,
                _ => return Ok(()),
            };
            match value {
                Value::Number(number) => into.push(number),
                Value::Bytes(mut packed) => {
                    while !packed.is_empty() {
                        into.push(number(&mut packed)?);
                    }
                }
            }
            Ok(())
        })?;
        if self.places.len() + places.len() > PLACES_MAX || self.values.len() > PLACES_MAX {
            return Err(Wrong::TooMuch(PLACES_MAX, "places in stacks"));
        }
        self.places.extend(places);
        // A negative number, as in a difference of profiles, is written as the large one of the same bits.
        self.values.extend(values.into_iter().map(u64::cast_signed));
        self.samples.push((self.places.len(), self.values.len()));
        Ok(())
    }

    fn text(&self, number: u64) -> &str {
        usize::try_from(number).ok().and_then(|number| self.strings.get(number)).map_or("", String::as_str)
    }

    fn name(&self, location: u64, function: Option<u64>) -> String {
        let known = function.and_then(|function| self.functions.get(&function));
        let name = known.map_or("", |(name, _)| self.text(*name));
        if name.is_empty() {
            let address = self.locations.get(&location).map_or(location, |(_, address)| *address);
            return format!("0x{address:x}");
        }
        let file = known.map_or("", |(_, file)| self.text(*file));
        if file.is_empty() { name.to_owned() } else { format!("{name} ({file})") }
    }

    /// The places of the value in bytes and of the count that belongs to it, among the values of a sample.
    fn columns(&self) -> Result<(usize, Option<usize>), &'static str> {
        let name = |place: usize| self.text(self.sample_types[place].0);
        let bytes: Vec<usize> = (0..self.sample_types.len()).filter(|place| self.text(self.sample_types[*place].1) == "bytes").collect();
        let called = |wanted: &str| bytes.iter().copied().find(|place| name(*place) == wanted);
        let default = bytes.iter().copied().find(|place| self.default_type != 0 && self.sample_types[*place].0 == self.default_type);
        let value = default.or_else(|| called("inuse_space")).or_else(|| called("space")).or(bytes.first().copied());
        let value = value.ok_or("none of its values is in bytes: a profile of something else than the heap")?;
        let stem = name(value).strip_suffix("space").or(name(value).strip_suffix("bytes"));
        let objects = stem.map(|stem| format!("{stem}objects"));
        let count = (0..self.sample_types.len()).find(|place| *place != value && Some(name(*place)) == objects.as_deref());
        Ok((value, count))
    }

    fn profile(&self) -> Result<Profile, &'static str> {
        let names = self.functions.values().flat_map(|(name, file)| [*name, *file]);
        let mut names = names.chain(self.sample_types.iter().flat_map(|(name, unit)| [*name, *unit]));
        if names.any(|name| usize::try_from(name).is_ok_and(|name| name >= self.strings.len())) {
            return Err("a name is not among the strings; it may be cut off");
        }
        let (value, count) = self.columns()?;
        let mut names: HashMap<(u64, Option<u64>), usize> = HashMap::new();
        let mut entries: Vec<(String, Entry)> = Vec::new();
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut total = Amount::default();
        let mut start = (0, 0);
        let mut seen = BTreeSet::new();
        for &end in &self.samples {
            let (stack, values) = (&self.places[start.0..end.0], &self.values[start.1..end.1]);
            start = end;
            if values.len() != self.sample_types.len() {
                return Err("a sample has not as many values as there are types");
            }
            let amount = Amount { bytes: values[value], count: count.map_or(0, |count| values[count]) };
            total.add(amount);
            seen.clear();
            let mut innermost = true;
            for &location in stack {
                let (functions, _) = self.locations.get(&location).ok_or("a stack names a location that is not there")?;
                let frames = functions.iter().copied().map(Some).chain(functions.is_empty().then_some(None));
                for function in frames {
                    let entry = *names.entry((if function.is_some() { 0 } else { location }, function)).or_insert_with(|| {
                        let name = if numbers.len() < NAMES_MAX { self.name(location, function) } else { OTHERS.to_owned() };
                        *numbers.entry(name.clone()).or_insert_with(|| {
                            entries.push((name, Entry { with_callees: Some(0), ..Entry::default() }));
                            entries.len() - 1
                        })
                    });
                    let entry_of = &mut entries[entry].1;
                    if innermost {
                        entry_of.own.add(amount);
                        innermost = false;
                    }
                    if seen.insert(entry) {
                        entry_of.with_callees = entry_of.with_callees.map(|bytes| bytes.saturating_add(amount.bytes));
                    }
                }
            }
        }
        let value = Some(self.text(self.sample_types[value].0).to_owned()).filter(|name| !name.is_empty());
        Ok(Profile { format: Format::Pprof, value, entries: entries.into_iter().collect(), total })
    }
}

/// A field's value: numbers and bytes are all that profiles have.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Every field of a message.
fn each<'a>(mut bytes: &'a [u8], mut take: impl FnMut(u64, Value<'a>) -> Result<(), Wrong>) -> Result<(), Wrong> {
    while !bytes.is_empty() {
        let key = number(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(number(&mut bytes)?),
            2 => {
                let length = usize::try_from(number(&mut bytes)?).unwrap_or(usize::MAX);
                Value::Bytes(part(&mut bytes, length)?)
            }
            1 => Value::Bytes(part(&mut bytes, 8)?),
            5 => Value::Bytes(part(&mut bytes, 4)?),
            _ => return Err("a field of an unknown kind".into()),
        };
        take(key >> 3, value)?;
    }
    Ok(())
}

fn part<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], &'static str> {
    let (part, rest) = bytes.split_at_checked(length).ok_or("a field is longer than what holds it")?;
    *bytes = rest;
    Ok(part)
}

fn number(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or("a number is cut off")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number of more than 64 bits")
}

fn varint<R: Read>(source: &mut Source<R>) -> Result<u64, HeapError> {
    varint_or_end(source)?.ok_or_else(|| source.cut_off("in a field"))
}

fn varint_or_end<R: Read>(source: &mut Source<R>) -> Result<Option<u64>, HeapError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        match source.next()? {
            Some(byte) => {
                value |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    return Ok(Some(value));
                }
            }
            None if shift == 0 => return Ok(None),
            None => return Err(source.cut_off("in a number")),
        }
    }
    Err(source.malformed(Format::Pprof, "a number of more than 64 bits"))
}

fn whole<R: Read>(source: &mut Source<R>, length: usize, into: &mut Vec<u8>) -> Result<(), HeapError> {
    into.clear();
    while into.len() < length {
        let piece = source.piece()?;
        if piece.is_empty() {
            return Err(source.cut_off("in a field"));
        }
        let count = piece.len().min(length - into.len());
        into.extend_from_slice(&piece[..count]);
        source.consume(count);
    }
    Ok(())
}

fn pass<R: Read>(source: &mut Source<R>, mut length: usize) -> Result<(), HeapError> {
    while length > 0 {
        let count = source.piece()?.len().min(length);
        if count == 0 {
            return Err(source.cut_off("in a field"));
        }
        source.consume(count);
        length -= count;
    }
    Ok(())
}
