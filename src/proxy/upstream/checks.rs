//! The CRM's addresses are asked how they are, where `[upstream.health_check]` says so.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, Method, Request, StatusCode, header};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Upstream;
use super::address::{Address, NoConnection};
use crate::config::HealthCheck;
use crate::denial::Denial;
use crate::proxy::line::Failure;
use crate::proxy::upload::Upload;
use crate::request_head::own_fields::OwnFields;

/// The longest until an address that is out is looked at again.
const MOST_WAIT: Duration = Duration::from_secs(1);

/// The looks at the CRM that is in force. Reloads change it while it runs.
#[derive(Debug)]
pub struct Rounds {
    wanted: watch::Sender<Option<Arc<Upstream>>>,
}

/// Why an address is not well.
#[derive(Debug, thiserror::Error)]
enum Ill {
    #[error(transparent)]
    NoConnection(#[from] NoConnection),
    #[error("no answer in time")]
    Late,
    #[error("its answer was broken")]
    Broken,
    #[error("it answered {}", .0.as_u16())]
    Status(StatusCode),
    #[error("the question cannot be written as HTTP")]
    Unwritable,
}

impl Rounds {
    /// Looks at nobody yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { wanted: watch::Sender::new(None) })
    }

    /// From now on looks at `upstream`, if it should be, and at no other.
    pub fn follow(&self, upstream: &Arc<Upstream>) {
        self.wanted.send_if_modified(|known| {
            let is_new = known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, upstream));
            if is_new {
                *known = Some(Arc::clone(upstream));
            }
            is_new
        });
    }
}

#[async_trait]
impl BackgroundService for Rounds {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut wanted = self.wanted.subscribe();
        loop {
            let upstream = wanted.borrow_and_update().clone();
            // Dropped with this turn, and every look with it.
            let mut looks = JoinSet::new();
            if let Some((upstream, check)) = upstream
                .and_then(|upstream| Some((Arc::clone(&upstream), upstream.config.health_check.clone()?)))
            {
                for address in &upstream.addresses {
                    let host = upstream.config.host_header.clone();
                    looks.spawn(look_after(Arc::clone(address), check.clone(), host));
                }
            }
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                _ = shutdown.changed() => return,
            }
        }
    }
}

async fn look_after(address: Arc<Address>, check: HealthCheck, host: Option<HeaderValue>) {
    loop {
        match look(&address, &check, host.as_ref()).await {
            Ok(()) => address.health.check_passed(check.rise),
            Err(ill) => address.health.check_failed(&format_args!("health check: {ill}"), check.fall),
        }
        let pause = if address.health.is_in() { check.every } else { check.every.min(MOST_WAIT) };
        tokio::time::sleep(pause).await;
    }
}

/// One question, over a connection of its own, so that it tells whether connections can be made. It carries no credential.
async fn look(address: &Address, check: &HealthCheck, host: Option<&HeaderValue>) -> Result<(), Ill> {
    let started = Instant::now();
    let until = started + check.timeout;
    let asking = async {
        let mut line = address.dial(until).await?;
        let host = host.cloned().or_else(|| HeaderValue::from_str(&authority(address)).ok());
        let request = Request::builder()
            .method(Method::GET)
            .uri(check.path.as_str())
            .header(header::HOST, host.ok_or(Ill::Unwritable)?)
            .header(header::USER_AGENT, concat!("sidelock/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Upload::Empty)
            .map_err(|_| Ill::Unwritable)?;
        match line.exchange(request, &OwnFields::default(), None, started, check.timeout).await {
            Ok(response) if response.status().is_success() || response.status().is_redirection() => Ok(()),
            Ok(response) => Err(Ill::Status(response.status())),
            Err(Failure::Sent(Denial::UpstreamTimeout)) => Err(Ill::Late),
            Err(Failure::Sent(_) | Failure::Unsent(_)) => Err(Ill::Broken),
        }
    };
    timeout_at(until, asking).await.unwrap_or(Err(Ill::Late))
}

fn authority(address: &Address) -> String {
    match address.place() {
        place @ crate::config::Address::Tcp { .. } => place.to_string(),
        crate::config::Address::Socket(_) => "localhost".to_owned(),
    }
}
