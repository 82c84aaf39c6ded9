//! The demo CRM's WebSocket: it says back what it hears (RFC 6455, short unfragmented frames only).

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::crm::{Reply, empty};
use crate::proxy::tunnel::accept_for;

/// Longest frame that is said back, in bytes.
const MOST_BYTES: u64 = 64 * 1024;

const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Answers a handshake, and talks on once the connection is a WebSocket.
pub(super) fn answer(request: &mut Request<Incoming>) -> Response<Reply> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return empty(StatusCode::UPGRADE_REQUIRED);
    };
    let Ok(accept) = HeaderValue::from_str(&accept_for(key.as_bytes())) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            // The other side leaving is the usual end.
            drop(echo(TokioIo::new(upgraded)).await);
        }
    });
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

async fn echo(mut stream: TokioIo<Upgraded>) -> std::io::Result<()> {
    loop {
        let first = stream.read_u8().await?;
        let second = stream.read_u8().await?;
        let length = match second & 0x7f {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            short => u64::from(short),
        };
        if length > MOST_BYTES || second & 0x80 == 0 {
            return Ok(());
        }
        let mut mask = [0; 4];
        stream.read_exact(&mut mask).await?;
        let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
        stream.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        let reply = match first & 0xf {
            PING => PONG,
            other => other,
        };
        stream.write_all(&frame(reply, &payload)).await?;
        stream.flush().await?;
        if reply == CLOSE {
            return Ok(());
        }
    }
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&u64::try_from(payload.len()).unwrap_or(0).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}
