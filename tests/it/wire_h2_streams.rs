//! What HTTP/2 has beside a head and a body: trailers, answers without a body, streams that are taken back, `WebSockets`.

use std::io::{Read, Write};
use std::sync::mpsc;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};
use sidelock::proxy::tunnel::accept_for;

use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, TestKey};
use crate::support::h2::{Frames, GOAWAY, ask, talk, whole};
use crate::wire_h2::{endless, start};

fn get(key: &TestKey, target: &str) -> http::request::Builder {
    Request::get(format!("http://crm.example{target}")).header("x-api-key", &key.text)
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

#[test]
fn trailers_pass_both_ways() {
    let key = TestKey::new(&["read", "write"], "");
    let crm = Crm::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\ngrpc-message: fine\r\nSet-Cookie: a=b\r\nX-Sidelock-Key-Id: admin\r\n\r\n",
    );
    let gateway = start(&crm, &key, "");
    let send = |trailers: HeaderMap| {
        let key = &key;
        talk(gateway.second(), |sender| async move {
            let request = Request::post("http://crm.example/api/x")
                .header("x-api-key", &key.text)
                .header("te", "trailers")
                .header("trailer", "x-sum, grpc-timeout")
                .body(());
            let mut sender = sender.ready().await.unwrap();
            let (answer, mut sending) = sender.send_request(request.unwrap(), false).unwrap();
            sending.send_data(Bytes::from_static(b"data"), false).unwrap();
            sending.send_trailers(trailers).unwrap();
            whole(answer.await.unwrap()).await.unwrap()
        })
    };
    let answer = send(fields(&[("x-sum", "7"), ("grpc-timeout", "1S"), ("x-unannounced", "1")]));
    assert_eq!((answer.status, &*answer.body), (200, "ok"));
    assert_eq!(answer.headers["trailer"], "grpc-status");
    assert_eq!(answer.trailers.unwrap(), fields(&[("grpc-status", "0"), ("grpc-message", "fine")]));
    let seen = crm.seen.last().to_ascii_lowercase();
    assert!(seen.ends_with("\r\n4\r\ndata\r\n0\r\nx-sum: 7\r\ngrpc-timeout: 1s\r\n\r\n"), "{seen}");
    assert!(seen.contains("\r\ntrailer: x-sum, grpc-timeout\r\n") && !seen.contains("\r\nte:"), "{seen}");
    for name in ["authorization", "x-api-key", "x-sidelock-key-id", "content-length", "host"] {
        let answer = send(fields(&[(name, "1")]));
        assert_eq!(answer.status, 400, "{name}");
    }
    assert!(crm.seen.requests().iter().skip(1).all(|seen| !seen.ends_with("0\r\n\r\n")), "they break off");
}

#[test]
fn answers_without_a_body_have_none() {
    let key = TestKey::new(&["read"], "");
    let crm = Crm::with(|mut stream, seen| {
        while let Some(request) = seen.read(&mut stream) {
            let answer = match request.split(' ').nth(1).unwrap() {
                "/api/none" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/api/same" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n",
                "/api/early" => {
                    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                }
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let gateway = start(&crm, &key, "");
    talk(gateway.second(), |sender| async move {
        let head = get(&key, "/api/x").method("HEAD").header("expect", "100-continue").body(()).unwrap();
        let answer = ask(&sender, head, None).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, ""));
        assert_eq!(answer.headers["content-length"], "5");
        for (path, status, body) in
            [("/api/none", 204, ""), ("/api/same", 304, ""), ("/api/early", 200, "ok")]
        {
            let answer = ask(&sender, get(&key, path).body(()).unwrap(), None).await.unwrap();
            assert_eq!((answer.status, &*answer.body), (status, body), "{path}");
        }
    });
    assert_eq!((crm.seen.count(), crm.seen.connections()), (4, 1), "the connection to the CRM is kept");
}

#[test]
fn a_stream_that_is_taken_back_ends_at_the_crm_too() {
    let key = TestKey::new(&["read", "write"], "");
    let crm = endless();
    let gateway = start(&crm, &key, "");
    let active = "sidelock_upstream_connections{state=\"active\"}";
    talk(gateway.second(), |mut sender| {
        let (key, gateway) = (&key, &gateway);
        async move {
            let (answer, mut sending) =
                sender.send_request(get(key, "/api/x").body(()).unwrap(), true).unwrap();
            let mut body = answer.await.unwrap().into_body();
            assert!(body.data().await.unwrap().is_ok());
            assert_eq!(gateway.metric(active), 1.0);
            sending.send_reset(Reason::CANCEL);
            eventually_async(|| gateway.metric(active) == 0.0).await;
            assert_eq!(gateway.log(1)[0]["end"], "client_gone");
        }
    });
    // Half an upload.
    let (tell, told) = mpsc::channel();
    let crm = Crm::with(move |mut stream, seen| {
        let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = stream.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..read]);
            if bytes.ends_with(b"half\r\n") {
                tell.send("half").unwrap();
            }
        }
        seen.note(&String::from_utf8_lossy(&bytes));
        tell.send("over").unwrap();
    });
    let gateway = start(&crm, &key, "");
    talk(gateway.second(), |mut sender| async move {
        let post = Request::post("http://crm.example/api/x").header("x-api-key", &key.text).body(()).unwrap();
        let (_answer, mut sending) = sender.send_request(post, false).unwrap();
        sending.send_data(Bytes::from_static(b"half"), false).unwrap();
        eventually_async(|| told.try_recv() == Ok("half")).await;
        sending.send_reset(Reason::CANCEL);
        eventually_async(|| told.try_recv() == Ok("over")).await;
        let seen = crm.seen.last();
        assert!(!seen.ends_with("0\r\n\r\n"), "it is not told that this was all: {seen}");
    });
}

