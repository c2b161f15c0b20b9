//! Where in a trace the application is: W3C Trace Context, level 1.
//!
//! The layer for inbound requests continues the caller's trace (or begins one) and keeps the context for as long as the
//! request is worked on; events take it from there, and calls to others pass it on.

use homeostat_schemas::TraceContext;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;

/// One span of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Context {
    trace: u128,
    span: u64,
    parent: Option<u64>,
    sampled: bool,
}

tokio::task_local! {
    static CURRENT: Context;
}

thread_local! {
    /// Ids of traces and spans must be unique, not secret. Seeded from the system once a thread.
    static RANDOM: RefCell<fastrand::Rng> =
        RefCell::new(getrandom::u64().map_or_else(|_| fastrand::Rng::new(), fastrand::Rng::with_seed));
}

fn random<T>(draw: impl Fn(&mut fastrand::Rng) -> T) -> T {
    RANDOM.with_borrow_mut(draw)
}

fn span_id() -> u64 {
    random(|rng| rng.u64(1..))
}

impl Context {
    /// The first span of a new trace, which nobody is asked to record.
    #[must_use]
    pub fn root() -> Context {
        Context { trace: random(|rng| rng.u128(1..)), span: span_id(), parent: None, sampled: false }
    }

    /// The context of a `traceparent` header; nothing when it is not a valid one.
    #[must_use]
    pub fn from_traceparent(header: &str) -> Option<Context> {
        let valid = TraceContext::new(Some(header), None);
        let text = valid.traceparent.as_deref()?;
        Some(Context {
            trace: u128::from_str_radix(valid.trace_id()?, 16).ok()?,
            span: u64::from_str_radix(text.get(36..52)?, 16).ok()?,
            parent: None,
            sampled: valid.sampled(),
        })
    }

    /// A new span below this one.
    #[must_use]
    pub fn child(&self) -> Context {
        Context { span: span_id(), parent: Some(self.span), ..*self }
    }

    /// The context of the task, where a layer or [`Context::scope`] has set one.
    #[must_use]
    pub fn current() -> Option<Context> {
        CURRENT.try_with(|context| *context).ok()
    }

    /// Runs a future with this as the current context. Tasks spawned from within do not inherit it.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Runs a closure with this as the current context.
    pub fn sync_scope<T>(self, run: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, run)
    }

    /// Trace id, 32 hex characters.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Span id, 16 hex characters.
    #[must_use]
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }

    /// Span id of the caller, if there is one.
    #[must_use]
    pub fn parent_id(&self) -> Option<String> {
        self.parent.map(|parent| format!("{parent:016x}"))
    }

    /// Is somebody asked to record this trace?
    #[must_use]
    pub fn sampled(&self) -> bool {
        self.sampled
    }

    /// As the value of a `traceparent` header.
    #[must_use]
    pub fn traceparent(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// Id of a message: 128 random bits from the system, so that nobody can foresee it and swallow the message with it.
pub(crate) fn message_id() -> Result<String, getrandom::Error> {
    let mut bits = [0u8; 16];
    getrandom::fill(&mut bits)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}

/// A number from 0 (included) to 1 (excluded) that nobody can foretell.
pub(crate) fn chance() -> f64 {
    random(fastrand::Rng::f64)
}

/// A share of `length`, at random: so that a fleet does not do things all at once.
pub(crate) fn jitter(length: std::time::Duration) -> std::time::Duration {
    length.mul_f64(0.5 + 0.5 * chance())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_went() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = Context::from_traceparent(header).unwrap();
        assert_eq!(context.traceparent(), header);
        let child = context.child();
        assert_eq!(child.trace_id(), context.trace_id());
        assert_eq!(child.parent_id().as_deref(), Some("00f067aa0ba902b7"));
        assert_ne!(child.span_id(), context.span_id());
        assert!(child.sampled());
        for bad in ["", "00-x", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert_eq!(Context::from_traceparent(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_made_here_is_valid() {
        for _ in 0..1000 {
            let context = Context::root().child();
            assert_eq!(Context::from_traceparent(&context.traceparent()).map(|read| read.trace_id()), Some(context.trace_id()));
        }
    }

    #[tokio::test]
    async fn the_current_context_is_that_of_the_scope() {
        assert_eq!(Context::current(), None);
        let outer = Context::root();
        outer
            .scope(async {
                assert_eq!(Context::current(), Some(outer));
                outer.child().scope(async { assert_ne!(Context::current(), Some(outer)) }).await;
                assert_eq!(Context::current(), Some(outer));
            })
            .await;
        assert_eq!(Context::current(), None);
    }

    #[test]
    fn ids_of_messages_have_128_bits_and_differ() {
        let ids: std::collections::BTreeSet<String> = (0..1000).filter_map(|_| message_id().ok()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 32));
    }
}
