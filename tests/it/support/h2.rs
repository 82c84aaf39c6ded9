//! HTTP/2 clients: a well-behaved one, and one that sends exactly the frames it is given.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};

use super::PATIENCE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// What came back, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
    pub trailers: Option<HeaderMap>,
}

/// Does `what` with a connection to `address`, whose frames are driven meanwhile.
pub fn talk<T, F: Future<Output = T>>(address: SocketAddr, what: impl FnOnce(SendRequest<Bytes>) -> F) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        let done = tokio::time::timeout(PATIENCE, what(sender)).await.expect("in time");
        driver.abort();
        done
    })
}

/// Sends a request and reads the whole answer.
pub async fn ask(
    sender: &SendRequest<Bytes>,
    request: Request<()>,
    body: Option<&'static str>,
) -> Result<Answer, h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (answer, mut sending) = sender.send_request(request, body.is_none())?;
    if let Some(body) = body {
        sending.send_data(Bytes::from_static(body.as_bytes()), true)?;
    }
    whole(answer.await?).await
}

/// Reads an answer to its end.
pub async fn whole(answer: Response<h2::RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(bytes) = stream.data().await {
        let bytes = bytes?;
        stream.flow_control().release_capacity(bytes.len())?;
        body.extend_from_slice(&bytes);
    }
    let trailers = stream.trailers().await?;
    let body = String::from_utf8(body).unwrap();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, trailers })
}

/// A connection of raw frames.
pub struct Frames(pub TcpStream);

/// One frame.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frames {
    /// After the preface and empty settings.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut frames = Self(stream);
        frames.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        frames.send(SETTINGS, 0, 0, b"");
        frames
    }

    /// Sends a frame; false if the other side has hung up.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let bytes = [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.0.write_all(&bytes).is_ok()
    }

    /// The next frame; `None` at the end.
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let mut payload =
            vec![0; usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap()];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], stream, payload })
    }

    /// Reads on until `fits`; `None` if the connection ended before.
    pub fn until(&mut self, fits: impl Fn(&Frame) -> bool) -> Option<Frame> {
        std::iter::from_fn(|| self.next()).find(fits)
    }
}

/// A header block of literals (RFC 7541 section 6.2.2), which no table remembers.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| -> Vec<u8> {
        let mut out = Vec::new();
        match u8::try_from(text.len()) {
            Ok(length @ 0..127) => out.push(length),
            _ => {
                let mut rest = text.len() - 127;
                out.push(127);
                while rest >= 128 {
                    out.push(u8::try_from(rest % 128).unwrap() | 0x80);
                    rest /= 128;
                }
                out.push(u8::try_from(rest).unwrap());
            }
        }
        out.extend_from_slice(text.as_bytes());
        out
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}
