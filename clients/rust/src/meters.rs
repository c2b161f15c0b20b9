//! What is counted here and reported now and then: outbound calls, caches, pools, the process itself.

use crate::client::{Client, Inner};
use crate::resource::Probe;
use crate::stats::lock;
use homeostat_schemas::event::{Cache, CallOutcome, Calls, Pool};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Most peers, caches and pools that are told apart; what comes beyond is counted under `__other__`.
pub const METERS_MAX: usize = 256;
/// How often calls are summed up, when there were any.
const CALLS_EVERY: Duration = Duration::from_millis(200);
/// Shortest time between two sums, when calls fail.
const CALLS_SOONEST: Duration = Duration::from_millis(20);
/// From when on a successful call counts as slow, unless the peer says otherwise.
const SLOW: Duration = Duration::from_secs(1);
/// What is counted beyond [`METERS_MAX`].
const OTHER: &str = "__other__";

/// Everything that is counted.
#[derive(Default)]
pub(crate) struct Meters {
    peers: Mutex<Peers>,
    caches: Mutex<BTreeMap<String, Arc<Lookups>>>,
    pools: Mutex<BTreeMap<String, Reading>>,
    heap: Mutex<Option<Heap>>,
    /// Requests served, for the load.
    requests: AtomicU64,
    failed: Arc<Notify>,
}

/// By peer and operation.
type Peers = BTreeMap<(String, Option<String>), Arc<Sums>>;
type Reading = Arc<dyn Fn() -> PoolUse + Send + Sync>;
type Heap = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// A connection pool at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// Connections in use.
    pub used: u64,
    /// Connections it may have.
    pub max: u64,
    /// Callers waiting for one, if the pool knows.
    pub waiting: Option<u64>,
    /// How long they waited of late, on average, if the pool knows.
    pub wait: Option<Duration>,
}

struct Sums {
    ok: AtomicU64,
    failed: AtomicU64,
    shed: AtomicU64,
    slow: AtomicU64,
    slow_us: AtomicU64,
    since: Mutex<Instant>,
    failed_bell: Arc<Notify>,
}

struct Lookups {
    hits: AtomicU64,
    misses: AtomicU64,
    since: Mutex<Instant>,
}

/// Counts the outbound calls to one peer. Cheap to clone, a few atomic additions a call.
///
/// The sums go out every 200 ms when there were calls, and at once when one failed.
#[derive(Clone)]
pub struct Peer {
    client: Client,
    name: String,
    sums: Arc<Sums>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Peer {
    /// The same peer, one operation of it.
    #[must_use]
    pub fn operation(&self, operation: &str) -> Peer {
        self.client.meter(&self.name, Some(operation))
    }

    /// From when on a successful call counts as slow. Default 1 s.
    pub fn slow_after(&self, slow: Duration) {
        self.sums.slow_us.store(crate::us(slow), Relaxed);
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts one call. `ignored` ones say nothing of the peer and are not counted.
    pub fn record(&self, outcome: CallOutcome, took: Duration) {
        let sums = &self.sums;
        match outcome {
            CallOutcome::Ok => {
                sums.ok.fetch_add(1, Relaxed);
                if crate::us(took) >= sums.slow_us.load(Relaxed) {
                    sums.slow.fetch_add(1, Relaxed);
                }
            }
            CallOutcome::Error | CallOutcome::Timeout => {
                sums.failed.fetch_add(1, Relaxed);
                sums.failed_bell.notify_one();
            }
            CallOutcome::Shed => {
                sums.shed.fetch_add(1, Relaxed);
            }
            CallOutcome::Ignored => {}
        }
    }
}

/// Counts the look-ups of one cache. Cheap to clone, one atomic addition a look-up.
#[derive(Clone)]
pub struct CacheMeter {
    lookups: Arc<Lookups>,
}

impl std::fmt::Debug for CacheMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CacheMeter")
    }
}

