//! Which message was being worked on when the process died.
//!
//! A message that panics is caught; one that overflows the stack or eats all memory takes the process with it, and nobody is
//! left to say which it was. So every shell notes the position of the message in a file mapped into memory before the mind
//! sees it, and clears it afterwards: a store to memory, which the kernel keeps whatever becomes of the process.
//!
//! To have been at work at a death proves nothing: after a start all minds meet the same messages at the same time, so one that
//! takes long is found at work again and again when it is another mind's message that kills. So what was at work at two deaths
//! in a row is suspected, and taken while no other mind works; only if the process dies then, too, is it set aside.

use homeostat_schemas::Position;
use memmap2::MmapMut;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{Ordering, compiler_fence};

/// At how many deaths in a row a message must have been at work to be set aside; the last of them while no other mind worked.
pub const DEATHS: u64 = 3;

/// What the deaths so far say of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accused {
    /// It may be what kills: it is to be taken while no other mind works.
    Suspected(Position),
    /// It is what kills: it is to be set aside.
    Guilty(Position),
}

/// Bytes: position at work, position of the last death, deaths there.
const LENGTH: usize = 24;

/// The note of one shell.
pub struct Suspect {
    map: MmapMut,
}

impl Suspect {
    /// Opens the note of an actor and takes the death that it may tell of into account.
    ///
    /// Says which message is accused: suspected from the last death but one before [`DEATHS`] on, guilty at [`DEATHS`] in a row.
    ///
    /// # Errors
    /// What the file system says.
    #[allow(unsafe_code)]
    pub fn open(dir: &Path, actor: &str) -> io::Result<(Suspect, Option<Accused>)> {
        std::fs::create_dir_all(dir)?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(actor))?;
        if file.metadata()?.len() < LENGTH as u64 {
            // Written, not only made long: a hole in the file would have to find its room at the first store, and a full disk
            // would end the process there.
            file.write_all(&[0; LENGTH])?;
        }
        // SAFETY: the file lies in the data directory, which this process holds locked: nobody else maps or truncates it while
        // the map lives, and it is as long as the map.
        let map = unsafe { MmapMut::map_mut(&file)? };
        let mut suspect = Suspect { map };
        let at_work = suspect.get(0);
        if at_work == 0 {
            return Ok((suspect, None));
        }
        let deaths = if suspect.get(1) == at_work { suspect.get(2) + 1 } else { 1 };
        suspect.set(0, 0);
        suspect.set(1, at_work);
        suspect.set(2, deaths);
        let accused = match deaths {
            DEATHS.. => Some(Accused::Guilty(at_work)),
            deaths if deaths + 1 == DEATHS => Some(Accused::Suspected(at_work)),
            _ => None,
        };
        Ok((suspect, accused))
    }

    /// A message is being worked on.
    pub fn enter(&mut self, position: Position) {
        self.set(0, position);
        compiler_fence(Ordering::SeqCst);
    }

    /// It no longer is.
    pub fn leave(&mut self) {
        compiler_fence(Ordering::SeqCst);
        self.set(0, 0);
    }

    fn get(&self, field: usize) -> u64 {
        self.map.get(field * 8..field * 8 + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
    }

    fn set(&mut self, field: usize, value: u64) {
        if let Some(bytes) = self.map.get_mut(field * 8..field * 8 + 8) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_suspected_at_the_second_death_in_a_row_and_guilty_at_the_third() {
        let dir = tempfile::tempdir().unwrap();
        let die_at = |position| {
            let (mut suspect, accused) = Suspect::open(dir.path(), "query").unwrap();
            suspect.enter(position);
            accused
        };
        assert_eq!(die_at(7), None);
        assert_eq!(die_at(7), None);
        assert_eq!(die_at(9), Some(Accused::Suspected(7)));
        assert_eq!(die_at(9), None, "the row at 7 was broken");
        assert_eq!(die_at(9), Some(Accused::Suspected(9)));
        assert_eq!(die_at(9), Some(Accused::Guilty(9)));
    }

    #[test]
    fn a_death_between_messages_accuses_nobody() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            let (mut suspect, accused) = Suspect::open(dir.path(), "query").unwrap();
            assert_eq!(accused, None);
            suspect.enter(7);
            suspect.leave();
        }
    }
}
