//! The attributes that decide anything here, under all names they have had.
//!
//! Names are those of the OpenTelemetry semantic conventions: the current ones (HTTP 1.23, database 1.33, RPC 1.39, code 1.33)
//! and their predecessors, which most instrumentations still send, alone or beside the current ones.

use std::borrow::Cow;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// What an attribute means, whichever of its names was used. At most 64, so that a set of them is one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Key {
    /// The database system.
    DbSystem,
    /// The statement.
    DbStatement,
    /// Rows returned or changed.
    DbRows,
    /// The class of an error, or the code that the other side gave it.
    ErrorType,
    /// HTTP method.
    HttpMethod,
    /// HTTP status.
    HttpStatus,
    /// The route template that an HTTP request matched.
    HttpRoute,
    /// The address asked for, with host and path.
    Url,
    /// The template of the path asked for.
    UrlTemplate,
    /// The name of the service on the other side.
    PeerService,
    /// The host on the other side.
    ServerAddress,
    /// The port on the other side.
    ServerPort,
    /// The network address on the other side.
    NetworkPeer,
    /// The system of remote procedure calls.
    RpcSystem,
    /// The remote service.
    RpcService,
    /// The remote method, alone or with its service.
    RpcMethod,
    /// The status of a remote procedure call, a number or a name.
    RpcStatus,
    /// What part a framework's span has in its request.
    HandlerType,
    /// The file that sent a statement.
    CodeFile,
    /// Its line.
    CodeLine,
}

impl Key {
    /// The key of a name, and whether it is the current name.
    pub(super) fn of(name: &str) -> Option<(Key, bool)> {
        Some(match name {
            "db.system.name" => (Key::DbSystem, true),
            "db.system" => (Key::DbSystem, false),
            "db.query.text" => (Key::DbStatement, true),
            "db.statement" => (Key::DbStatement, false),
            "db.response.returned_rows" => (Key::DbRows, true),
            "db.rows_affected" | "db.sql.rows_affected" => (Key::DbRows, false),
            "error.type" => (Key::ErrorType, true),
            "http.request.method" => (Key::HttpMethod, true),
            "http.method" => (Key::HttpMethod, false),
            "http.response.status_code" => (Key::HttpStatus, true),
            "http.status_code" => (Key::HttpStatus, false),
            "http.route" => (Key::HttpRoute, true),
            "url.full" => (Key::Url, true),
            "http.url" => (Key::Url, false),
            "url.template" => (Key::UrlTemplate, true),
            "service.peer.name" => (Key::PeerService, true),
            "peer.service" => (Key::PeerService, false),
            "server.address" => (Key::ServerAddress, true),
            "net.peer.name" | "http.host" => (Key::ServerAddress, false),
            "server.port" => (Key::ServerPort, true),
            "net.peer.port" => (Key::ServerPort, false),
            "network.peer.address" => (Key::NetworkPeer, true),
            "net.sock.peer.addr" | "net.peer.ip" => (Key::NetworkPeer, false),
            "rpc.system.name" => (Key::RpcSystem, true),
            "rpc.system" => (Key::RpcSystem, false),
            "rpc.service" => (Key::RpcService, true),
            "rpc.method" => (Key::RpcMethod, true),
            "rpc.response.status_code" => (Key::RpcStatus, true),
            "rpc.grpc.status_code" | "rpc.connect_rpc.error_code" => (Key::RpcStatus, false),
            "express.type" | "fastify.type" | "koa.type" | "hapi.type" => (Key::HandlerType, false),
            "code.file.path" => (Key::CodeFile, true),
            "code.filepath" => (Key::CodeFile, false),
            "code.line.number" => (Key::CodeLine, true),
            "code.lineno" => (Key::CodeLine, false),
            _ => return None,
        })
    }
}

/// The name of a parameter of a statement, if the attribute carries one.
pub(super) fn parameter(name: &str) -> Option<&str> {
    // The last two are what the Python and JavaScript instrumentations call the whole list.
    const LISTS: [&str; 2] = ["db.statement.parameters", "db.postgresql.values"];
    let single = name.strip_prefix("db.query.parameter.").or_else(|| name.strip_prefix("db.operation.parameter."));
    single.or_else(|| LISTS.contains(&name).then_some(""))
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute<'a> {
    /// Nothing was sent.
    Empty,
    /// A text.
    Text(Cow<'a, str>),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Double(f64),
    /// Anything else (bytes, arrays, maps) is only ever compared: a digest of it.
    Other(u64),
}

impl<'a> Attribute<'a> {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Attribute::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn into_text(self) -> Option<Cow<'a, str>> {
        if let Attribute::Text(text) = self { Some(text) } else { None }
    }

    /// The number, also when it was sent as a text or as a real number without a fraction.
    #[must_use]
    pub fn as_number(&self) -> Option<i64> {
        match self {
            Attribute::Int(number) => Some(*number),
            Attribute::Text(text) => text.trim().parse().ok(),
            // 2^53: beyond it a real number is no count.
            #[allow(clippy::cast_possible_truncation)]
            Attribute::Double(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => Some(*number as i64),
            _ => None,
        }
    }
}

/// A digest of one parameter. Digests are added up, so that the order in which parameters were sent does not matter; nobody sees
/// a sum before it is hashed again under a secret key.
pub(super) fn digest(name: &str, value: &Attribute<'_>) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(name.as_bytes());
    match value {
        Attribute::Empty => hasher.update(&[0]),
        Attribute::Text(text) => {
            hasher.update(&[1]);
            hasher.update(text.as_bytes());
        }
        Attribute::Bool(value) => hasher.update(&[2, u8::from(*value)]),
        Attribute::Int(value) => {
            hasher.update(&[3]);
            hasher.update(&value.to_le_bytes());
        }
        Attribute::Double(value) => {
            hasher.update(&[4]);
            hasher.update(&value.to_bits().to_le_bytes());
        }
        Attribute::Other(value) => {
            hasher.update(&[5]);
            hasher.update(&value.to_le_bytes());
        }
    }
    hasher.digest()
}

/// A digest of raw bytes, for a value that is only compared.
pub(super) fn digest_bytes(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}
