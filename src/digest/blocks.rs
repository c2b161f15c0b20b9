//! A file in blocks that end where an entry ends, inflated if it is gzip.

use flate2::bufread::MultiGzDecoder;
use homeostat_actors::query::digest::LogFormat;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// About how long a block is, bytes: it fits into one processor's cache, with what is known of the statements beside it.
const BLOCK: usize = 512 * 1024;
/// An entry that is longer is cut, bytes.
pub const ENTRY_MAX: usize = 64 * 1024 * 1024;

/// A stretch of a log that ends where an entry ends. A block that has been looked through is filled again by [`Blocks::read`]:
/// memory that is there already is filled sooner than new memory is.
#[derive(Default)]
pub struct Block {
    buffer: Vec<u8>,
    len: usize,
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Block {
    fn set(&mut self, text: &[u8]) {
        if self.buffer.len() > 2 * BLOCK {
            // What a very long entry needed is not kept.
            self.buffer = Vec::new();
        }
        self.reserve(text.len());
        self.len = text.len();
        if let Some(place) = self.buffer.get_mut(..self.len) {
            place.copy_from_slice(text);
        }
    }

    fn reserve(&mut self, len: usize) {
        if self.buffer.len() < len {
            self.buffer.resize(len.max(BLOCK), 0);
        }
    }

    /// Reads until it is so long; says whether the input ended before that.
    fn fill(&mut self, input: &mut dyn Read, wanted: usize) -> io::Result<bool> {
        self.reserve(wanted);
        while let Some(room) = self.buffer.get_mut(self.len..wanted).filter(|room| !room.is_empty()) {
            match input.read(room) {
                Ok(0) => return Ok(true),
                Ok(read) => self.len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// Cuts what is read into blocks.
pub struct Blocks<'a> {
    input: &'a mut (dyn Read + Send),
    format: LogFormat,
    /// What was read of the entry with which the next block begins.
    rest: Vec<u8>,
    /// The number of the next block.
    next: u64,
    ended: bool,
}

impl<'a> Blocks<'a> {
    /// The blocks of a log.
    #[must_use]
    pub fn new(input: &'a mut (dyn Read + Send), format: LogFormat) -> Blocks<'a> {
        Blocks { input, format, rest: Vec::new(), next: 0, ended: false }
    }

    /// Reads the next block; its number, from 0, or `None` at the end.
    ///
    /// # Errors
    /// Reading failed, or the gzip is damaged. There is no next block after that.
    pub fn read(&mut self, block: &mut Block) -> io::Result<Option<u64>> {
        block.set(&self.rest);
        self.rest.clear();
        let mut wanted = BLOCK;
        while !self.ended {
            match block.fill(self.input, wanted) {
                Ok(ended) => self.ended = ended,
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
            if self.ended {
                break;
            }
            if let Some(at) = self.format.last_entry(block) {
                self.rest.extend_from_slice(block.get(at..).unwrap_or_default());
                block.len = at;
                break;
            }
            if block.len() >= ENTRY_MAX {
                break;
            }
            wanted = block.len() * 2;
        }
        let number = self.next;
        self.next += 1;
        Ok((!block.is_empty()).then_some(number))
    }
}

/// A file or standard input to read, and how far that has come.
pub struct Input {
    /// What it holds, inflated.
    pub reader: Box<dyn BufRead + Send>,
    /// How long the file is, bytes, when that is known.
    pub size: Option<u64>,
    /// How much of the file has been read, bytes.
    pub done: Arc<AtomicU64>,
}

/// Opens a file, or standard input (`-`).
///
/// # Errors
/// It cannot be read, or is a directory.
pub fn open(path: &Path) -> io::Result<Input> {
    let done = Arc::new(AtomicU64::new(0));
    let (raw, size): (Box<dyn Read + Send>, Option<u64>) = if path == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path)?;
        let about = file.metadata()?;
        if about.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        (Box::new(file), about.is_file().then_some(about.len()))
    };
    let mut raw = BufReader::with_capacity(256 * 1024, Counted { raw, done: done.clone() });
    let reader: Box<dyn BufRead + Send> = if raw.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(256 * 1024, MultiGzDecoder::new(raw)))
    } else {
        Box::new(raw)
    };
    Ok(Input { reader, size, done })
}

struct Counted<R> {
    raw: R,
    done: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read(buffer)?;
        self.done.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn all(text: &[u8], format: LogFormat) -> Vec<Vec<u8>> {
        let mut input = Cursor::new(text.to_vec());
        let mut blocks = Blocks::new(&mut input, format);
        let mut block = Block::default();
        std::iter::from_fn(|| blocks.read(&mut block).unwrap().map(|_| block.to_vec())).collect()
    }

    #[test]
    fn blocks_are_the_file_cut_where_an_entry_begins() {
        let entry = "2026-01-01 00:00:00.000 UTC [7] LOG:  duration: 1.000 ms  statement: select 1,\n\t2\n";
        let text = entry.repeat(3 * BLOCK / entry.len() + 17);
        let blocks = all(text.as_bytes(), LogFormat::PostgresqlStderr);
        assert!(blocks.len() >= 3);
        assert_eq!(blocks.concat(), text.as_bytes());
        assert!(blocks.iter().all(|block| block.starts_with(b"2026-")));
    }

    #[test]
    fn an_entry_longer_than_a_block_stays_whole() {
        let long = format!("# Time: 2026-01-01T00:00:00Z\n# Query_time: 1 Lock_time: 0\nselect {};\n", "1, ".repeat(BLOCK));
        let text = format!("{long}{long}");
        let blocks = all(text.as_bytes(), LogFormat::MysqlSlow);
        assert_eq!(blocks.concat(), text.as_bytes());
        assert_eq!(blocks.len(), 2);
    }
}