/// The connection is driven by the same thread, which must not be held up meanwhile; `talk` has a deadline.
async fn eventually_async(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_large_upload_keeps_to_the_windows_and_arrives_whole() {
    const SIZE: usize = 5_000_000;
    let (crm, key) = (Crm::usual(), TestKey::new(&["write"], ""));
    let gateway = start(&crm, &key, "");
    let bytes: Vec<u8> = (0..SIZE).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect();
    let body = Bytes::from(bytes);
    talk(gateway.second(), |mut sender| {
        let body = body.clone();
        async move {
            let post = Request::post("http://crm.example/api/x")
                .header("x-api-key", &key.text)
                .header("content-length", SIZE)
                .body(());
            let (answer, mut sending) = sender.send_request(post.unwrap(), false).unwrap();
            let mut left = body;
            while !left.is_empty() {
                sending.reserve_capacity(left.len());
                let room = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await.unwrap().unwrap();
                assert!(room <= 1024 * 1024, "{room}");
                let part = left.split_to(room.min(left.len()));
                sending.send_data(part, left.is_empty()).unwrap();
            }
            assert_eq!(answer.await.unwrap().status(), 200);
        }
    });
    assert!(crm.seen.last().ends_with(&format!("\r\n\r\n{}", String::from_utf8_lossy(&body))));
}

/// Answers a handshake with `status`, and the right accept value if `accept` says so; then says back what it hears.
fn echoing(status: &'static str, accept: fn(&str) -> String) -> Crm {
    Crm::with(move |mut stream, seen| {
        let Some(request) = seen.read(&mut stream) else { return };
        let key =
            request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            accept(key)
        );
        stream.write_all(answer.as_bytes()).unwrap();
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..read]).unwrap();
        }
    })
}

const RIGHT: fn(&str) -> String = |key| accept_for(key.as_bytes());

/// An extended CONNECT for `protocol`.
fn connect(key: Option<&TestKey>, protocol: &'static str, version: &'static str) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://crm.example/api/socket?a=b")
        .header("sec-websocket-version", version)
        .header("sec-websocket-protocol", "chat")
        .extension(Protocol::from_static(protocol));
    if let Some(key) = key {
        request = request.header("x-api-key", &key.text);
    }
    request.body(()).unwrap()
}

type Sender = h2::client::SendRequest<Bytes>;

/// Asks for a WebSocket, once the other side has said that it may be asked.
async fn open(sender: &mut Sender, request: Request<()>) -> (Response<RecvStream>, SendStream<Bytes>) {
    eventually_async(|| sender.is_extended_connect_protocol_enabled()).await;
    let (answer, sending) = sender.send_request(request, false).unwrap();
    (answer.await.unwrap(), sending)
}

async fn echo(sending: &mut SendStream<Bytes>, body: &mut RecvStream, word: &'static str) {
    sending.send_data(Bytes::from_static(word.as_bytes()), false).unwrap();
    assert_eq!(body.data().await.unwrap().unwrap(), word);
}

fn tunnelled(more: &str) -> (Gateway, Crm, TestKey) {
    let (crm, key) = (echoing("101 Switching Protocols", RIGHT), TestKey::new(&["read"], ""));
    (start(&crm, &key, more), crm, key)
}

