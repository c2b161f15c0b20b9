//! The gateway actor: starts the HTTP server in its `started`, stops it on [`Stop`], and says where it listens.
//!
//! The port is bound before the actor starts, so that an address that cannot be used is an error of the start and not of a log.

use super::config::{GatewayConfig, GatewayError};
use super::{Gate, GatewayState, server};
use actix::{Actor, ActorContext as _, Addr, AsyncContext as _, Context, Handler, Message, ResponseFuture, System, WrapFuture as _};
use actix_web::dev::ServerHandle;
use actix_web::web;
use rustls::ServerConfig;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Longest start.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// Owns the HTTP server.
pub struct GatewayActor {
    config: GatewayConfig,
    state: GatewayState,
    keys_needed: bool,
    certificates: Option<Arc<ServerConfig>>,
    listener: Option<TcpListener>,
    started: Option<oneshot::Sender<Result<(), String>>>,
    server: Option<ServerHandle>,
    stopping: watch::Sender<bool>,
}

/// Where the gateway listens, and how it is stopped.
pub struct GatewayHandle {
    actor: Addr<GatewayActor>,
    address: SocketAddr,
    stop_deadline: Duration,
}

/// Stops the server: no new connections, requests at work may end within the deadline.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

impl GatewayActor {
    /// Binds the port and starts the actor on an arbiter of the system.
    ///
    /// # Errors
    /// An address that cannot be used, or one beyond loopback that nobody allowed.
    pub async fn run(system: &System, config: GatewayConfig, state: GatewayState) -> Result<GatewayHandle, GatewayError> {
        config.check()?;
        let certificates = config.tls.load()?;
        let addresses = config.addresses()?;
        let (listener, address) = bind(&addresses)?;
        let stop_deadline = Duration::from_secs(config.stop_deadline_s);
        let (started, start) = oneshot::channel();
        let (stopping, _) = watch::channel(false);
        let keys_needed = config.keys_needed(address.ip());
        if keys_needed {
            say_what_to_do(address, &state).await;
        }
        let actor = GatewayActor {
            config,
            state,
            keys_needed,
            certificates,
            listener: Some(listener),
            started: Some(started),
            server: None,
            stopping,
        };
        let actor = Actor::start_in_arbiter(system.arbiter(), |_| actor);
        match tokio::time::timeout(START_DEADLINE, start).await {
            Ok(Ok(Ok(()))) => Ok(GatewayHandle { actor, address, stop_deadline }),
            Ok(Ok(Err(reason))) => Err(GatewayError::Start(reason)),
            Ok(Err(_)) => Err(GatewayError::Start("its actor ended".to_owned())),
            Err(_) => Err(GatewayError::Start("it took too long".to_owned())),
        }
    }
}

impl GatewayHandle {
    /// Host and port, the port as it was bound.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Stops it. Takes no longer than the deadline of the settings and a moment.
    pub async fn stop(&self) {
        let patience = self.stop_deadline + Duration::from_secs(1);
        if tokio::time::timeout(patience, self.actor.send(Stop)).await.is_err() {
            tracing::warn!("requests were still at work when the gateway stopped");
        }
    }
}

/// A gateway that needs keys while there are none refuses everybody: say how the first one is made. It starts all the same, so that
/// probes have an answer, and a key made meanwhile counts at once.
async fn say_what_to_do(address: SocketAddr, state: &GatewayState) {
    let any = match &state.keys {
        Some(keys) => keys.any().await,
        None => false,
    };
    if !any {
        tracing::error!(%address, "requests need an API key, and there is none yet: make the first one with `homeostat keys bootstrap`");
    }
}

/// The first of the addresses that can be bound.
fn bind(addresses: &[SocketAddr]) -> Result<(TcpListener, SocketAddr), GatewayError> {
    let mut refused = None;
    for &address in addresses {
        match TcpListener::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((bound, listener)) => return Ok((listener, bound)),
            Err(source) => refused = Some(GatewayError::Bind { address, source }),
        }
    }
    Err(refused.unwrap_or_else(|| GatewayError::Start("no address to listen on".to_owned())))
}

impl Actor for GatewayActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let Some(listener) = self.listener.take() else { return context.stop() };
        let gate = web::Data::new(Gate::new(self.config.clone(), self.state.clone(), self.keys_needed, self.stopping.subscribe()));
        let readiness = (self.state.readiness.clone(), self.state.store.clone(), self.stopping.subscribe());
        let (certificates, current) = watch::channel(self.certificates.take());
        let server = server::serve(listener, gate, current);
        let result = match server {
            Ok(server) => {
                self.server = Some(server.handle());
                if certificates.borrow().is_some() {
                    context.spawn(self.config.tls.clone().follow(certificates, self.stopping.subscribe()).into_actor(self));
                }
                context.spawn(
                    async move {
                        if let Err(error) = server.await {
                            tracing::error!(%error, "the gateway ended");
                        }
                    }
                    .into_actor(self),
                );
                context.spawn(
                    async move {
                        let (readiness, store, stop) = readiness;
                        readiness.sample(&store, stop).await;
                    }
                    .into_actor(self),
                );
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Some(started) = self.started.take() {
            // Nobody waits any more: the start took too long, and its error said so.
            let _ = started.send(result);
        }
    }
}

impl Handler<Stop> for GatewayActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Stop, _: &mut Self::Context) -> Self::Result {
        self.stopping.send_replace(true);
        let server = self.server.take();
        Box::pin(async move {
            if let Some(server) = server {
                server.stop(true).await;
            }
        })
    }
}
