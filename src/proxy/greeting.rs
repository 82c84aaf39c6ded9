//! What comes before HTTP on a listener that asks for it: a PROXY protocol header, a TLS handshake, HTTP/2's preface. Each with
//! a deadline.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::Proxy;
use super::peer::{Scheme, Way};
use super::proxy_protocol::{self, Progress, Source};
use crate::config::{Listener, Timeouts};
use crate::metrics::{Handshake, Shed};
use crate::socket::Socket;
use crate::tls::acceptor::{Acceptor, H2, Versions};
use crate::tls::certificate::Facts;

/// What an HTTP/2 connection without TLS begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection on which HTTP begins.
pub struct Greeted {
    /// Its bytes.
    pub stream: Box<dyn Duplex>,
    /// How it came.
    pub way: Way,
    /// What is spoken.
    pub spoken: Spoken,
}

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1 or 1.0.
    One,
    /// HTTP/2.
    Two,
}

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Reads a PROXY protocol header within `limit`; `None` for anything else.
pub async fn source(stream: &mut Socket, limit: Duration) -> Option<Source> {
    let read = async {
        let mut header = Vec::with_capacity(128);
        loop {
            match proxy_protocol::read(&header).ok()? {
                Progress::Whole(source) => return Some(source),
                Progress::Needs(more) => {
                    let have = header.len();
                    header.resize(have + more, 0);
                    stream.read_exact(header.get_mut(have..)?).await.ok()?;
                }
            }
        }
    };
    timeout(limit, read).await.ok()?
}

/// Does what `listener` asks for; `None` if the client does not, or not in time.
pub async fn open(
    stream: Socket,
    listener: &Listener,
    proxy: &Proxy,
    timeouts: &Timeouts,
) -> Option<Greeted> {
    match &listener.tls {
        Some(acceptor) => {
            let begun = Slot::take(&proxy.connections.handshakes, proxy.limits.connections.div_ceil(2));
            let shaken = match begun {
                Some(_slot) => shake(stream, acceptor, timeouts.tls_handshake).await,
                None => {
                    proxy.metrics.wire.shed(Shed::Handshakes);
                    Err(Handshake::Shed)
                }
            };
            let result = shaken.as_ref().map_or_else(|failure| *failure, |_| Handshake::Done);
            proxy.metrics.wire.shook(result);
            shaken.ok()
        }
        None => {
            let way = Way { scheme: Scheme::Http, certificate: None };
            match listener.versions {
                Versions::One => Some(Greeted { stream: Box::new(stream), way, spoken: Spoken::One }),
                Versions::OneAndTwo => {
                    let (stream, spoken) = timeout(timeouts.request_head, preface(stream)).await.ok()??;
                    Some(Greeted { stream: Box::new(stream), way, spoken })
                }
            }
        }
    }
}

async fn shake(stream: Socket, acceptor: &Acceptor, limit: Duration) -> Result<Greeted, Handshake> {
    let shaken = timeout(limit, acceptor.tls().accept(stream)).await.map_err(|_| Handshake::TimedOut)?;
    let stream = shaken.map_err(|error| {
        tracing::debug!(%error, "TLS handshake failed");
        Handshake::Failed
    })?;
    let (_, session) = stream.get_ref();
    let spoken = if session.alpn_protocol() == Some(H2) { Spoken::Two } else { Spoken::One };
    let shown = session.peer_certificates().and_then(|chain| chain.first());
    let certificate = match shown.map(|own| Facts::read(own)) {
        // Verified, and yet not to be read: it can prove nothing.
        Some(None) => return Err(Handshake::Failed),
        Some(facts) => facts.map(Arc::new),
        None => None,
    };
    let way = Way { scheme: Scheme::Https, certificate };
    Ok(Greeted { stream: Box::new(stream), way, spoken })
}

/// Tells HTTP/2 by its first bytes, which are given back.
async fn preface(mut stream: Socket) -> Option<(Rewound, Spoken)> {
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        let mut chunk = [0; PREFACE.len()];
        let room = chunk.get_mut(first.len()..)?;
        let read = stream.read(room).await.ok().filter(|read| *read > 0)?;
        first.extend_from_slice(room.get(..read)?);
    }
    let spoken = if first == PREFACE { Spoken::Two } else { Spoken::One };
    Some((Rewound { first, stream }, spoken))
}

/// A stream with its first bytes given back.
struct Rewound {
    first: Vec<u8>,
    stream: Socket,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.first.len().min(buf.remaining());
        let given: Vec<u8> = self.first.drain(..count).collect();
        buf.put_slice(&given);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// One of so many things under way at once; dropping it makes room.
#[derive(Debug)]
pub struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// One more, unless that is more than `most`.
    pub fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let slot = Self(Arc::clone(taken));
        (taken.fetch_add(1, Ordering::Relaxed) < most).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
