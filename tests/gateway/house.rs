//! A gateway with everything it needs, on free ports, in a directory of its own.

use super::client::Client;
use homeostat::audit::{Audit, SigningKey};
use homeostat::config::DatabaseConfig;
use homeostat::feed::{Chunk, decode};
use homeostat::gateway::{AuthMode, Authenticate, GatewayActor, GatewayConfig, GatewayHandle, GatewayState, Readiness};
use homeostat::keys::{Keys, KeysConfig};
use homeostat::metrics::Metrics;
use homeostat::roster::Slots;
use homeostat::store::Store;
use homeostat_nats::{Bus, BusConfig, Embedded, EmbeddedConfig, Log, Reader, ReaderOptions};
use homeostat_schemas::{Content, Delivery, Event, Root};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, watch};

pub struct House {
    pub gateway: GatewayHandle,
    pub registry: Option<Keys>,
    pub readiness: Arc<Readiness>,
    pub slots: Slots,
    pub live: broadcast::Sender<Chunk>,
    pub log: Option<Log>,
    pub runtime: Runtime,
    pub bus_down: watch::Sender<Option<Log>>,
    system: actix::System,
    embedded: Option<Embedded>,
    _dir: tempfile::TempDir,
}

impl House {
    /// Without a bus.
    pub fn alone(change: impl FnOnce(&mut GatewayConfig)) -> House {
        House::build(false, None, change)
    }

    /// With a bus of its own.
    pub fn with_bus(change: impl FnOnce(&mut GatewayConfig)) -> House {
        House::build(true, None, change)
    }

    /// One that asks everybody for a key, and knows these.
    pub fn with_keys(bus: bool, keys: impl Authenticate + 'static, change: impl FnOnce(&mut GatewayConfig)) -> House {
        House::build(bus, Some(Arc::new(keys)), |config| {
            config.auth = AuthMode::Always;
            change(config);
        })
    }

    /// One that asks everybody for a key, and has real ones.
    pub fn with_registry() -> House {
        House::build_over(true, None, true, |config| config.auth = AuthMode::Always)
    }

    fn build(bus: bool, keys: Option<Arc<dyn Authenticate>>, change: impl FnOnce(&mut GatewayConfig)) -> House {
        House::build_over(bus, keys, false, change)
    }

    fn build_over(bus: bool, keys: Option<Arc<dyn Authenticate>>, real: bool, change: impl FnOnce(&mut GatewayConfig)) -> House {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let (embedded, log) = if bus {
            let (embedded, log) = runtime.block_on(start_bus(dir.path().join("bus")));
            (Some(embedded), Some(log))
        } else {
            (None, None)
        };
        let (sender, system) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runner = actix::System::new();
            sender.send(actix::System::current()).unwrap();
            runner.run().unwrap();
        });
        let system = system.recv().unwrap();
        let mut config = GatewayConfig { listen: "127.0.0.1:0".to_owned(), workers: 2, ..GatewayConfig::default() };
        change(&mut config);
        let (live, _) = broadcast::channel(16);
        let (bus_down, log_receiver) = watch::channel(log.clone());
        let readiness = Arc::new(Readiness::default());
        let slots = Slots::default();
        readiness.bus(bus);
        let (gateway, registry) = runtime.block_on(async {
            let store = Store::connect(&DatabaseConfig::default(), dir.path()).await.unwrap();
            let log_watch = log_receiver.clone();
            // On a busy machine, and unoptimised, a run of argon2 takes a while.
            let limits = KeysConfig { queue_ms: 60_000, ..KeysConfig::default() };
            let registry = real.then(|| Keys::open(store.clone(), &limits, dir.path()).unwrap());
            let keys = keys.or_else(|| registry.clone().map(|keys| Arc::new(keys) as Arc<dyn Authenticate>));
            let state = GatewayState {
                log: log_receiver,
                slots: slots.clone(),
                store,
                metrics: Arc::new(Metrics::default()),
                root: Root::default(),
                readiness: readiness.clone(),
                live: live.clone(),
                keys,
                audit: Audit::new(log_watch, Some(SigningKey::draw())),
                registry: registry.clone(),
            };
            (GatewayActor::run(&system, config, state).await.unwrap(), registry)
        });
        House { gateway, registry, readiness, slots, live, log, runtime, bus_down, system, embedded, _dir: dir }
    }

    pub fn client(&self) -> Client {
        Client::to(&self.gateway.address())
    }

    /// Makes the bus stand still until the answer is dropped.
    pub fn stop_bus(&self) -> StoppedBus {
        let pid = self.embedded.as_ref().unwrap().state().borrow().pid.unwrap();
        super::process::signal(pid, "STOP");
        StoppedBus(pid)
    }

    /// How many messages the log has taken.
    pub fn last(&self) -> u64 {
        self.runtime.block_on(self.log.as_ref().unwrap().bounds()).unwrap().last
    }

    /// Everything on the log from a position on.
    pub fn read(&self, from: u64) -> Vec<Delivery> {
        let (log, last) = (self.log.as_ref().unwrap(), self.last());
        self.runtime.block_on(async {
            let mut reader = Reader::open(log, from, ReaderOptions::default()).await.unwrap();
            let mut deliveries: Vec<Delivery> = Vec::new();
            while deliveries.last().is_none_or(|delivery| delivery.position < last) {
                deliveries.extend(reader.next().await.unwrap().iter().map(|entry| decode(&Root::default(), entry)));
            }
            deliveries
        })
    }

    /// All good events on the log from a position on; a bad one fails the test.
    pub fn events(&self, from: u64) -> Vec<Event> {
        let each = self.read(from).into_iter().flat_map(|delivery| match delivery.content {
            Content::Events(events) => events,
            other => panic!("{other:?}"),
        });
        each.map(Result::unwrap).collect()
    }
}

/// A bus that stands still.
pub struct StoppedBus(u32);

impl Drop for StoppedBus {
    fn drop(&mut self) {
        super::process::signal(self.0, "CONT");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.runtime.block_on(async {
            self.gateway.stop().await;
            if let Some(embedded) = self.embedded.take() {
                embedded.stop().await;
            }
        });
        self.system.stop();
    }
}

async fn start_bus(data_dir: PathBuf) -> (Embedded, Log) {
    let tools = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".tools");
    let config = EmbeddedConfig { data_dir, tools_dir: Some(tools), ..EmbeddedConfig::default() };
    let embedded = Embedded::start(config).await.unwrap();
    let bus = Bus::connect(&embedded.bus_config(&BusConfig::default())).await.unwrap();
    let log = bus.ensure_log().await.unwrap();
    (embedded, log)
}
