//! The body of a refused request: a small rest that comes at once is read off, so that the connection can go on; else the answer
//! says that it does not (RFC 9112 section 9.6).

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use http::{HeaderValue, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::client_io::Pace;
use super::download::Answer;

/// Most bytes that are read off; a body that does not tell its length may be longer.
const MOST: u64 = 64 * 1024;
/// How long that may take. The answer waits for it.
const PATIENCE: Duration = Duration::from_millis(200);

/// A refusal that was made before its request was read, with the rest of that.
pub(super) struct Unread {
    pub(super) response: Response<Answer>,
    pub(super) body: Incoming,
    /// The client sends the body only if it is asked to.
    pub(super) waits_to_be_asked: bool,
}

impl Unread {
    /// The answer, once it is known what becomes of the connection.
    pub(super) async fn answer(self, pace: &Pace) -> Response<Answer> {
        let Self { mut response, body, waits_to_be_asked } = self;
        if response.headers().contains_key(header::CONNECTION) {
            return response;
        }
        if !waits_to_be_asked && read_off(body).await {
            pace.read_through();
        } else {
            ends(&mut response);
        }
        response
    }
}

/// Says that `response` is the connection's last.
pub(super) fn ends(response: &mut Response<Answer>) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// Reads `body` to its end, if it is small and comes at once; true if so.
pub(super) async fn read_off(mut body: impl Body + Unpin) -> bool {
    if body.size_hint().upper().is_none_or(|upper| upper > MOST) {
        return false;
    }
    let reading = async {
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            if frame.is_err() {
                return false;
            }
        }
        true
    };
    timeout(PATIENCE, reading).await.unwrap_or(false)
}
