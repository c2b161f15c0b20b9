//! Brackets that are open, and the collapsing of equal neighbours in lists.
//!
//! An item is compared as it was written, so nested rows collapse from the inside outwards: `((?, ?), (?, ?))`
//! becomes `((?))`. Rows of `VALUES` are items of the frame they stand in.

use super::output::Output;

/// A stretch of the output.
#[derive(Clone, Copy, Default)]
struct Stretch {
    start: usize,
    end: usize,
}

/// One open bracket (or the statement itself).
#[derive(Clone, Copy, Default)]
struct Frame {
    /// Its items collapse.
    list: bool,
    /// It is a row of `VALUES`.
    row: bool,
    /// It is a list behind `IN`, and nothing in it is a second key so far.
    key: bool,
    /// `VALUES` stands in it, and this is where its last row ended.
    rows_end: usize,
    last_row: Stretch,
    open: usize,
    item: usize,
    last_item: Stretch,
}

/// What is open. Brackets deeper than [`DEPTH_MAX`] are counted, but their items do not collapse.
pub(super) struct Frames {
    stack: [Frame; DEPTH_MAX],
    top: usize,
    beyond: usize,
}

/// Deeper than any statement a person or a generator writes.
const DEPTH_MAX: usize = 48;

impl Frames {
    pub(super) const fn new() -> Self {
        const EMPTY: Frame = Frame {
            list: false,
            row: false,
            key: false,
            rows_end: 0,
            last_row: Stretch { start: 0, end: 0 },
            open: 0,
            item: 0,
            last_item: Stretch { start: 0, end: 0 },
        };
        Self { stack: [EMPTY; DEPTH_MAX], top: 0, beyond: 0 }
    }

    /// Forgets everything that is open.
    pub(super) fn clear(&mut self) {
        self.top = 0;
        self.beyond = 0;
        self.stack[0] = Frame::default();
    }

    #[inline]
    fn current(&mut self) -> &mut Frame {
        &mut self.stack[self.top % DEPTH_MAX]
    }

    /// Whether nothing is open.
    #[inline]
    pub(super) const fn is_outside(&self) -> bool {
        self.top == 0 && self.beyond == 0
    }

    /// Whether the items here are list items.
    #[inline]
    pub(super) fn in_list(&mut self) -> bool {
        self.beyond == 0 && self.current().list
    }

    /// Where in the output the innermost open bracket stands.
    pub(super) fn opened_at(&mut self) -> Option<usize> {
        (self.beyond == 0 && self.top > 0).then(|| self.current().open)
    }

    /// What follows is a subquery, no list.
    #[inline]
    pub(super) fn is_subquery(&mut self) {
        let frame = self.current();
        (frame.list, frame.key) = (false, false);
    }

    /// The bracket that was just opened is a list of keys.
    #[inline]
    pub(super) fn expect_keys(&mut self) {
        if self.beyond == 0 {
            self.current().key = true;
        }
    }

    /// Whether what is open here is a list of keys that holds one, or none.
    #[inline]
    pub(super) fn in_single_key(&mut self) -> bool {
        self.beyond == 0 && self.current().key
    }

    /// `VALUES` was written; rows follow.
    pub(super) fn expect_rows(&mut self, output: &Output) {
        let frame = self.current();
        frame.rows_end = output.len();
        frame.last_row = Stretch::default();
    }

    /// Whether a bracket after a comma at this place opens a further row of `VALUES`.
    #[inline]
    pub(super) fn is_next_row(&mut self, output: &Output) -> bool {
        let inside = self.beyond == 0;
        let frame = self.current();
        inside && frame.last_row.end != 0 && frame.rows_end + 1 == output.len()
    }

    /// A bracket is about to be written at `open`; its first item begins at `item`.
    #[inline]
    pub(super) fn open(&mut self, list: bool, row: bool, open: usize, item: usize) {
        if self.top + 1 >= DEPTH_MAX {
            self.beyond += 1;
            return;
        }
        self.top += 1;
        let frame = self.current();
        frame.list = list;
        frame.row = row;
        frame.key = false;
        frame.open = open;
        frame.item = item;
        frame.rows_end = 0;
        frame.last_row.end = 0;
        frame.last_item.end = 0;
    }

    /// Ends an item of a list; equal to its neighbour, it is taken back. Says whether it was.
    #[inline]
    pub(super) fn end_item(&mut self, output: &mut Output) -> bool {
        if self.beyond != 0 || !self.current().list {
            return false;
        }
        let frame = self.current();
        let item = Stretch { start: frame.item + usize::from(output.part(frame.item, frame.item + 1) == b" "), end: output.len() };
        if item.start >= item.end {
            return false;
        }
        let last = frame.last_item;
        if last.end != 0 && output.part(item.start, item.end) == output.part(last.start, last.end) {
            output.truncate(last.end);
            return true;
        }
        frame.last_item = item;
        false
    }

    /// A comma was written: the next item begins.
    #[inline]
    pub(super) fn begin_item(&mut self, output: &Output) {
        let frame = self.current();
        frame.item = output.len();
        frame.key = false;
    }

    /// The closing bracket was written. Says whether it closed a row that repeats the row before it; that row is then
    /// taken back.
    #[inline]
    pub(super) fn close(&mut self, output: &mut Output) -> bool {
        if self.beyond != 0 {
            self.beyond -= 1;
            return false;
        }
        if self.top == 0 {
            return false;
        }
        let closed = *self.current();
        self.top -= 1;
        if !closed.row {
            return false;
        }
        let row = Stretch { start: closed.open, end: output.len() };
        let frame = self.current();
        let last = frame.last_row;
        let repeats = last.end != 0 && output.part(row.start, row.end) == output.part(last.start, last.end);
        if repeats {
            output.truncate(last.end);
        } else {
            frame.last_row = row;
        }
        self.current().rows_end = output.len();
        repeats
    }
}
