//! A stub CRM: keeps every byte it got, answers as it is told.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// What to do with a connection, given the stream and the store of requests.
type Behaviour = dyn Fn(TcpStream, &Seen) + Send + Sync;

/// The stub.
pub struct Crm {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
}

/// What it got.
#[derive(Default)]
pub struct Seen {
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
}

impl Seen {
    /// All requests, heads and bodies as they came over the wire.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }

    pub fn last(&self) -> String {
        self.requests.lock().last().cloned().expect("the CRM got a request")
    }

    /// Keeps what a behaviour has read by itself.
    pub fn note(&self, request: &str) {
        self.requests.lock().push(request.to_owned());
    }

    pub fn count(&self) -> usize {
        self.requests.lock().len()
    }

    /// One more connection came.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Reads one request, whatever its framing, and keeps it. `None` at the end.
    pub fn read(&self, stream: &mut impl Read) -> Option<String> {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !fill(stream, &mut bytes) {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let complete = |bytes: &[u8]| match length {
            Some(length) => bytes.len() >= head_end + length,
            None => !head.contains("transfer-encoding: chunked") || is_whole_in_chunks(&bytes[head_end..]),
        };
        while !complete(&bytes) {
            if !fill(stream, &mut bytes) {
                break;
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.requests.lock().push(text.clone());
        Some(text)
    }
}

/// True if a chunked body is whole, trailers included.
fn is_whole_in_chunks(mut body: &[u8]) -> bool {
    let end = |bytes: &[u8], of: &[u8]| bytes.windows(of.len()).position(|window| window == of);
    while let Some(at) = end(body, b"\r\n") {
        let size =
            std::str::from_utf8(&body[..at]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        match size {
            Some(0) => return body[at + 2..].starts_with(b"\r\n") || end(body, b"\r\n\r\n").is_some(),
            Some(size) if body.len() >= at + 2 + size + 2 => body = &body[at + 2 + size + 2..],
            Some(_) | None => return false,
        }
    }
    false
}

fn fill(stream: &mut impl Read, bytes: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 65536];
    match stream.read(&mut chunk) {
        Ok(0) | Err(_) => false,
        Ok(read) => {
            bytes.extend_from_slice(&chunk[..read]);
            true
        }
    }
}

impl Crm {
    /// Answers every request with the same bytes, on kept connections.
    pub fn answering(answer: &'static str) -> Self {
        Self::with(move |mut stream, seen| {
            while seen.read(&mut stream).is_some() {
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers 200 with two bytes.
    pub fn usual() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }

    /// Does as it is told with each connection, on a thread of its own.
    pub fn with(behaviour: impl Fn(TcpStream, &Seen) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let store = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                store.connections.fetch_add(1, Ordering::SeqCst);
                let (behaviour, store) = (Arc::clone(&behaviour), Arc::clone(&store));
                std::thread::spawn(move || behaviour(stream, &store));
            }
        });
        Self { address, seen }
    }
}

/// Answers every request at a socket file with the same bytes.
pub fn at_path(path: &Path, answer: &'static str) -> Arc<Seen> {
    let listener = UnixListener::bind(path).unwrap();
    let seen = Arc::new(Seen::default());
    let store = Arc::clone(&seen);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            store.connections.fetch_add(1, Ordering::SeqCst);
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                while store.read(&mut stream).is_some() && stream.write_all(answer.as_bytes()).is_ok() {}
            });
        }
    });
    seen
}
