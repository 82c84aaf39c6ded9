//! A small CRM in memory: tickets and messages over HTTP, a Telegram webhook, events and a WebSocket.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Interval;

use super::socket;

/// Most bytes of a request body.
const MOST_BYTES: usize = 1024 * 1024;
/// Most tickets, and most messages, that are kept.
const MOST_ITEMS: usize = 10_000;

#[derive(Debug, Default)]
struct Store {
    tickets: Mutex<Vec<Value>>,
    messages: Mutex<Vec<Value>>,
}

/// Starts the CRM on a thread of its own, on any free port.
///
/// # Errors
/// No port, or no thread.
pub(super) fn start() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("demo-crm".into()).spawn(move || {
        if let Err(error) = runtime.block_on(serve(listener)) {
            tracing::error!(%error, "the demo CRM ended");
        }
    })?;
    Ok(address)
}

async fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let store = Arc::new(Store::default());
    store.tickets.lock().push(json!({"id": 1, "subject": "Welcome", "status": "open"}));
    loop {
        let (stream, _) = listener.accept().await?;
        let store = Arc::clone(&store);
        let service = service_fn(move |request| {
            let store = Arc::clone(&store);
            async move { Ok::<_, Infallible>(answer(&store, request).await) }
        });
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            drop(connection.await);
        });
    }
}

async fn answer(store: &Store, mut request: Request<Incoming>) -> Response<Reply> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match (request.method().clone(), segments.as_slice()) {
        (Method::GET, ["api", "tickets"]) => {
            reply(StatusCode::OK, &Value::from(store.tickets.lock().clone()))
        }
        (Method::GET, ["api", "messages"]) => {
            reply(StatusCode::OK, &Value::from(store.messages.lock().clone()))
        }
        (Method::GET, ["api", "tickets", id]) => one(store, number(id)),
        (Method::GET, ["api", "whoami"]) => reply(StatusCode::OK, &seen(request.headers())),
        (Method::GET, ["api", "events"]) => events(),
        (Method::GET, ["api", "socket"]) => socket::answer(&mut request),
        (Method::GET, ["login", ..]) => page(),
        (Method::POST, ["api", "tickets"]) => with_body(request, |body| create(&store.tickets, body)).await,
        (Method::POST, ["api", "messages"]) => with_body(request, |body| create(&store.messages, body)).await,
        (Method::PATCH, ["api", "tickets", id]) => {
            with_body(request, |body| change(store, number(id), &body)).await
        }
        (Method::DELETE, ["api", "tickets", id]) => {
            let gone = number(id);
            store.tickets.lock().retain(|ticket| ticket.get("id").is_none_or(|it| *it != gone));
            empty(StatusCode::NO_CONTENT)
        }
        (Method::POST, ["telegram", "webhook"]) => {
            with_body(request, |update| telegram(store, &update)).await
        }
        _ => reply(StatusCode::NOT_FOUND, &json!({"error": "no such thing in the demo CRM"})),
    }
}

/// An id as the store has it; 0 is nobody's.
fn number(id: &str) -> u64 {
    id.parse().unwrap_or(0)
}

fn one(store: &Store, id: u64) -> Response<Reply> {
    let tickets = store.tickets.lock();
    let found = tickets.iter().find(|ticket| ticket.get("id").is_some_and(|it| *it == id));
    match found {
        Some(ticket) => reply(StatusCode::OK, ticket),
        None => reply(StatusCode::NOT_FOUND, &json!({"error": "no such ticket"})),
    }
}

fn create(list: &Mutex<Vec<Value>>, mut body: Value) -> Response<Reply> {
    let mut list = list.lock();
    if list.len() >= MOST_ITEMS {
        return reply(StatusCode::INSUFFICIENT_STORAGE, &json!({"error": "the demo is full"}));
    }
    let last = list.last().and_then(|item| item.get("id")).and_then(Value::as_u64).unwrap_or(0);
    let Some(fields) = body.as_object_mut() else {
        return reply(StatusCode::UNPROCESSABLE_ENTITY, &json!({"error": "send a JSON object"}));
    };
    fields.insert("id".to_owned(), json!(last + 1));
    list.push(body.clone());
    reply(StatusCode::CREATED, &body)
}

fn change(store: &Store, id: u64, body: &Value) -> Response<Reply> {
    let mut tickets = store.tickets.lock();
    let found = tickets.iter_mut().find(|ticket| ticket.get("id").is_some_and(|it| *it == id));
    match (found.and_then(Value::as_object_mut), body.as_object()) {
        (Some(ticket), Some(changes)) => {
            ticket.extend(
                changes
                    .iter()
                    .filter(|(name, _)| *name != "id")
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
            reply(StatusCode::OK, &Value::from(ticket.clone()))
        }
        _ => reply(StatusCode::NOT_FOUND, &json!({"error": "no such ticket"})),
    }
}

/// An update becomes a ticket. The answer is empty: Telegram would carry out a method named in it.
fn telegram(store: &Store, update: &Value) -> Response<Reply> {
    let text = update.pointer("/message/text").and_then(Value::as_str).unwrap_or("(no text)");
    let from = update.pointer("/message/from/first_name").and_then(Value::as_str).unwrap_or("somebody");
    let created = create(&store.tickets, json!({"subject": text, "from": from, "status": "open"}));
    if created.status().is_success() { empty(StatusCode::OK) } else { created }
}

/// The fields that reached the CRM, so that one can see what the gateway did.
fn seen(headers: &HeaderMap) -> Value {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes()))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

async fn with_body(
    request: Request<Incoming>,
    then: impl FnOnce(Value) -> Response<Reply>,
) -> Response<Reply> {
    let mut body = request.into_body();
    let mut bytes = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) if bytes.len() + data.len() <= MOST_BYTES => bytes.extend_from_slice(&data),
            Ok(Err(_)) => {}
            Ok(Ok(_)) | Err(_) => return empty(StatusCode::BAD_REQUEST),
        }
    }
    match serde_json::from_slice(&bytes) {
        Ok(value) => then(value),
        Err(_) => reply(StatusCode::UNPROCESSABLE_ENTITY, &json!({"error": "send JSON"})),
    }
}

/// A body of the demo CRM.
#[derive(Debug)]
pub(super) enum Reply {
    Whole(Option<Bytes>),
    Events { every: Interval, number: u64 },
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events { every, number } => every.poll_tick(cx).map(|_| {
                *number += 1;
                let event = format!("event: tick\ndata: {{\"number\":{number}}}\n\n");
                Some(Ok(Frame::data(event.into())))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }
}

fn reply(status: StatusCode, value: &Value) -> Response<Reply> {
    typed(status, "application/json", format!("{value}\n"))
}

fn page() -> Response<Reply> {
    typed(
        StatusCode::OK,
        "text/html",
        "<!doctype html><title>Demo CRM</title><p>The CRM's own login would be here.\n".to_owned(),
    )
}

fn typed(status: StatusCode, kind: &'static str, text: String) -> Response<Reply> {
    let mut response = empty(status);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    *response.body_mut() = Reply::Whole(Some(text.into()));
    response
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(None));
    *response.status_mut() = status;
    response
}

fn events() -> Response<Reply> {
    let mut response = empty(StatusCode::OK);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    *response.body_mut() =
        Reply::Events { every: tokio::time::interval(Duration::from_millis(500)), number: 0 };
    response
}
