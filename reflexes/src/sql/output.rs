//! The text that is being written: a buffer that is sized once per statement and then filled by index.

/// Output text of known worst-case length.
#[derive(Default)]
pub(super) struct Output {
    buffer: Vec<u8>,
    len: usize,
}

/// Buffers beyond this are given back when the next statement is small again.
const KEPT: usize = 64 * 1024;
/// Room behind the worst case for copies of a fixed size that overshoot.
const SLACK: usize = 64;

impl Output {
    /// Empties the buffer and makes room for what `input` bytes can become: no token grows to more than twice its
    /// length and one space.
    pub(super) fn reset(&mut self, input: usize) {
        let wanted = input.saturating_mul(2).saturating_add(SLACK);
        if self.buffer.len() > KEPT && wanted < KEPT {
            self.buffer = Vec::new();
        }
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted.next_power_of_two(), 0);
        }
        self.len = 0;
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
        }
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        if let Some(place) = self.buffer.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        if let Some(place) = self.buffer.get_mut(self.len..self.len + text.len()) {
            place.copy_from_slice(text);
            self.len += text.len();
        }
    }

    /// Appends a word with its ASCII letters in lower case.
    pub(super) fn folded(&mut self, word: &[u8]) {
        if let Some(place) = self.buffer.get_mut(self.len..self.len + word.len()) {
            for (to, from) in place.iter_mut().zip(word) {
                *to = from.to_ascii_lowercase();
            }
            self.len += word.len();
        }
    }

    /// Appends the first `len` bytes of a 16-byte window, folded: a copy of fixed size is one instruction.
    #[inline]
    pub(super) fn folded_window(&mut self, window: &[u8; 16], len: usize) {
        let window = window.map(|byte| byte.to_ascii_lowercase());
        if let Some(place) = self.buffer.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut::<16>()) {
            *place = window;
            self.len += len;
        }
    }

    /// What was written from `start` to `end`.
    pub(super) fn part(&self, start: usize, end: usize) -> &[u8] {
        self.buffer.get(start..end.min(self.len)).unwrap_or_default()
    }

    #[inline]
    pub(super) fn last(&self) -> u8 {
        self.len.checked_sub(1).and_then(|at| self.buffer.get(at)).copied().unwrap_or(0)
    }

    /// The whole text.
    pub(super) fn as_str(&self) -> &str {
        let bytes = self.part(0, self.len);
        match std::str::from_utf8(bytes) {
            Ok(text) => text,
            // Tokens are cut at ASCII bytes only, so this cannot happen; the valid part is still an answer.
            Err(error) => std::str::from_utf8(self.part(0, error.valid_up_to())).unwrap_or_default(),
        }
    }
}
