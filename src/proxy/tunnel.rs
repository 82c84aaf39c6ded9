//! `WebSocket`s (RFC 6455): the handshake is judged on both sides, then bytes pass both ways until one side ends or both are
//! silent for too long.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ring::digest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::download::Answer;
use super::record::{Moved, Record};
use super::upstream::Lease;
use super::{forward, respond};
use crate::denial::{Ambiguity, Denial};
use crate::outcome::Ending;

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes held per direction.
const BUFFER: usize = 8 * 1024;

/// A client's well-formed wish for a WebSocket.
#[derive(Debug)]
pub struct Handshake {
    client: OnUpgrade,
    accept: String,
}

impl Handshake {
    /// The handshake of a request that asks for an upgrade; `None` if it is for another protocol, which is passed over.
    ///
    /// # Errors
    /// [`Ambiguity::Upgrade`] for a WebSocket handshake that RFC 6455 section 4.1 does not know.
    pub fn find(parts: &mut Parts) -> Result<Option<Self>, Denial> {
        let mut asked = parts.headers.get_all(header::UPGRADE).iter();
        match (asked.next(), asked.next()) {
            (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"websocket") => {}
            (Some(_) | None, None) => return Ok(None),
            (_, Some(_)) => return Err(Denial::Ambiguous(Ambiguity::Upgrade)),
        }
        let one = |name| {
            let mut values = parts.headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none())
        };
        let key = one(header::SEC_WEBSOCKET_KEY).filter(|key| {
            key.len() == 24 && BASE64_STANDARD.decode(key.as_bytes()).is_ok_and(|nonce| nonce.len() == 16)
        });
        let version_fits = one(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let line_fits = parts.method == Method::GET && parts.version == Version::HTTP_11;
        let Some(key) = key.filter(|_| version_fits && line_fits) else {
            return Err(Denial::Ambiguous(Ambiguity::Upgrade));
        };
        let accept = accept_for(key.as_bytes());
        let client = parts.extensions.remove::<OnUpgrade>().ok_or(Denial::Ambiguous(Ambiguity::Upgrade))?;
        Ok(Some(Self { client, accept }))
    }

    /// Puts back what hop-by-hop handling took out.
    pub fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }

    /// True if the CRM's 101 answers this very handshake.
    pub fn is_accepted_by(&self, headers: &HeaderMap) -> bool {
        let protocol =
            headers.get(header::UPGRADE).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let mut accepts = headers.get_all(header::SEC_WEBSOCKET_ACCEPT).iter();
        let accepted = accepts.next().is_some_and(|it| it.as_bytes() == self.accept.as_bytes());
        protocol && accepted && accepts.next().is_none()
    }

    /// Answers 101 and lets bytes pass.
    pub fn open(
        self,
        mut response: Response<Incoming>,
        mut lease: Lease,
        idle: Duration,
        mut record: Box<Record>,
    ) -> Response<Answer> {
        let id = record.request_id.header_value();
        if let Err(denial) = forward::response(response.headers_mut(), id) {
            return respond::refuse(record, denial);
        }
        let crm = hyper::upgrade::on(&mut response);
        lease.release();
        record.answered(StatusCode::SWITCHING_PROTOCOLS, None);
        record.leave_connection();
        let (head, _) = response.into_parts();
        let mut headers = head.headers;
        self.ask(&mut headers);
        tokio::spawn(async move {
            if let (Ok(client), Ok(crm)) = (self.client.await, crm.await) {
                let moved = Arc::new(Moved::default());
                record.set_tunnelled(Arc::clone(&moved));
                let mut hang_up = record.proxy().hang_up.clone();
                record.ending = tokio::select! {
                    () = pass(client, crm, &moved, idle) => Ending::Complete,
                    () = async { drop(hang_up.wait_for(|hang_up| *hang_up).await) } => Ending::Drained,
                    () = poll_fn(|cx| record.lifeline().poll_cut(cx)) => Ending::KeyOver,
                };
            }
            drop((record, lease));
        });
        let mut answer = Response::new(Answer::Tunnelled);
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = headers;
        answer
    }
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2).
pub fn accept_for(key: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(GUID);
    BASE64_STANDARD.encode(context.finish())
}

/// Once one side has ended, the other gets this long to say what it still has to say.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Passes bytes until one side ends, an error, or silence on both sides.
async fn pass(client: Upgraded, crm: Upgraded, moved: &Moved, idle: Duration) {
    let (client_reads, client_writes) = tokio::io::split(TokioIo::new(client));
    let (crm_reads, crm_writes) = tokio::io::split(TokioIo::new(crm));
    let mut up = std::pin::pin!(copy(client_reads, crm_writes, moved, &moved.up, idle));
    let mut down = std::pin::pin!(copy(crm_reads, client_writes, moved, &moved.down, idle));
    tokio::select! {
        () = up.as_mut() => drop(timeout(LAST_WORDS, down).await),
        () = down.as_mut() => drop(timeout(LAST_WORDS, up).await),
    }
}

async fn copy<R, W>(mut from: R, mut to: W, moved: &Moved, own: &AtomicU64, idle: Duration)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    let mut seen = moved.total();
    loop {
        let read = match timeout(idle, from.read(&mut buffer)).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => 0,
            Err(_) if moved.total() != seen => {
                seen = moved.total();
                continue;
            }
            Err(_) => 0,
        };
        let written = match buffer.get(..read) {
            Some(bytes) if read > 0 => {
                timeout(idle, to.write_all(bytes)).await.is_ok_and(|written| written.is_ok())
            }
            Some(_) | None => false,
        };
        if !written {
            // The other side learns of the end; whether it still listens is its own affair.
            drop(to.shutdown().await);
            return;
        }
        own.fetch_add(u64::try_from(read).unwrap_or(0), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455() {
        assert_eq!(accept_for(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