impl CacheMeter {
    /// A look-up that the cache answered.
    pub fn hit(&self) {
        self.lookups.hits.fetch_add(1, Relaxed);
    }

    /// A look-up that it could not answer.
    pub fn miss(&self) {
        self.lookups.misses.fetch_add(1, Relaxed);
    }
}

impl Client {
    /// The counter of outbound calls to a peer (1 to 64 bytes; what is longer is cut).
    #[must_use]
    pub fn peer(&self, peer: &str) -> Peer {
        self.meter(peer, None)
    }

    fn meter(&self, peer: &str, operation: Option<&str>) -> Peer {
        let peer = if peer.is_empty() { OTHER } else { peer };
        let name = peer.get(..peer.floor_char_boundary(64)).unwrap_or(peer);
        let operation: Option<String> = operation.map(|operation| operation.chars().take(128).collect());
        let meters = &self.inner.meters;
        let mut peers = lock(&meters.peers);
        let key = (name.to_owned(), operation);
        let key = if peers.len() < METERS_MAX || peers.contains_key(&key) { key } else { (OTHER.to_owned(), None) };
        let sums = peers.entry(key).or_insert_with(|| {
            Arc::new(Sums {
                ok: AtomicU64::new(0),
                failed: AtomicU64::new(0),
                shed: AtomicU64::new(0),
                slow: AtomicU64::new(0),
                slow_us: AtomicU64::new(crate::us(SLOW)),
                since: Mutex::new(Instant::now()),
                failed_bell: Arc::clone(&meters.failed),
            })
        });
        Peer { client: self.clone(), name: name.to_owned(), sums: Arc::clone(sums) }
    }

    /// The counter of a cache's look-ups.
    #[must_use]
    pub fn cache(&self, name: &str) -> CacheMeter {
        let mut caches = lock(&self.inner.meters.caches);
        let name: String = name.chars().take(128).collect();
        let name = if caches.len() < METERS_MAX || caches.contains_key(&name) { name } else { OTHER.to_owned() };
        let lookups = caches
            .entry(name)
            .or_insert_with(|| Arc::new(Lookups { hits: AtomicU64::new(0), misses: AtomicU64::new(0), since: Mutex::new(Instant::now()) }));
        CacheMeter { lookups: Arc::clone(lookups) }
    }

    /// Registers a connection pool; `reading` is asked every 10 s ([`Settings::sampling`](crate::Settings::sampling)) and
    /// must not wait. A pool of a name that is known takes its place.
    ///
    /// ```no_run
    /// # use homeostat_client::PoolUse;
    /// # struct P; impl P { fn size(&self) -> u32 { 0 } fn num_idle(&self) -> usize { 0 } }
    /// # fn f(client: homeostat_client::Client, pool: P) {
    /// client.pool("db", move || PoolUse { used: u64::from(pool.size()) - pool.num_idle() as u64, max: 10, ..PoolUse::default() });
    /// # }
    /// ```
    pub fn pool(&self, name: &str, reading: impl Fn() -> PoolUse + Send + Sync + 'static) {
        let mut pools = lock(&self.inner.meters.pools);
        let name: String = name.chars().take(128).collect();
        if pools.len() < METERS_MAX || pools.contains_key(&name) {
            pools.insert(name, Arc::new(reading));
        } else {
            tracing::warn!(pool = name, limit = METERS_MAX, "too many pools, this one is left out");
        }
    }

    /// Says how many bytes of heap are in use, where the allocator knows (jemalloc's `stats.allocated`, say). It is reported
    /// beside the memory of the process, and must not wait.
    pub fn heap(&self, reading: impl Fn() -> Option<u64> + Send + Sync + 'static) {
        *lock(&self.inner.meters.heap) = Some(Arc::new(reading));
    }
}

impl Meters {
    pub(crate) fn clear(&self) {
        lock(&self.pools).clear();
        *lock(&self.heap) = None;
    }

    /// What to ring when somebody should hear of something now.
    pub(crate) fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.failed)
    }

    /// One request was served.
    pub(crate) fn served(&self) {
        self.requests.fetch_add(1, Relaxed);
    }
}

