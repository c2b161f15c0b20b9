//! The list of all actors. To add one: its folder in `actors/`, its rules in the catalogue, and here one field and one line in
//! each function; every use destructures without `..`, so that a forgotten one does not compile.

use homeostat_actors::core::{Core, Settings};
use homeostat_actors::driver::Driver;
use homeostat_actors::{health::HealthCore, query::QueryCore, status::StatusCore};
use homeostat_schemas::{Delivery, Position};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a view may take before it counts as not to be had.
const VIEW_DEADLINE: Duration = Duration::from_secs(2);

/// One entry an actor.
#[derive(Debug, Clone, Default)]
pub struct Roster<Q, H, S> {
    /// Slow queries and N+1.
    pub query: Q,
    /// Signs of life, error rates, memory, probes.
    pub health: H,
    /// What is open now.
    pub status: S,
}

/// The names of all actors, in the order of the documentation.
pub const NAMES: [&str; 3] = [QueryCore::NAME, HealthCore::NAME, StatusCore::NAME];

/// Where everyone finds the running actors.
pub type Slots = Roster<Slot<QueryCore>, Slot<HealthCore>, Slot<StatusCore>>;

/// The table `[actors]` of the settings: one table an actor, checked against that actor's own type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActorSettings(pub Map<String, Value>);

impl Default for ActorSettings {
    fn default() -> Self {
        fn table<C: Core>() -> (String, Value) {
            (C::NAME.to_owned(), Settings::<C::Config>::default().write())
        }
        let Roster { query, health, status } =
            Roster { query: table::<QueryCore>(), health: table::<HealthCore>(), status: table::<StatusCore>() };
        ActorSettings([query, health, status].into_iter().collect())
    }
}

impl ActorSettings {
    /// The settings of one actor.
    ///
    /// # Errors
    /// Which key is wrong, and what was expected.
    pub fn of<C: Core>(&self) -> Result<Settings<C::Config>, SettingsError> {
        let table = self.0.get(C::NAME).cloned().unwrap_or_else(|| Value::Object(Map::new()));
        Settings::read(&table).map_err(|why| SettingsError { actor: C::NAME, why: why.to_string() })
    }

    /// Are all tables what their actors understand?
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let Roster { query, health, status } = Roster {
            query: self.of::<QueryCore>().map(drop),
            health: self.of::<HealthCore>().map(drop),
            status: self.of::<StatusCore>().map(drop),
        };
        query.and(health).and(status)
    }

    /// The JSON Schema of the whole table, from the doc comments of the settings.
    #[must_use]
    pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
        let Roster { query, health, status } = Roster {
            query: schemars::schema_for!(<QueryCore as Core>::Config),
            health: schemars::schema_for!(<HealthCore as Core>::Config),
            status: schemars::schema_for!(<StatusCore as Core>::Config),
        };
        vec![(QueryCore::NAME, query), (HealthCore::NAME, health), (StatusCore::NAME, status)]
    }
}

/// An actor's settings that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("actors.{actor}: {why}")]
pub struct SettingsError {
    /// The actor.
    pub actor: &'static str,
    /// What is wrong.
    pub why: String,
}

/// A mind whose type is not known: what replay needs.
pub trait Mind: Send {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Takes one message.
    fn step(&mut self, delivery: &Delivery) -> Vec<homeostat_actors::core::Output>;
    /// Passes over a message.
    fn skip(&mut self, delivery: &Delivery);
    /// The end of a file.
    fn end(&mut self) -> Vec<homeostat_actors::core::Output>;
    /// The first promise that does not hold.
    fn broken_promise(&self) -> Option<&'static str>;
    /// The state as JSON, for people.
    fn view(&self) -> Value;
}

impl<C: Core> Mind for Driver<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }
    fn step(&mut self, delivery: &Delivery) -> Vec<homeostat_actors::core::Output> {
        Driver::step(self, delivery)
    }
    fn skip(&mut self, delivery: &Delivery) {
        Driver::skip_to(self, delivery.position, delivery.at);
    }
    fn end(&mut self) -> Vec<homeostat_actors::core::Output> {
        Driver::end(self)
    }
    fn broken_promise(&self) -> Option<&'static str> {
        Driver::broken_promise(self)
    }
    fn view(&self) -> Value {
        serde_json::to_value(Driver::view(self)).unwrap_or_default()
    }
}

/// A new mind of every actor before the first message of a log.
///
/// # Errors
/// Settings that an actor does not understand.
pub fn minds(incarnation: &str, settings: &ActorSettings) -> Result<Vec<Box<dyn Mind>>, SettingsError> {
    let Roster { query, health, status } = Roster {
        query: Driver::<QueryCore>::new(incarnation, settings.of::<QueryCore>()?),
        health: Driver::<HealthCore>::new(incarnation, settings.of::<HealthCore>()?),
        status: Driver::<StatusCore>::new(incarnation, settings.of::<StatusCore>()?),
    };
    Ok(vec![Box::new(query), Box::new(health), Box::new(status)])
}

/// How an actor is doing, for readiness, status and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Is it carried by a running shell?
    pub running: bool,
    /// Has it caught up with the log since it started?
    pub caught_up: bool,
    /// The last message it took.
    pub position: Position,
    /// The position of its last checkpoint.
    pub checkpoint: Position,
    /// How often it was restarted since the process started.
    pub restarts: u64,
    /// Its last trouble, in a form that may be shown.
    pub trouble: Option<String>,
    /// Findings open.
    pub open: usize,
}

type ViewFuture<V> = Pin<Box<dyn Future<Output = Option<V>> + Send>>;
type Viewer<V> = Arc<dyn Fn() -> ViewFuture<V> + Send + Sync>;

/// Where one actor is found, whichever incarnation of it runs.
pub struct Slot<C: Core> {
    viewer: Arc<Mutex<Option<Viewer<C::View>>>>,
    condition: Arc<Mutex<Condition>>,
}

impl<C: Core> Clone for Slot<C> {
    fn clone(&self) -> Self {
        Slot { viewer: self.viewer.clone(), condition: self.condition.clone() }
    }
}

impl<C: Core> Default for Slot<C> {
    fn default() -> Self {
        Slot { viewer: Arc::default(), condition: Arc::default() }
    }
}

impl<C: Core> Slot<C> {
    /// What the actor lets others see of itself; nothing while it is not running or too busy to say.
    pub async fn view(&self) -> Option<C::View> {
        let viewer = self.viewer.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        tokio::time::timeout(VIEW_DEADLINE, viewer()).await.ok().flatten()
    }

    /// How it is doing.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is known of its condition.
    pub fn note(&self, change: impl FnOnce(&mut Condition)) {
        change(&mut self.condition.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Says how to ask the shell that carries the actor now.
    pub fn fill(&self, viewer: Option<Viewer<C::View>>) {
        *self.viewer.lock().unwrap_or_else(PoisonError::into_inner) = viewer;
    }
}

impl Slots {
    /// The condition of every actor.
    #[must_use]
    pub fn conditions(&self) -> Vec<(&'static str, Condition)> {
        let Roster { query, health, status } = self;
        vec![(QueryCore::NAME, query.condition()), (HealthCore::NAME, health.condition()), (StatusCore::NAME, status.condition())]
    }
}
