//! The admin listener: `/metrics`, `/healthz`, `/readyz`; with the [`pass`], `/addresses`, `/bans` and `/upgrade`. Its own thread, so that it answers when everything else is busy.

mod addresses;
mod leaving;
pub mod pass;
mod upgrade;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::limits::failures::Failures;
use crate::metrics::{Metrics, Shed};
use crate::socket::Arrival;
use crate::vitals::Vitals;
pub use leaving::OpenDoors;
use pass::Pass;
pub use upgrade::{UpgradeAsk, Upgrades};

/// Whether the process takes new work.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

/// What the admin listener shows and does.
#[derive(Debug)]
pub struct Admin {
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` tells.
    pub readiness: Readiness,
    /// What `/healthz` tells.
    pub vitals: Vitals,
    /// Addresses with refused credentials, and bans.
    pub failures: Arc<Failures>,
    /// Who may see and change those.
    pub pass: Pass,
    /// To whom a wish for an upgrade goes.
    pub upgrades: Upgrades,
    /// Connections that are open here.
    pub doors: OpenDoors,
    /// Connections that may still come.
    pub room: Room,
    /// True from the moment that another process answers here.
    pub leaving: watch::Receiver<bool>,
}

/// Connections at once: a room of its own, whatever happens on the other listeners.
const MOST_CONNECTIONS: usize = 64;
/// How long a head may take, or a pause between two requests.
const HEAD: Duration = Duration::from_secs(30);

/// Connections that may still come.
#[derive(Debug)]
pub struct Room(Semaphore);

impl Default for Room {
    fn default() -> Self {
        Self(Semaphore::new(MOST_CONNECTIONS))
    }
}

impl Readiness {
    /// Listeners are open and the configuration is loaded; or the process drains.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }
}

/// Serves a connection to its end.
pub async fn serve(admin: Arc<Admin>, arrival: Arrival) {
    let Ok(mut socket) = arrival.open() else { return };
    let Ok(_place) = admin.room.0.try_acquire() else {
        admin.metrics.wire.shed(Shed::Admin);
        // As much as fits into the socket, and no waiting.
        return drop(timeout(Duration::ZERO, socket.write_all(FULL)).await);
    };
    let _open = admin.doors.open();
    let service = service_fn(|request| {
        let (admin, leaving) = (&admin, *admin.leaving.borrow());
        async move {
            let mut answer = admin.respond(&request).await;
            if leaving {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(socket), service);
    let connection = std::pin::pin!(connection);
    let ended = leaving::until_left(connection, admin.leaving.clone()).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended");
    }
}

/// To whom there is no place.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

impl Admin {
    async fn respond(&self, request: &Request<Incoming>) -> Response<Text> {
        if request.uri().path() != "/upgrade" {
            return self.answer(request);
        }
        if !self.pass.opens(request.headers()) {
            return no_pass();
        }
        let (status, value) = self.upgrades.ask(request.method()).await;
        private(status, &value)
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Text> {
        if matches!(request.uri().path(), "/addresses" | "/bans") {
            return self.guarded(request);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        }
        match request.uri().path() {
            "/metrics" => self.metrics(),
            "/healthz" => self.health(),
            "/readyz" if self.readiness.0.load(Ordering::Relaxed) => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "starting or draining\n"),
            _ => text(StatusCode::NOT_FOUND, "/metrics, /healthz and /readyz are here\n"),
        }
    }

    /// Addresses are personal data, and bans decide who is served: neither is for everyone who may scrape.
    fn guarded(&self, request: &Request<Incoming>) -> Response<Text> {
        if !self.pass.opens(request.headers()) {
            return no_pass();
        }
        let (status, value) = addresses::answer(&self.failures, request.method(), request.uri());
        private(status, &value)
    }

    fn health(&self) -> Response<Text> {
        let Some(name) = self.vitals.unwell() else { return text(StatusCode::OK, "ok\n") };
        let mut response = Response::new(Text(Some(format!("unwell: {name} does not go on\n").into())));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    }

    fn metrics(&self) -> Response<Text> {
        match self.metrics.exposition() {
            Ok(exposition) => {
                let mut response = Response::new(Text(Some(exposition.into())));
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Err(error) => {
                tracing::error!(%error, "metrics cannot be gathered");
                text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be gathered; see the log\n")
            }
        }
    }
}

fn no_pass() -> Response<Text> {
    text(StatusCode::UNAUTHORIZED, "the pass is in admin.json in the state folder\n")
}

/// JSON that is not for everyone.
fn private(status: StatusCode, value: &serde_json::Value) -> Response<Text> {
    let mut response = Response::new(Text(Some(format!("{value}\n").into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, text: &'static str) -> Response<Text> {
    let mut response = Response::new(Text(Some(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A body in one piece.
#[derive(Debug)]
struct Text(Option<Bytes>);

impl Body for Text {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(0)))
    }
}
