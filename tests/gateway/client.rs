//! A client that does what it is told, also what no well-behaved one would do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// One connection at a time.
pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// The server said that it closes the connection, as it does when it did not read a whole request.
    closing: bool,
}

impl Client {
    pub fn to(address: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Client { stream, reader, closing: false }
    }

    /// Sends the head of a request.
    pub fn head(&mut self, line: &str, headers: &[(&str, &str)]) {
        if self.closing {
            *self = Client::to(&self.stream.peer_addr().unwrap().to_string());
        }
        let mut text = format!("{line} HTTP/1.1\r\nhost: test\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    pub fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.head(&format!("GET {path}"), headers);
        self.answer()
    }

    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        all.push(("content-length", &length));
        self.head(&format!("POST {path}"), &all);
        // A server that has heard enough may close before it has read everything.
        let _ = self.stream.write_all(body);
        self.answer()
    }

    pub fn post_chunked(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8], chunk: usize) -> Answer {
        let mut all = headers.to_vec();
        all.push(("transfer-encoding", "chunked"));
        self.head(&format!("POST {path}"), &all);
        for piece in body.chunks(chunk) {
            let mut framed = format!("{:x}\r\n", piece.len()).into_bytes();
            framed.extend_from_slice(piece);
            framed.extend_from_slice(b"\r\n");
            if self.stream.write_all(&framed).is_err() {
                break;
            }
        }
        let _ = self.stream.write_all(b"0\r\n\r\n");
        self.answer()
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// Reads an answer with a body of known length.
    pub fn answer(&mut self) -> Answer {
        let mut answer = self.answer_head();
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        self.closing = answer.header("connection") == Some("close");
        answer.body = vec![0; length];
        self.reader.read_exact(&mut answer.body).unwrap();
        answer
    }

    /// Reads status and headers.
    pub fn answer_head(&mut self) -> Answer {
        let status = self.line();
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in `{status}`"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None => return Answer { status, headers, body: Vec::new() },
            }
        }
    }
}
