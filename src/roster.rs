//! The list of all actors, and what the body keeps of each. To add one: its folder in `actors/`, its rules in the catalogue, and one
//! line in the list below; settings, replay, keepers, views and conditions come with it.

use crate::feed::Progress;
use crate::supervise::{Common, End, Keeper};
use homeostat_actors::core::{self, Core, Settings};
use homeostat_actors::driver::Driver;
use homeostat_actors::{
    breaker::BreakerCore, drift::DriftCore, forecast::ForecastCore, health::HealthCore, key_rotation::KeyRotationCore, leak::LeakCore,
    query::QueryCore, recovery::RecoveryCore, status::StatusCore,
};
use homeostat_schemas::{Delivery, Position};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How long an answer may take before it counts as not to be had.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// The pause between two looks at how far an actor is that says nothing.
const LOOK: Duration = Duration::from_millis(20);

/// Everything that is done once for each actor is made from the one list, so that no actor can be forgotten anywhere.
macro_rules! roster {
    ($($(#[$doc:meta])+ $field:ident: $core:ty,)+) => {
        /// The names of all actors, in the order of the documentation.
        pub const NAMES: [&str; <[&str]>::len(&[$(<$core as Core>::NAME),+])] = [$(<$core as Core>::NAME),+];

        /// Where everyone finds the running actors.
        #[derive(Clone, Default)]
        pub struct Slots {
            $($(#[$doc])+ pub $field: Slot<$core>,)+
        }

        impl Slots {
            /// The condition of every actor.
            #[must_use]
            pub fn conditions(&self) -> Vec<(&'static str, Condition)> {
                vec![$((<$core as Core>::NAME, self.$field.condition())),+]
            }

            /// None is carried here any more: what was known of where they are is another process's to say.
            pub fn forget(&self) {
                $(self.$field.forget();)+
            }

            /// What holds up each actor until it is told to stop.
            #[must_use]
            pub fn keepers(&self, common: &Common) -> Vec<Pin<Box<dyn Future<Output = End> + Send>>> {
                vec![$(Box::pin(Keeper::new(common.clone(), self.$field.clone()).run())),+]
            }
        }

        impl Default for ActorSettings {
            fn default() -> Self {
                ActorSettings([$((<$core as Core>::NAME.to_owned(), core::defaults::<$core>().write())),+].into_iter().collect())
            }
        }

        impl ActorSettings {
            /// Are all tables what their actors understand?
            ///
            /// # Errors
            /// The first that is not.
            pub fn check(&self) -> Result<(), SettingsError> {
                $(self.of::<$core>()?;)+
                Ok(())
            }

            /// The JSON Schema of each actor's table, from the doc comments of its settings.
            #[must_use]
            pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
                vec![$((<$core as Core>::NAME, schemars::schema_for!(<$core as Core>::Config))),+]
            }
        }

        /// A new mind of every actor before the first message of a log.
        ///
        /// # Errors
        /// Settings that an actor does not understand.
        pub fn minds(incarnation: &str, settings: &ActorSettings) -> Result<Vec<Box<dyn Mind>>, SettingsError> {
            Ok(vec![$(Box::new(Driver::<$core>::new(incarnation, settings.of::<$core>()?))),+])
        }

        #[cfg(test)]
        #[test]
        fn a_field_has_the_name_of_its_actor() {
            assert_eq!([$(stringify!($field)),+], NAMES);
        }
    };
}

roster! {
    /// Slow queries and N+1.
    query: QueryCore,
    /// Signs of life, error rates, memory, probes.
    health: HealthCore,
    /// What share of its calls to a failing peer a service may make.
    breaker: BreakerCore,
    /// What models see and say, beside their baselines.
    drift: DriftCore,
    /// Memory that grows without a bound.
    leak: LeakCore,
    /// Forecasts, anomalies, time to exhaustion.
    forecast: ForecastCore,
    /// What is due for each API key.
    key_rotation: KeyRotationCore,
    /// From alerts to commands, and whether they helped.
    recovery: RecoveryCore,
    /// What is open now.
    status: StatusCore,
}

/// The table `[actors]` of the settings: one table an actor, checked against that actor's own type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActorSettings(pub Map<String, Value>);

impl ActorSettings {
    /// The settings of one actor.
    ///
    /// # Errors
    /// Which key is wrong, and what was expected.
    pub fn of<C: Core>(&self) -> Result<Settings<C::Config>, SettingsError> {
        let table = self.0.get(C::NAME).cloned().unwrap_or_else(|| Value::Object(Map::new()));
        core::read::<C>(&table).map_err(|why| SettingsError { actor: C::NAME, why: why.to_string() })
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

/// What somebody wants to know of an actor.
pub type Question<C> = Box<dyn FnOnce(&Driver<C>) + Send>;
type Asking = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Who puts a question to the shell that carries the actor.
pub type Asker<C> = Arc<dyn Fn(Question<C>) -> Asking + Send + Sync>;

/// Where one actor is found, whichever incarnation of it runs.
pub struct Slot<C: Core> {
    asker: Arc<Mutex<Option<Asker<C>>>>,
    condition: Arc<watch::Sender<Condition>>,
    progress: Arc<Mutex<Arc<Progress>>>,
}

impl<C: Core> Clone for Slot<C> {
    fn clone(&self) -> Self {
        Slot { asker: self.asker.clone(), condition: self.condition.clone(), progress: self.progress.clone() }
    }
}

impl<C: Core> Default for Slot<C> {
    fn default() -> Self {
        Slot { asker: Arc::default(), condition: Arc::default(), progress: Arc::default() }
    }
}

impl<C: Core> Slot<C> {
    /// What the actor lets others see of itself; nothing while it is not running or too busy to say.
    pub async fn view(&self) -> Option<C::View> {
        self.ask(Driver::view).await
    }

    /// The answer to one question, between two batches; nothing while it is not running or too busy to say.
    pub async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Driver<C>) -> T + Send + 'static) -> Option<T> {
        let asker = self.asker.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (answer, heard) = oneshot::channel();
        // Who does not wait any more does not want it any more.
        let question: Question<C> = Box::new(move |driver| drop(answer.send(question(driver))));
        let answered = async {
            asker(question).await;
            heard.await.ok()
        };
        tokio::time::timeout(ANSWER_DEADLINE, answered).await.ok().flatten()
    }

    /// How it is doing. Its position is where it is in the log, whether what lies before that was for it or for others.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut condition = self.condition.borrow().clone();
        condition.position = progress.position(condition.position);
        condition
    }

    /// Waits until it has taken everything up to `position`; false when it does not get there in time.
    pub async fn reached(&self, position: Position, within: Duration) -> bool {
        let mut changes = self.condition.subscribe();
        let there = async {
            loop {
                let condition = self.condition();
                if condition.running && condition.position >= position {
                    return;
                }
                // What is not for it moves its position without a word.
                let _ = tokio::time::timeout(LOOK, changes.changed()).await;
            }
        };
        tokio::time::timeout(within, there).await.is_ok()
    }

    /// Says how the actor follows the log from now on.
    pub fn follow(&self, progress: &Arc<Progress>) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress.clone();
    }

    /// Changes what is known of its condition.
    pub fn note(&self, change: impl FnOnce(&mut Condition)) {
        self.condition.send_modify(change);
    }

    /// Nothing is known of where it is any more; how often it fell, and why, stays.
    fn forget(&self) {
        self.follow(&Arc::default());
        self.note(|condition| {
            *condition = Condition { restarts: condition.restarts, trouble: condition.trouble.take(), ..Condition::default() };
        });
    }

    /// Says how to ask the shell that carries the actor now.
    pub fn fill(&self, asker: Option<Asker<C>>) {
        *self.asker.lock().unwrap_or_else(PoisonError::into_inner) = asker;
    }
}