#[test]
fn a_websocket_comes_by_it() {
    let (gateway, crm, key) = tunnelled("");
    talk(gateway.second(), |mut sender| {
        let (key, gateway) = (&key, &gateway);
        async move {
            let (answer, mut sending) = open(&mut sender, connect(Some(key), "websocket", "13")).await;
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
            for name in ["sec-websocket-accept", "upgrade", "connection"] {
                assert!(!answer.headers().contains_key(name), "{name}");
            }
            let mut body = answer.into_body();
            for word in ["ping", "pong"] {
                echo(&mut sending, &mut body, word).await;
            }
            assert_eq!(gateway.metric("sidelock_in_flight"), 1.0);
            sending.send_data(Bytes::new(), true).unwrap();
            // The CRM hangs up in turn.
            while let Some(part) = body.data().await {
                assert!(part.unwrap().is_empty());
            }
        }
    });
    let seen = crm.seen.last().to_ascii_lowercase();
    assert!(seen.starts_with("get /api/socket?a=b http/1.1\r\n"), "{seen}");
    for line in
        ["upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13", "host: crm.example"]
    {
        assert!(seen.contains(&format!("\r\n{line}\r\n")), "{line}: {seen}");
    }
    let keys = seen.lines().filter_map(|line| line.strip_prefix("sec-websocket-key: "));
    assert_eq!(keys.map(str::len).collect::<Vec<_>>(), [24]);
    let line = &gateway.log(1)[0];
    assert_eq!((&line["status"], &line["bytes_in"], &line["bytes_out"]), (&101.into(), &8.into(), &8.into()));
    assert_eq!((gateway.metric("sidelock_in_flight"), &line["end"]), (0.0, &"complete".into()));
}

#[test]
fn only_a_right_handshake_opens_one() {
    let wrong: fn(&str) -> String = |_| "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
    let key = TestKey::new(&["read"], "");
    let elsewhere = TestKey::new(&["write"], "");
    for (status, accept) in [("101 Switching Protocols", wrong), ("200 OK", RIGHT), ("204 No Content", RIGHT)]
    {
        let crm = echoing(status, accept);
        let gateway = start(&crm, &key, "");
        let key = &key;
        talk(gateway.second(), |mut sender| async move {
            let (answer, _) = open(&mut sender, connect(Some(key), "websocket", "13")).await;
            assert_eq!(answer.status(), 502, "{status}");
        });
    }
    let (crm, keys) =
        (echoing("101 Switching Protocols", RIGHT), format!("{}{}", key.block, elsewhere.block));
    let gateway = start(&crm, &TestKey { block: keys, id: String::new(), text: String::new() }, "");
    talk(gateway.second(), |mut sender| async move {
        for (request, status) in [
            (connect(None, "websocket", "13"), 401),
            (connect(Some(&elsewhere), "websocket", "13"), 403),
            (connect(Some(&key), "websocket", "12"), 400),
            (connect(Some(&key), "WebSocket", "13"), 405),
            (connect(Some(&key), "connect-udp", "13"), 405),
        ] {
            let told = format!("{request:?}");
            let (answer, _) = open(&mut sender, request).await;
            assert_eq!(answer.status(), status, "{told}");
        }
    });
    assert_eq!(crm.seen.count(), 0);
}

#[test]
fn a_websocket_outlives_idleness_and_not_its_key() {
    let times = "[timeouts]\ndrain_accept = \"0s\"\nkeep_alive = \"300ms\"\nrequest_head = \"300ms\"\n";
    let (gateway, _crm, key) = tunnelled(times);
    let (address, keys) = (gateway.second(), gateway.keys_file());
    talk(address, |mut sender| async move {
        let (answer, mut sending) = open(&mut sender, connect(Some(&key), "websocket", "13")).await;
        let mut body = answer.into_body();
        echo(&mut sending, &mut body, "before").await;
        // Two connections on which nothing is asked, one after the other: by their ends the time is over, twice.
        for _ in 0..2 {
            let idle = tokio::task::spawn_blocking(move || {
                Frames::open(address).until(|it| it.kind == GOAWAY).is_some()
            });
            assert!(idle.await.unwrap());
        }
        echo(&mut sending, &mut body, "after").await;
        std::fs::write(keys, format!("{}revoked = true\n", key.block)).unwrap();
        while let Some(Ok(_)) = body.data().await {}
    });
    eventually("it is logged", || gateway.log(1).iter().any(|line| line["end"] == "key_over").then_some(()));
}

#[test]
fn a_drain_ends_it() {
    let (mut gateway, _crm, key) = tunnelled("");
    talk(gateway.second(), |mut sender| {
        let (key, gateway) = (&key, &mut gateway);
        async move {
            let (answer, mut sending) = open(&mut sender, connect(Some(key), "websocket", "13")).await;
            let mut body = answer.into_body();
            echo(&mut sending, &mut body, "ping").await;
            gateway.signal("TERM");
            while let Some(Ok(part)) = body.data().await {
                assert!(part.is_empty());
            }
        }
    });
    gateway.stop();
    assert_eq!(gateway.log(1)[0]["end"], "drained");
}
