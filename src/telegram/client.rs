//! One call to the Bot API: a connection of its own, a deadline for the whole, a bounded answer, no redirects.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::telegram::{ApiBase, Transport};
use crate::tls::{self, TlsError};

/// From the look-up of the name to the last byte.
const LIMIT: Duration = Duration::from_secs(10);
/// Largest answer, in bytes.
const MOST_BYTES: usize = 1 << 20;

/// Why a call has no answer. None of these holds any part of the call's path, where the token is.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] std::io::Error),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The answer was not HTTP, or broke off.
    #[error("its answer was not HTTP or broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// The call cannot be written as HTTP: a token or host of odd characters, which the configuration keeps out.
    #[error("the call cannot be written as HTTP")]
    Unwritable,
    /// Too late.
    #[error("it did not answer within {} s", LIMIT.as_secs())]
    Timeout,
    /// Too much.
    #[error("its answer is over {MOST_BYTES} bytes")]
    TooLarge,
}

/// Posts JSON to `path`.
///
/// # Errors
/// [`CallError`].
pub(super) async fn post(
    api: &ApiBase,
    path: &str,
    json: String,
) -> Result<(StatusCode, Vec<u8>), CallError> {
    let call = async {
        let bare = api.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, api.port)).await?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, authority(api))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("sidelock/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(json)
            .map_err(|_| CallError::Unwritable)?;
        match api.transport {
            Transport::Plain => exchange(stream, request).await,
            Transport::Tls => {
                let (connector, name) = tls::connector(&api.host, None, None)?;
                exchange(connector.connect(name, stream).await?, request).await
            }
        }
    };
    tokio::time::timeout(LIMIT, call).await.map_err(|_| CallError::Timeout)?
}

fn authority(api: &ApiBase) -> String {
    match (api.transport, api.port) {
        (Transport::Tls, 443) | (Transport::Plain, 80) => api.host.to_string(),
        (Transport::Tls | Transport::Plain, port) => format!("{}:{port}", api.host),
    }
}

async fn exchange<S>(stream: S, request: Request<String>) -> Result<(StatusCode, Vec<u8>), CallError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Driven here and not in a task of its own, so that it ends with the call.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, whole(response.into_body()).await?))
    });
    tokio::select! {
        answer = &mut answer => return answer,
        ended = &mut connection => ended?,
    }
    // The connection is over, and what it read is there for the taking.
    answer.await
}

async fn whole(mut body: Incoming) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            if bytes.len() + data.len() > MOST_BYTES {
                return Err(CallError::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}
