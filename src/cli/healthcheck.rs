//! `homeostat healthcheck`: asks a gateway whether it is ready; exit code 0 or 1. For containers, where no other HTTP client is.

use super::args::HealthcheckArgs;
use super::{CliError, Context, Finish};
use crate::config::Config;
use crate::keys::format::KeyText;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Of an answer, no more is read.
const ANSWER_MAX: u64 = 64 * 1024;

/// Runs the command.
///
/// # Errors
/// The gateway does not answer.
pub async fn run(context: &mut Context, args: &HealthcheckArgs) -> Result<Finish, CliError> {
    let (url, status) = ask(args, context.config()).await?;
    let ready = (200..300).contains(&status);
    if context.json {
        context.out.json(&json!({ "url": url, "status": status, "ready": ready }))?;
    } else {
        context.out.line(format!("{}: {status}", if ready { "ready" } else { "not ready" }))?;
    }
    Ok(if ready { Finish::Fine } else { Finish::Failed })
}

/// Asks; whom, and the status of the answer.
///
/// # Errors
/// There was no answer.
pub async fn ask(args: &HealthcheckArgs, config: &Config) -> Result<(String, u16), CliError> {
    let url = args.url.clone().unwrap_or_else(|| format!("{}/readyz", gateway(config)));
    let within = Duration::from_millis(args.timeout_ms);
    let late =
        |_| CliError::new(format!("{url} did not answer within {} ms", args.timeout_ms)).advise("see whether `homeostat up` runs there");
    let (status, _) = tokio::time::timeout(within, fetch(&url, config, None, ANSWER_MAX)).await.map_err(late)??;
    Ok((url, status))
}

/// Where the gateway listens, as `http://host:port`: what a running system says, else the settings. An address that means "every interface" is asked here.
#[must_use]
pub fn gateway(config: &Config) -> String {
    let said =
        std::fs::read_to_string(config.data_dir.join(super::up::FILE)).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let said = said.and_then(|up| up.get("gateway")?.as_str().map(str::to_owned));
    let base = said.unwrap_or_else(|| format!("{}://{}", config.gateway.scheme(), config.gateway.listen));
    let (scheme, listen) = base.split_once("://").unwrap_or(("http", &base));
    match listen.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("{scheme}://127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("{scheme}://[::1]:{port}"),
        _ => base,
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str, limit: u64) -> std::io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    match stream.take(limit).read_to_end(&mut answer).await {
        // Whoever closes without the farewell of TLS has said everything all the same: the status line shows whether it was an answer.
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(answer),
    }
}

/// Status and body of a GET over HTTP/1.1, in clear or (to the gateway of these settings) over TLS, at most `limit` bytes of it. The caller sets the deadline.
///
/// # Errors
/// The URL is none, or nobody answers there in HTTP.
pub async fn fetch(url: &str, config: &Config, key: Option<&KeyText>, limit: u64) -> Result<(u16, Vec<u8>), CliError> {
    let bad = || CliError::new(format!("`{url}` cannot be asked")).advise("write http://host:port/path");
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme)).ok_or_else(bad)?;
    let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, path.to_owned()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if host.is_empty() || url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(bad());
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { host.to_owned() } else { format!("{host}:{}", if scheme == "https" { 443 } else { 80 }) };
    let away =
        |why: std::io::Error| CliError::new(format!("{url} does not answer")).because(why).advise("see whether `homeostat up` runs there");
    let stream = TcpStream::connect(&address).await.map_err(away)?;
    let shown = key.map(|key| format!("Authorization: Bearer {}\r\n", key.expose())).unwrap_or_default();
    let request = format!(
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: homeostat-healthcheck\r\nAccept: */*\r\n{shown}Connection: close\r\n\r\n"
    );
    let answer = if scheme == "https" {
        let own = config.gateway.tls.pinned().map_err(|error| CliError::new(format!("{url} cannot be asked over TLS")).because(error))?;
        let name = ServerName::from(stream.peer_addr().map_err(away)?.ip());
        exchange(TlsConnector::from(own).connect(name, stream).await.map_err(away)?, &request, limit).await
    } else {
        exchange(stream, &request, limit).await
    };
    let mut answer = answer.map_err(away)?;
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_whitespace().nth(1)).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| CliError::new(format!("{url} does not speak HTTP")))?;
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
    Ok((status, answer.split_off(body)))
}

/// A text in the query of an address: whatever was written must not become another question.
pub(crate) fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}
