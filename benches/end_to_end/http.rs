//! A keep-alive HTTP/1.1 connection: so little of a client that it hardly shows beside the server.

use crate::Outcome;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);
/// No answer that is asked for here is larger.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One connection to the gateway.
pub(crate) struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to `http://host:port`.
    pub(crate) async fn open(base: &str) -> Outcome<Connection> {
        let host = base.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let stream = timeout(DEADLINE, TcpStream::connect(&host)).await??;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, host, buffer: Vec::new() })
    }

    /// Status and body of `GET path`.
    pub(crate) async fn get(&mut self, path: &str) -> Outcome<(u16, Vec<u8>)> {
        self.exchange("GET", path, "", &[]).await
    }

    /// Status and body of `POST path`.
    pub(crate) async fn post(&mut self, path: &str, content_type: &str, body: &[u8]) -> Outcome<(u16, Vec<u8>)> {
        self.exchange("POST", path, &format!("content-type: {content_type}\r\ncontent-length: {}\r\n", body.len()), body).await
    }

    async fn exchange(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Outcome<(u16, Vec<u8>)> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", self.host).into_bytes();
        request.extend_from_slice(body);
        timeout(DEADLINE, async {
            self.stream.write_all(&request).await?;
            self.answer().await
        })
        .await?
    }

    async fn answer(&mut self) -> Outcome<(u16, Vec<u8>)> {
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).ok_or("no status line")?.parse()?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).ok_or("an answer without a length")?;
        let end = head + length.trim().parse::<usize>()?.min(ANSWER_BYTES_MAX);
        while self.buffer.len() < end {
            self.more().await?;
        }
        let body = self.buffer[head..end].to_vec();
        self.buffer.drain(..end);
        Ok((status, body))
    }

    async fn more(&mut self) -> Outcome<()> {
        if self.buffer.len() > 2 * ANSWER_BYTES_MAX {
            return Err("an answer without an end".into());
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the gateway closed the connection".into()),
            _ => Ok(()),
        }
    }
}
