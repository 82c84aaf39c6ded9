//! The body of a refused request: read off if it is small and comes at once, so that the connection can go on; else the answer
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

/// Most bytes that are read off.
const MOST: u64 = 64 * 1024;
/// How long that may take. The answer waits for it.
const PATIENCE: Duration = Duration::from_millis(200);

/// A refusal that went out before its request was read, with the rest of that.
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
        let small = body.size_hint().upper().is_some_and(|upper| upper <= MOST);
        if !waits_to_be_asked && small && timeout(PATIENCE, read_off(body)).await.is_ok_and(|whole| whole) {
            pace.read_through();
        } else {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// True if it came to its end.
async fn read_off(mut body: Incoming) -> bool {
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if frame.is_err() {
            return false;
        }
    }
    true
}
