//! One client connection: counted, bounded, served until it ends or the process drains.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::watch;

use super::greeting::{self, Greeted, Spoken};
use super::lifeline::Lifeline;
use super::peer::{Scheme, Way};
use super::places::{Place, shed};
use super::proxy_protocol::Source;
use super::{Proxy, doors, http1, http2};
use crate::config::{Listener, ProxyHeader, Timeouts};
use crate::denial::{Ambiguity, Denial};
use crate::metrics::Shed;
use crate::socket::{Arrival, Socket};
use crate::tls::acceptor::Versions;

/// Serves a client's connection to its end; `None` if it may not connect at all.
pub fn serve(proxy: &Arc<Proxy>, arrival: Arrival) -> Option<impl Future<Output = ()> + use<>> {
    doors::may_connect(proxy, arrival.from).then(|| begin(Arc::clone(proxy), arrival))
}

async fn begin(proxy: Arc<Proxy>, arrival: Arrival) {
    let (at, from) = (arrival.listener, arrival.from);
    let (timeouts, listener) = {
        let live = proxy.live.load();
        let Some(listener) = live.fronts.get(at) else { return };
        (Arc::clone(&live.timeouts), Arc::clone(listener))
    };
    let Ok(socket) = arrival.open() else { return };
    let Some(mut place) = Place::take(&proxy) else {
        return shed(&proxy, &listener, socket, Shed::All).await;
    };
    if !is_plain(&listener) {
        // Boxed: a connection that needs none of it must not be as large.
        return Box::pin(greet(proxy, socket, &listener, from, place, timeouts)).await;
    }
    if !place.count(from) {
        drop(place);
        return shed(&proxy, &listener, socket, Shed::Address).await;
    }
    let way = Way { scheme: Scheme::Http, certificate: None };
    http1::speak((proxy, place), socket, from, way, timeouts).await;
}

/// True where HTTP/1 begins with the first byte.
const fn is_plain(listener: &Listener) -> bool {
    listener.tls.is_none()
        && matches!((listener.versions, listener.proxy_header), (Versions::One, ProxyHeader::None))
}

/// A connection on which something comes before HTTP.
async fn greet(
    proxy: Arc<Proxy>,
    mut stream: Socket,
    listener: &Listener,
    from: IpAddr,
    mut place: Place,
    timeouts: Arc<Timeouts>,
) {
    let mut peer = from;
    if listener.proxy_header == ProxyHeader::Required {
        // SECURITY: whoever is not trusted could name any address.
        if !proxy.live.load().gate.trusted_proxies.contains(from) {
            return proxy.metrics.unreadable(Denial::AddressNotAllowed);
        }
        match greeting::source(&mut stream, timeouts.request_head).await {
            Some(Source::Client(client)) if !doors::may_connect(&proxy, client) => return,
            Some(Source::Client(client)) => peer = client,
            Some(Source::Sender) => {}
            None => return proxy.metrics.unreadable(Denial::Ambiguous(Ambiguity::Syntax)),
        }
    }
    if !place.count(peer) {
        drop(place);
        return shed(&proxy, listener, stream, Shed::Address).await;
    }
    let Some(Greeted { stream, way, spoken }) = greeting::open(stream, listener, &proxy, &timeouts).await
    else {
        return;
    };
    match spoken {
        Spoken::One => http1::speak((proxy, place), stream, peer, way, timeouts).await,
        Spoken::Two => http2::speak(proxy, stream, peer, way, timeouts).await,
    }
}

/// What became of a connection.
pub(super) enum Until<T> {
    /// It ended by itself.
    Ended(T),
    /// The key that it carried is over; whoever drops the connection closes it.
    Cut,
    /// The process began to drain.
    Draining,
}

/// Waits until `connection` ends, its lifeline is cut, or the process drains, if that is of interest.
pub(super) async fn until<T>(
    mut connection: Pin<&mut impl Future<Output = T>>,
    lifeline: &Lifeline,
    draining: Option<&watch::Receiver<bool>>,
) -> Until<T> {
    let (mut waiting, news) = (draining.cloned(), draining.cloned());
    let mut drain = std::pin::pin!(async move {
        match &mut waiting {
            Some(waiting) => drop(waiting.wait_for(|draining| *draining).await),
            None => std::future::pending().await,
        }
    });
    let mut asked = false;
    std::future::poll_fn(move |cx| {
        if lifeline.is_cut() {
            return Poll::Ready(Until::Cut);
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Until::Ended(ended));
        }
        // Asked once, both wake this task; asking again each time would cost every request.
        let drains = news.as_ref().is_some_and(|news| !matches!(news.has_changed(), Ok(false)));
        if !asked || drains {
            asked = true;
            if lifeline.poll_cut(cx).is_ready() {
                return Poll::Ready(Until::Cut);
            }
            return drain.as_mut().poll(cx).map(|()| Until::Draining);
        }
        Poll::Pending
    })
    .await
}
