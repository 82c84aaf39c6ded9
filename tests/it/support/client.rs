//! A client that sends exactly the bytes it is given and reads one answer at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// One connection.
pub struct Connection<S = TcpStream> {
    pub stream: S,
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (given, value) = line.split_once(':')?;
            given.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn keeps_connection(&self) -> bool {
        !self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }
}

impl<S: Read + Write> Connection<S> {
    /// Over a stream that is there.
    pub const fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may have hung up already; the answer tells.
        drop(self.stream.write_all(bytes.as_ref()));
    }

    /// Reads on until `text` came.
    pub fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.buffer).contains(text) {
            assert!(self.fill(), "the connection ended before '{text}' came");
        }
        self.buffer.clear();
    }

    /// The next answer; `None` if the connection ended before one.
    pub fn answer(&mut self) -> Option<Answer> {
        self.answer_to("GET")
    }

    pub fn answer_to(&mut self, method: &str) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill() {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        let bodyless = method == "HEAD" || status == 204 || status == 304 || (100..200).contains(&status);
        if bodyless {
            return Some(answer);
        }
        if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                if !self.fill() {
                    break;
                }
            }
            let have = length.min(self.buffer.len());
            answer.body = self.buffer.drain(..have).collect();
        } else if answer.header("transfer-encoding").is_some() {
            answer.body = self.chunks();
        } else {
            while self.fill() {}
            answer.body = std::mem::take(&mut self.buffer);
        }
        Some(answer)
    }

    /// A chunked body; cut short if the connection ends.
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(line) = self.line() {
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                while self.line().is_some_and(|trailer| !trailer.trim().is_empty()) {}
                break;
            }
            while self.buffer.len() < size + 2 {
                if !self.fill() {
                    return body;
                }
            }
            body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
        }
        body
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                return Some(
                    String::from_utf8_lossy(&self.buffer.drain(..=at).collect::<Vec<_>>()).into_owned(),
                );
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Bytes as they come, at least one unless the connection ended.
    pub fn some(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.fill();
        }
        std::mem::take(&mut self.buffer)
    }

    /// True if the other side closed; waits for it.
    pub fn is_closed(&mut self) -> bool {
        while self.fill() {}
        true
    }

    fn fill(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                true
            }
            // TLS without a farewell, or with a stern one.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::InvalidData
                ) =>
            {
                false
            }
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

/// One request over a connection of its own. The status is 0 if the connection ended before an answer, as it does when its
/// key is revoked meanwhile.
pub fn ask(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    let mut connection = Connection::open(address);
    connection.send(bytes);
    connection.answer().unwrap_or(Answer { status: 0, head: String::new(), body: Vec::new() })
}

/// Like [`get`]; `None` if the connection ended before an answer, as it does when its key is revoked meanwhile.
pub fn try_get(address: SocketAddr, path: &str, headers: &[&str]) -> Option<Answer> {
    let mut connection = Connection::open(address);
    connection.send(request("GET", path, headers, ""));
    connection.answer()
}

/// `GET path` with header lines.
pub fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Answer {
    ask(address, request("GET", path, headers, ""))
}

/// `POST path` with header lines and a body.
pub fn post(address: SocketAddr, path: &str, headers: &[&str], body: &str) -> Answer {
    ask(address, request("POST", path, headers, body))
}

pub fn request(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: crm.example\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if method != "GET" {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text + "\r\n" + body
}
