//! The end of the admin listener's connections: of old ones, and of all when another process accepts them. Each may still ask once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1::Connection;
use hyper::service::HttpService;
use tokio::sync::watch;
use tokio::time::timeout;

/// For a request that is on its way: 1 s.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Age at which a connection is asked to end, and how long it may take to: whoever reads no answer has no place for ever.
const AGE: Duration = Duration::from_secs(600);
const GOODBYE: Duration = Duration::from_secs(30);

/// How many connections are open.
#[derive(Clone, Debug, Default)]
pub struct OpenDoors(Arc<AtomicUsize>);

/// One connection; dropping it counts it out.
pub(super) struct OpenDoor(Arc<AtomicUsize>);

impl OpenDoors {
    pub(super) fn open(&self) -> OpenDoor {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenDoor(Arc::clone(&self.0))
    }

    /// True while one is open.
    pub fn are_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for OpenDoor {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves until the connection ends; after `shutdown` it ends once it is idle for a while. At once would be too soon: a client that
/// has connected and not been heard yet would get no answer.
pub(super) async fn until_left<I, S>(
    mut connection: Pin<&mut Connection<I, S>>,
    mut shutdown: watch::Receiver<bool>,
) -> hyper::Result<()>
where
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: Body + 'static,
    <S::ResBody as Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: Read + Write + Unpin,
{
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = async { drop(shutdown.wait_for(|over| *over).await) } => {}
        () = tokio::time::sleep(AGE) => {
            connection.as_mut().graceful_shutdown();
            return timeout(GOODBYE, connection).await.unwrap_or(Ok(()));
        }
    }
    if let Ok(ended) = timeout(LAST_WORDS, connection.as_mut()).await {
        return ended;
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
