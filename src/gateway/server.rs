//! The HTTP server: actix-web over connections that must get on ([`super::pace`]), with or without TLS.
//!
//! It is put together from actix's own parts instead of by `HttpServer`, because that takes no connections but its own. HTTP/2 is left
//! out: what it needs has an open advisory, and nothing that is served here gains from it.

use super::pace::{Connections, Deadlines, Pace, Paced};
use super::{Gate, layer, routes};
use actix_http::error::DispatchError;
use actix_http::{HttpServiceBuilder, Request};
use actix_server::Server;
use actix_service::{IntoServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::http::KeepAlive;
use actix_web::middleware::from_fn;
use actix_web::{App, web};
use rustls::ServerConfig;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1_024;
/// Connections of a worker beyond its limit, while others are being pushed out.
const SPARE: usize = 64;
/// How long what a client sends after its refusal is still read, so that it sees the answer.
const LINGER: Duration = Duration::from_secs(2);

/// The certificates in force; nothing without TLS.
pub(super) type Certificates = watch::Receiver<Option<Arc<ServerConfig>>>;

/// Serves on a port.
pub(super) fn serve(listener: TcpListener, gate: web::Data<Gate>, certificates: Certificates) -> io::Result<Server> {
    let config = gate.config.clone();
    let workers = config.workers.clamp(1, 64);
    let connections = config.connections_max.max(1);
    let builder = Server::build()
        .workers(workers)
        .backlog(BACKLOG)
        .max_concurrent_connections(connections + SPARE)
        .shutdown_timeout(config.stop_deadline_s)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let factory = move || {
        let deadlines = Deadlines {
            head: Duration::from_millis(config.head_deadline_ms),
            keep_alive: Duration::from_secs(config.keep_alive_s),
            write: Duration::from_millis(config.write_deadline_ms),
        };
        let app = App::new().app_data(gate.clone()).wrap(from_fn(layer::around)).configure(routes::configure);
        let app = IntoServiceFactory::<_, Request>::into_factory(app).map_err(|error: actix_web::Error| error.error_response());
        let stopping = stopping.clone();
        let http = HttpServiceBuilder::default()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KeepAlive::Timeout(deadlines.keep_alive))
            .client_request_timeout(deadlines.head)
            .client_disconnect_timeout(LINGER)
            .on_connect_ext(|io: &Connection, extensions| {
                extensions.insert(io.pace());
            })
            .h1(map_config(app, |_| AppConfig::default()));
        let connections = Rc::new(Connections::new(connections, deadlines));
        let certificates = certificates.clone();
        fn_service(move |io: TcpStream| {
            let certificates = certificates.borrow().clone();
            let connections = connections.clone();
            async move {
                let peer = io.peer_addr().ok();
                // Answers are small and whole: nothing is gained by waiting for more.
                let _ = io.set_nodelay(true);
                let io = connections.take(io);
                let io = match certificates {
                    None => Connection::Plain(io),
                    Some(config) => Connection::Tls(Box::new(TlsAcceptor::from(config).accept(io).await.map_err(DispatchError::Io)?)),
                };
                Ok::<_, DispatchError>((io, peer))
            }
        })
        .and_then(http)
    };
    Ok(builder.listen("gateway", listener, factory)?.run())
}

/// One connection.
enum Connection {
    Plain(Paced),
    Tls(Box<TlsStream<Paced>>),
}

impl Connection {
    fn pace(&self) -> Rc<Pace> {
        match self {
            Connection::Plain(io) => io.pace(),
            Connection::Tls(io) => io.get_ref().0.pace(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Connection::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Connection::Tls(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Connection::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Connection::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Connection::Plain(io) => Pin::new(io).poll_flush(cx),
            Connection::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Connection::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Connection::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