fn lap(since: &Mutex<Instant>) -> u64 {
    let mut since = lock(since);
    let now = Instant::now();
    let over = now.duration_since(*since);
    *since = now;
    u64::try_from(over.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Inner {
    /// Sums of calls since the last time, as events.
    fn calls_out(&self) {
        let peers: Vec<_> = lock(&self.meters.peers).iter().map(|(key, sums)| (key.clone(), Arc::clone(sums))).collect();
        for ((peer, operation), sums) in peers {
            let take = |counter: &AtomicU64| counter.swap(0, Relaxed);
            let (ok, failed, shed, slow) = (take(&sums.ok), take(&sums.failed), take(&sums.shed), take(&sums.slow));
            if ok + failed + shed == 0 {
                continue;
            }
            let over_ms = lap(&sums.since);
            let calls = Calls { peer, operation, ok, failed, shed, slow: Some(slow.min(ok)), over_ms, ..Calls::default() };
            let _ = self.event(calls.into(), None);
        }
    }

    /// Caches and pools as they are now.
    fn samples_out(&self) {
        let caches: Vec<_> = lock(&self.meters.caches).iter().map(|(name, lookups)| (name.clone(), Arc::clone(lookups))).collect();
        for (name, lookups) in caches {
            let (hits, misses) = (lookups.hits.swap(0, Relaxed), lookups.misses.swap(0, Relaxed));
            let over_ms = lap(&lookups.since);
            if hits + misses > 0 {
                let _ = self.event(Cache { name, hits, misses, over_ms, ..Cache::default() }.into(), None);
            }
        }
        let pools: Vec<_> = lock(&self.meters.pools).iter().map(|(name, reading)| (name.clone(), Arc::clone(reading))).collect();
        for (name, reading) in pools {
            // The application's closure may panic; that must not end what reports everything else.
            let Ok(PoolUse { used, max, waiting, wait }) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| reading())) else {
                tracing::warn!(pool = name, "the reading of a pool panicked");
                continue;
            };
            let pool = Pool { name, used, max, waiting, wait_us: wait.map(crate::us), ..Pool::default() };
            let _ = self.event(pool.into(), None);
        }
    }

    /// Everything that was counted and not yet reported.
    pub(crate) fn meters_out(&self) {
        self.calls_out();
        self.breakers_out(true);
        self.samples_out();
    }

    fn resource_out(&self, probe: &mut Probe, requests_before: &mut u64) {
        let requests = self.meters.requests.load(Relaxed);
        let served = requests - *requests_before;
        *requests_before = requests;
        let heap = lock(&self.meters.heap).clone();
        let heap = heap.and_then(|heap| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| heap())).ok().flatten());
        if let Some(mut resource) = probe.resource(served) {
            resource.heap_bytes = heap;
            resource.started_ms = Some(self.started_ms);
            let _ = self.event(resource.into(), None);
        }
    }
}

/// Reports until the client is gone.
pub(crate) async fn report(client: Weak<Inner>, sampling: Option<Duration>) {
    let Some(failed) = client.upgrade().map(|inner| Arc::clone(&inner.meters.failed)) else { return };
    let mut probe = Probe::new();
    let mut requests_before = 0;
    let mut next_sample = Instant::now();
    loop {
        {
            let Some(inner) = client.upgrade() else { return };
            if inner.is_closed() {
                return;
            }
            inner.calls_out();
            inner.breakers_out(false);
            if let Some(every) = sampling
                && Instant::now() >= next_sample
            {
                next_sample = Instant::now() + every;
                inner.samples_out();
                inner.resource_out(&mut probe, &mut requests_before);
            }
        }
        sleep(CALLS_SOONEST).await;
        tokio::select! {
            () = sleep(CALLS_EVERY.saturating_sub(CALLS_SOONEST)) => {}
            () = failed.notified() => {}
        }
    }
}
