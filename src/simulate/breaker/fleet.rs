//! The breaker actor with its log: the real mind, carried by the real driver, killed and started anew as its keeper does.

use homeostat_actors::breaker::{BreakerConfig, BreakerCore};
use homeostat_actors::core::{Effect, Settings};
use homeostat_actors::driver::Driver;
use homeostat_schemas::{Admission, Content, Delivery, TraceContext, UnixMs};

/// The name of the simulated log.
const INCARNATION: &str = "simulated";

/// A checkpoint is written after so many messages.
const CHECKPOINT_EVERY: usize = 2_000;

/// The actor and its log.
pub struct Fleet {
    driver: Option<Driver<BreakerCore>>,
    saved: Vec<u8>,
    /// What stands in the log since the checkpoint.
    log: Vec<Delivery>,
    position: u64,
    config: BreakerConfig,
}

impl Fleet {
    /// A new actor on an empty log.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Fleet {
        let driver = Driver::new(INCARNATION, Settings { config: config.clone(), ..Settings::default() });
        Fleet { driver: Some(driver), saved: Vec::new(), log: Vec::new(), position: 0, config }
    }

    /// A message enters the log; what the actor, if it lives, says to it.
    pub fn log(&mut self, at: UnixMs, content: Content) -> Vec<Admission> {
        self.position += 1;
        let delivery = Delivery { position: self.position, at, subject: String::new(), content, context: TraceContext::default() };
        let said = self.driver.as_mut().map(|driver| step(driver, &delivery)).unwrap_or_default();
        self.log.push(delivery);
        if self.log.len() >= CHECKPOINT_EVERY
            && let Some(saved) = self.driver.as_ref().and_then(|driver| driver.save().ok())
        {
            self.saved = saved;
            self.log.clear();
        }
        said
    }

    /// Its process dies, and with it all that was not in the checkpoint.
    pub fn kill(&mut self) {
        self.driver = None;
    }

    /// Another process takes over: from the checkpoint through the log. What it says on the way is heard.
    pub fn start(&mut self) -> Vec<Admission> {
        let fresh = || Driver::new(INCARNATION, Settings { config: self.config.clone(), ..Settings::default() });
        let mut driver = Driver::load(INCARNATION, &self.saved).unwrap_or_else(|_| fresh());
        let said = self.log.iter().flat_map(|delivery| step(&mut driver, delivery)).collect();
        self.driver = Some(driver);
        said
    }

    /// The first promise that does not hold.
    #[must_use]
    pub fn broken_promise(&self) -> Option<&'static str> {
        self.driver.as_ref()?.broken_promise()
    }
}

fn step(driver: &mut Driver<BreakerCore>, delivery: &Delivery) -> Vec<Admission> {
    let said = driver.step(delivery).into_iter().filter_map(|output| match output.effect {
        Effect::Announce(announcement) => serde_json::from_value(announcement.body).ok(),
        _ => None,
    });
    said.collect()
}
