//! One connection to the CRM: hyper speaks over it, and whoever holds it drives it.
//!
//! It has no task of its own: the request that uses it polls it along, so that a byte from the CRM wakes the client's
//! connection and nothing else. Between requests nobody polls it; what came meanwhile is asked about before the next one.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use super::client_io::MovingTimer;
use super::insertion::{Inserting, Insertion};
use super::upload::{Upload, UploadState};
use super::wake::{Told, Wake, Waking};
use crate::denial::Denial;
use crate::request_head::own_fields::OwnFields;

/// Most bytes of a response head from the CRM. The number of its fields is left at hyper's 100, which live on the stack:
/// any other number is an allocation and a fill per response.
const MOST_HEAD_BYTES: usize = 64 * 1024;

/// Most bytes in one read from the CRM: what a client that does not read its answer can make us hold is a few of these.
const MOST_BUFFERED: usize = 64 * 1024;

/// Most bytes that are read until the head of the final answer is there, the beginning of its body included. Interim answers come without end from a CRM that is broken.
const MOST_BYTES_TO_HEAD: u64 = 1024 * 1024;

/// A connection that rested for so long is looked into before its next use: a CRM that ends one without a word does so because it
/// rested.
///
/// Before that, it is as good as the runtime of its thread has heard; what is not heard yet came within the present turn of
/// the runtime, while others had theirs: less than a millisecond, as a rule. Who hangs up just then, without `Connection:
/// close` in the answer before, costs a request; a call of the system for every request would not find all of these either.
const LOOKED_INTO_AFTER: Duration = Duration::from_millis(500);

/// A connection to the CRM.
pub struct Line {
    sender: SendRequest<Upload>,
    /// Does the reading and writing when polled; `None` once it ended.
    driver: Option<Driver>,
    /// Waits for response heads; moves along with the connection, because a timer that is set anew costs more.
    patience: MovingTimer,
    probe: Probe,
    wake: Arc<Wake>,
    insertion: Arc<Insertion>,
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Why there is no response.
pub enum Failure {
    /// Not one byte was taken: it may go out again.
    Unsent(Box<Request<Upload>>),
    /// The CRM may have acted on it.
    Sent(Denial),
}

/// A second descriptor of a connection's socket. An end that the CRM sent is in the socket before the runtime hears of it, and
/// a request should not go out on top of it.
#[derive(Debug)]
pub struct Probe(Option<Socket>);

impl Probe {
    /// Looks at this socket from now on.
    pub fn of(socket: SockRef<'_>) -> Self {
        Self(socket.try_clone().ok())
    }

    /// True if nothing waits in the socket: no end, no error, and no byte that nobody asked for.
    fn is_quiet(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match &self.0 {
            Some(socket) => {
                matches!(socket.peek(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
            }
            None => true,
        }
    }
}

impl Line {
    /// Gets hyper to speak over `stream`.
    ///
    /// # Errors
    /// hyper's.
    pub async fn open<S>(stream: S, probe: Probe) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let wake = Arc::new(Wake::default());
        let insertion = Arc::new(Insertion::default());
        let stream = Inserting::new(stream, Arc::clone(&insertion));
        // Else hyper could begin a head behind the rest of a body, and the fields would not find its first line.
        debug_assert!(stream.is_write_vectored(), "every stream to the CRM writes several parts at once");
        let stream = TokioIo::new(Waking::new(stream, Arc::clone(&wake), Told::ByHolder));
        let mut builder = http1::Builder::new();
        builder.max_header_size(MOST_HEAD_BYTES).max_buf_size(MOST_BUFFERED);
        let (sender, connection) = builder.handshake(stream).await?;
        let driver: Driver = Box::pin(connection.with_upgrades());
        Ok(Self { sender, driver: Some(driver), patience: MovingTimer::default(), probe, wake, insertion })
    }

    /// True if another request can go out now, after the connection rested for so long as `idle`.
    pub fn is_ready(&mut self, idle: Duration) -> bool {
        let quiet = !self.wake.has_news() && (idle < LOOKED_INTO_AFTER || self.probe.is_quiet()) || {
            // Not always an end: TLS sends session tickets.
            self.drive(&Context::from_waker(Waker::noop()));
            self.probe.is_quiet()
        };
        quiet && self.is_through()
    }

    /// True if the last exchange is over and the connection stays open.
    pub fn is_through(&mut self) -> bool {
        if !self.sender.is_ready() {
            self.drive(&Context::from_waker(Waker::noop()));
        }
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Reads and writes what can be read and written now; `cx` is woken when there is more.
    pub fn drive(&mut self, cx: &Context<'_>) {
        if let Some(driver) = &mut self.driver {
            self.wake.tell(cx.waker());
            if driver.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                // What ends a connection is told to the request that it carries.
                self.driver = None;
            }
        }
    }

    /// Lets a connection that is no longer HTTP run on by itself.
    pub fn release(self) {
        if let Some(driver) = self.driver {
            tokio::spawn(async move { drop(driver.await) });
        }
    }

    /// Lets a connection run on by itself whose request is not whole, until it stands still for so long as `idle`: nobody else would
    /// notice. Holds `in_use` meanwhile.
    pub fn run_on(self, upload: Arc<UploadState>, idle: Duration, in_use: impl Send + 'static) {
        let Some(mut driver) = self.driver else { return };
        tokio::spawn(async move {
            let mut seen = upload.bytes();
            while timeout(idle, driver.as_mut()).await.is_err() {
                let bytes = upload.bytes();
                if bytes == seen && !upload.is_whole() {
                    break;
                }
                seen = bytes;
            }
            drop(in_use);
        });
    }

    /// Sends `request` and waits for the response head, for `limit` after `sent` or the last sign of life.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn exchange<'a>(
        &'a mut self,
        request: Request<Upload>,
        own: &OwnFields,
        upload: Option<&'a UploadState>,
        sent: Instant,
        limit: Duration,
    ) -> impl Future<Output = Result<Response<Incoming>, Failure>> + 'a {
        self.insertion.set(own);
        // Boxed: it is moved about less than it is large.
        let mut sending = Box::pin(self.sender.try_send_request(request));
        let (mut seen, mut due) = (0, sent + limit);
        self.wake.allow(MOST_BYTES_TO_HEAD);
        poll_fn(move |cx| {
            if let Some(upload) = upload {
                upload.tell(cx.waker());
            }
            self.drive(cx);
            if let Poll::Ready(answered) = sending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                self.wake.allow(u64::MAX);
                return Poll::Ready(answered.map_err(|error| Failure::of(error, upload)));
            }
            while self.patience.poll(cx, due).is_ready() {
                // A long upload is no silence of the CRM's.
                let bytes = upload.filter(|upload| !upload.is_whole()).map_or(0, UploadState::bytes);
                if bytes <= seen {
                    return Poll::Ready(Err(Failure::Sent(Denial::UpstreamTimeout)));
                }
                (seen, due) = (bytes, Instant::now() + limit);
            }
            Poll::Pending
        })
    }
}

impl Failure {
    fn of(mut error: TrySendError<Request<Upload>>, upload: Option<&UploadState>) -> Self {
        if let Some(unsent) = error.take_message() {
            return Self::Unsent(Box::new(unsent));
        }
        Self::Sent(upload.and_then(UploadState::denial).unwrap_or_else(|| {
            // Not louder: one key could fill the log. Metrics and the access log count it.
            tracing::debug!(error = %error.error(), "the CRM's connection broke or its answer was not HTTP");
            Denial::UpstreamBroken
        }))
    }
}
