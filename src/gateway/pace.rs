//! A connection that must get on: its bytes pass through here, and whoever keeps it without using it loses it.
//!
//! actix-http watches the head of the first request on a connection and the pause between requests. It does not watch the head of a
//! later request, a client that does not read its answer, or the handshake of TLS; this does, beneath all of them.
//!
//! Promises
//! - PA-1 A connection that has begun a request shows the whole head of it within the head deadline, also the tenth one, TLS included.
//! - PA-2 A connection on which neither a request arrives nor an answer leaves ends after the keep-alive and one head deadline.
//! - PA-3 A client may let an answer wait for the write deadline in all, and a second more for every KiB that it takes.
//! - PA-4 When a worker has as many connections as it may, the one that has waited longest without a request at work makes room for the
//!   next: slow clients push out each other and nobody else.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes a slow reader takes a second, at least, once its patience is used up.
const BYTES_PER_S: u64 = 1_024;

/// How long what may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) head: Duration,
    pub(super) keep_alive: Duration,
    pub(super) write: Duration,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Nothing since then: no byte of a next request has come.
    Waiting,
    /// A head is coming.
    Head,
    /// A request is at work.
    Work,
}

/// How a connection gets on. The worker's layer says when a request is at work; everything else shows in the bytes.
#[derive(Debug)]
pub(super) struct Pace {
    deadlines: Deadlines,
    doing: Cell<Doing>,
    /// Since when it has done nothing useful.
    since: Cell<Instant>,
    /// When it is over.
    until: Cell<Instant>,
    /// Since when bytes wait to be taken.
    stalled: Cell<Option<Instant>>,
    /// How long bytes have waited for this answer in all, and how many were taken.
    waited: Cell<Duration>,
    taken: Cell<u64>,
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Pace {
    fn new(deadlines: Deadlines, now: Instant) -> Pace {
        Pace {
            deadlines,
            // A connection is there to ask something: its first head, or its handshake, has begun.
            doing: Cell::new(Doing::Head),
            since: Cell::new(now),
            // A second more than actix takes: it answers 408 first, where it can.
            until: Cell::new(now + deadlines.head + Duration::from_secs(1)),
            stalled: Cell::new(None),
            waited: Cell::default(),
            taken: Cell::default(),
            over: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    /// A request has arrived whole, but for its body, and is being served.
    pub(super) fn begin(&self) {
        self.doing.set(Doing::Work);
        self.waited.set(Duration::ZERO);
        self.taken.set(0);
    }

    /// It was served; its answer may still be on the way.
    pub(super) fn end(&self) {
        self.rest(Instant::now());
    }

    fn rest(&self, now: Instant) {
        self.doing.set(Doing::Waiting);
        self.since.set(now);
        self.until.set(now + self.deadlines.keep_alive + self.deadlines.head);
    }

    fn read(&self, now: Instant) {
        if self.doing.get() == Doing::Waiting {
            self.doing.set(Doing::Head);
            self.until.set(now + self.deadlines.head);
        }
    }

    fn wrote(&self, bytes: usize, now: Instant) {
        if let Some(since) = self.stalled.take() {
            self.waited.set(self.waited.get() + (now - since));
        }
        self.taken.set(self.taken.get().saturating_add(bytes as u64));
        if self.doing.get() == Doing::Waiting {
            // An answer that goes on, such as a stream of events.
            self.until.set(now + self.deadlines.keep_alive + self.deadlines.head);
        }
    }

    fn stall(&self, now: Instant) {
        if self.stalled.get().is_none() {
            self.stalled.set(Some(now));
        }
    }

    /// When it is over unless something happens.
    fn deadline(&self) -> Option<Instant> {
        let writing = self.stalled.get().map(|since| {
            let patience = self.deadlines.write + Duration::from_secs(self.taken.get() / BYTES_PER_S);
            since + patience.saturating_sub(self.waited.get())
        });
        let reading = (self.doing.get() != Doing::Work).then(|| self.until.get());
        [writing, reading].into_iter().flatten().min()
    }

    fn is_over(&self, now: Instant) -> bool {
        self.over.get() || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    fn push_out(&self) {
        self.over.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// The connections of one worker.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    next: Cell<u64>,
    all: Rc<RefCell<BTreeMap<u64, Weak<Pace>>>>,
    deadlines: Deadlines,
}

impl Connections {
    pub(super) fn new(max: usize, deadlines: Deadlines) -> Connections {
        Connections { max: max.max(1), next: Cell::new(0), all: Rc::default(), deadlines }
    }

    /// Takes in a connection; if there are too many, another one that waits has to go.
    pub(super) fn take(&self, io: TcpStream) -> Paced {
        let (number, pace) = self.enter(Instant::now());
        let place = Place { number, all: self.all.clone() };
        Paced { io, sleep: Box::pin(sleep_until(pace.until.get())), pace, _place: place }
    }

    fn enter(&self, now: Instant) -> (u64, Rc<Pace>) {
        if self.all.borrow().len() >= self.max {
            let all = self.all.borrow();
            let waiting = all.values().filter_map(Weak::upgrade).filter(|pace| pace.doing.get() != Doing::Work && !pace.over.get());
            if let Some(victim) = waiting.min_by_key(|pace| pace.since.get()) {
                victim.push_out();
            }
        }
        let number = self.next.replace(self.next.get() + 1);
        let pace = Rc::new(Pace::new(self.deadlines, now));
        self.all.borrow_mut().insert(number, Rc::downgrade(&pace));
        (number, pace)
    }
}

/// A connection's place among all; given back when it ends.
#[derive(Debug)]
struct Place {
    number: u64,
    all: Rc<RefCell<BTreeMap<u64, Weak<Pace>>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.borrow_mut().remove(&self.number);
    }
}

/// A connection that must get on.
#[derive(Debug)]
pub(super) struct Paced {
    io: TcpStream,
    sleep: Pin<Box<Sleep>>,
    pace: Rc<Pace>,
    _place: Place,
}

impl Paced {
    pub(super) fn pace(&self) -> Rc<Pace> {
        self.pace.clone()
    }

    /// Fails when it is over; else sees to it that somebody looks again then.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let now = Instant::now();
            if self.pace.is_over(now) {
                if self.pace.stalled.get().is_some() {
                    // What it has not read it never will: the kernel need not keep it either.
                    let _ = self.io.set_zero_linger();
                }
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes too long"));
            }
            *self.pace.waker.borrow_mut() = Some(cx.waker().clone());
            let Some(deadline) = self.pace.deadline() else { return Ok(()) };
            if self.sleep.deadline() != deadline {
                self.sleep.as_mut().reset(deadline);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
        }
    }
}

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.pace.read(Instant::now());
        }
        self.watch(cx)?;
        read
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.io).poll_write(cx, bytes) {
            Poll::Ready(Ok(count)) => {
                self.pace.wrote(count, Instant::now());
                Poll::Ready(Ok(count))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => {
                self.pace.stall(Instant::now());
                self.watch(cx)?;
                Poll::Pending
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(ready!(Pin::new(&mut self.io).poll_shutdown(cx)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINES: Deadlines =
        Deadlines { head: Duration::from_secs(5), keep_alive: Duration::from_secs(75), write: Duration::from_secs(30) };

    fn after(begun: Instant, ms: u64) -> Instant {
        begun + Duration::from_millis(ms)
    }

    #[test]
    fn every_head_has_its_deadline_and_work_has_none() {
        let begun = Instant::now();
        let pace = Pace::new(DEADLINES, begun);
        assert!(!pace.is_over(after(begun, 5_900)) && pace.is_over(after(begun, 6_000)));
        pace.begin();
        assert!(!pace.is_over(after(begun, 1_000_000)));
        pace.rest(after(begun, 10_000));
        assert!(!pace.is_over(after(begun, 89_900)) && pace.is_over(after(begun, 90_000)));
        pace.read(after(begun, 20_000));
        pace.read(after(begun, 24_000));
        assert!(!pace.is_over(after(begun, 24_900)) && pace.is_over(after(begun, 25_000)), "a trickle does not put it off");
    }

    #[test]
    fn a_reader_may_be_slow_but_not_for_ever() {
        let begun = Instant::now();
        let pace = Pace::new(DEADLINES, begun);
        pace.begin();
        pace.rest(begun);
        pace.stall(begun);
        assert!(!pace.is_over(after(begun, 29_900)) && pace.is_over(after(begun, 30_000)));
        // One byte a second puts nothing off.
        let mut now = begun;
        let mut bytes = 0;
        while !pace.is_over(now) {
            now += Duration::from_secs(1);
            pace.wrote(1, now);
            pace.stall(now);
            bytes += 1;
        }
        assert!((29..=31).contains(&bytes), "{bytes}");
        // Ten KiB a second does.
        let pace = Pace::new(DEADLINES, begun);
        pace.begin();
        pace.rest(begun);
        for second in 0..1_000 {
            let now = after(begun, second * 1_000);
            pace.stall(now);
            assert!(!pace.is_over(now));
            pace.wrote(10 * 1_024, now + Duration::from_millis(900));
        }
    }

    #[test]
    fn an_answer_that_goes_on_keeps_its_connection() {
        let begun = Instant::now();
        let pace = Pace::new(DEADLINES, begun);
        pace.begin();
        pace.rest(begun);
        for second in (0..1_000).step_by(15) {
            assert!(!pace.is_over(after(begun, second * 1_000)));
            pace.wrote(15, after(begun, second * 1_000));
        }
    }

    #[test]
    fn slow_clients_push_out_each_other_and_nobody_at_work() {
        let begun = Instant::now();
        let connections = Connections::new(3, DEADLINES);
        let enter = |ms| connections.enter(after(begun, ms)).1;
        let (first, second, third) = (enter(0), enter(1), enter(2));
        first.begin();
        let fourth = enter(3);
        assert_eq!([&first, &second, &third, &fourth].map(|pace| pace.over.get()), [false, true, false, false]);
        let _fifth = enter(4);
        assert_eq!([&first, &third, &fourth].map(|pace| pace.over.get()), [false, true, false]);
    }
}
