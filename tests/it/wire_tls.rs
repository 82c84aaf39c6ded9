//! TLS for clients: certificates, their reload, those of clients, and time.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use tokio_rustls::rustls::HandshakeKind;

use crate::support::client::{Connection, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::tls::{self, CA, CRM, FORGER, OTHER, PARTNER, Pair, SHOP};
use crate::upgrade;

const LISTENER: &str = r#"
[[listener]]
address = "127.0.0.1:0"
certificate = { file = "crm.pem", key = "crm.key" }
"#;

fn plan(crm: &Crm, listener: &str) -> Plan {
    let files =
        [("crm.pem", CRM.0), ("crm.key", CRM.1), ("shop.pem", SHOP.0), ("shop.key", SHOP.1), ("ca.pem", CA)];
    files.into_iter().fold(Plan::before(crm).with(listener), |plan, (name, text)| plan.file(name, text))
}

fn handshakes(gateway: &Gateway, result: &str, count: f64) {
    let series = format!("sidelock_tls_handshakes_total{{result=\"{result}\"}}");
    eventually("the handshake is counted", || (gateway.metric(&series) == count).then_some(()));
}

#[test]
fn the_crm_hears_that_the_client_came_by_tls() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let gateway = plan(&crm, LISTENER).key(&key).start();
    let mut connection = tls::connect(gateway.second(), "crm.example", &tls::client(None, &[])).unwrap();
    for _ in 0..2 {
        connection.send(request("GET", "/api/x", &[&key.header(), "X-Forwarded-Proto: http"], ""));
        assert_eq!(connection.answer().unwrap().status, 200);
        let seen = crm.seen.last().to_ascii_lowercase();
        assert!(seen.contains("x-forwarded-proto: https\r\n") && seen.contains("proto=https"), "{seen}");
        assert!(!seen.contains("x-forwarded-proto: http\r\n"), "{seen}");
    }
    handshakes(&gateway, "ok", 1.0);
    let ends = gateway
        .metrics()
        .lines()
        .find_map(|line| {
            line.strip_prefix("sidelock_tls_certificate_expires_timestamp_seconds{")?
                .rsplit(' ')
                .next()?
                .parse::<f64>()
                .ok()
        })
        .unwrap();
    assert!(ends > 4e9, "a century from now: {ends}");

    let mut plain = Connection::open(gateway.second());
    plain.send(request("GET", "/api/x", &[&key.header()], ""));
    assert!(plain.is_closed());
    handshakes(&gateway, "failed", 1.0);
    assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200, "the plain listener is still one");
    assert!(crm.seen.last().to_ascii_lowercase().contains("x-forwarded-proto: http\r\n"));
    assert_eq!(crm.seen.count(), 3);
}

#[test]
fn the_certificate_is_that_of_the_name() {
    let crm = Crm::usual();
    let both = r#"
[[listener]]
address = "127.0.0.1:0"
[[listener.certificate]]
file = "crm.pem"
key = "crm.key"
[[listener.certificate]]
file = "shop.pem"
key = "file:shop.key"
"#;
    let gateway = plan(&crm, both).start();
    for (name, shown) in
        [("crm.example", &CRM), ("shop.example", &SHOP), ("one.shops.example", &SHOP), ("localhost", &CRM)]
    {
        let connection = tls::connect(gateway.second(), name, &tls::client(None, &[])).unwrap();
        let chain = connection.stream.conn.peer_certificates().unwrap();
        assert_eq!(chain[0], shown.der(), "{name}");
    }
    let unknown = tls::connect(gateway.second(), "a.b.shops.example", &tls::client(None, &[]));
    assert!(unknown.is_err(), "a star is one label; the first certificate is not for this name either");
}

#[test]
fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    let gateway = plan(&crm, LISTENER).key(&key).start();
    let client = tls::client(None, &[]);
    let mut old = tls::connect(gateway.second(), "crm.example", &client).unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = gateway.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    };
    let refused = |count: f64, why: &str| {
        eventually("it is refused", || {
            (gateway.metric("sidelock_reloads_total{result=\"refused\"}") >= count).then_some(())
        });
        eventually("it is told why", || gateway.said.text().contains(why).then_some(()));
        assert!(tls::connect(gateway.second(), "crm.example", &client).is_ok(), "the last good one stays");
    };
    write("crm.pem", SHOP.0, 0o644);
    refused(1.0, "crm.pem and ");
    write("crm.key", SHOP.1, 0o644);
    eventually("the key that others can read is told", || {
        gateway.said.text().contains("others can read this private key").then_some(())
    });
    refused(2.0, "has mode 644");
    write("crm.key", SHOP.1, 0o600);
    eventually("the new certificate is shown", || {
        tls::connect(gateway.second(), "shop.example", &client).ok()
    });
    assert!(tls::connect(gateway.second(), "crm.example", &client).is_err());
    old.send(request("GET", "/api/x", &[&key.header()], ""));
    assert_eq!(old.answer().unwrap().status, 200, "what was open stays open");
}

#[test]
fn a_key_can_be_bound_to_a_certificate() {
    let crm = Crm::usual();
    let digest = ring::digest::digest(&ring::digest::SHA256, &PARTNER.der());
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let by_print = TestKey::new(&["read"], &format!("client_cert = \"sha256:{digits}\""));
    let by_name = TestKey::new(&["read"], "client_cert = \"san:Partner.example\"");
    let by_uri = TestKey::new(&["read"], "client_cert = \"san:spiffe://example/partner\"");
    let free = TestKey::new(&["read"], "");
    let listener = format!("{LISTENER}client_ca = \"ca.pem\"\n");
    let gateway = plan(&crm, &listener).key(&by_print).key(&by_name).key(&by_uri).key(&free).start();
    let status = |shown: Option<&Pair>, key: &TestKey| {
        let mut connection = tls::connect(gateway.second(), "crm.example", &tls::client(shown, &[])).unwrap();
        connection.send(request("GET", "/api/x", &[&key.header()], ""));
        connection.answer().map(|answer| (answer.status, answer.text()))
    };
    let code = |shown, key| status(shown, key).map(|(status, _)| status);
    for key in [&by_print, &by_name, &by_uri] {
        assert_eq!(code(Some(&PARTNER), key), Some(200));
        assert_eq!(code(Some(&OTHER), key), Some(403));
        let (status, text) = status(None, key).unwrap();
        assert!(status == 403 && text.contains("client-certificate-needed"), "{status} {text}");
        assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 403, "not without TLS either");
    }
    assert_eq!(crm.seen.count(), 3);
    assert_eq!((code(None, &free), code(Some(&OTHER), &free)), (Some(200), Some(200)));
    let forged = tls::connect(gateway.second(), "crm.example", &tls::client(Some(&FORGER), &[]));
    let forged = forged.ok().and_then(|mut connection| {
        connection.send(request("GET", "/api/x", &[&free.header()], ""));
        connection.answer().map(drop)
    });
    assert!(forged.is_none(), "a certificate that nobody signed whom we trust ends the handshake");
    assert_eq!(crm.seen.count(), 5);
    let log = gateway.log(14);
    assert!(log.iter().any(|line| line["reason"] == "client_certificate" && line["key"] == *by_name.id));
}

/// Sessions are resumed, but never past a new look at a client's certificate.
#[test]
fn sessions_are_resumed() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["read"], ""));
    for (more, wanted) in [("", HandshakeKind::Resumed), ("client_ca = \"ca.pem\"\n", HandshakeKind::Full)] {
        let gateway = plan(&crm, &format!("{LISTENER}{more}")).key(&key).start();
        let client = tls::client(Some(&PARTNER), &[]);
        let kinds = [(); 2].map(|()| {
            let mut connection = tls::connect(gateway.second(), "crm.example", &client).unwrap();
            connection.send(request("GET", "/api/x", &[&key.header()], ""));
            assert_eq!(connection.answer().unwrap().status, 200);
            connection.stream.conn.handshake_kind().unwrap()
        });
        assert_eq!(kinds, [HandshakeKind::Full, wanted]);
    }
}

#[test]
fn a_handshake_has_a_deadline() {
    let crm = Crm::usual();
    let times = "[timeouts]\ntls_handshake = \"300ms\"\ndrain_accept = \"0s\"\n";
    let gateway = plan(&crm, &format!("{LISTENER}{times}")).start();
    let started = Instant::now();
    let mut silent = Connection::open(gateway.second());
    silent.send(b"\x16\x03\x01\x02\x00");
    assert!(silent.is_closed());
    assert!((250..2_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    handshakes(&gateway, "timeout", 1.0);
}

#[test]
fn what_a_revoked_key_has_open_ends_within_tls_too() {
    let key = TestKey::new(&["read"], "");
    let crm = Crm::with(|mut stream, seen| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
        if seen.read(&mut stream).is_some() && std::io::Write::write_all(&mut stream, head).is_ok() {
            while seen.read(&mut stream).is_some() {}
        }
    });
    let gateway = plan(&crm, LISTENER).key(&key).start();
    let mut connection = tls::connect(gateway.second(), "crm.example", &tls::client(None, &[])).unwrap();
    connection.send(request("GET", "/api/x", &[&key.header()], ""));
    connection.until("ok");
    std::fs::write(gateway.keys_file(), format!("{}revoked = true\n", key.block)).unwrap();
    let started = Instant::now();
    assert!(connection.is_closed());
    assert!(started.elapsed().as_millis() < 3_000, "{:?}", started.elapsed());
}

#[test]
fn a_tunnel_passes_within_tls() {
    let (crm, key) = (upgrade::echoing(upgrade::ACCEPT), TestKey::new(&["read"], ""));
    let gateway = plan(&crm, LISTENER).key(&key).start();
    let mut connection = tls::connect(gateway.second(), "crm.example", &tls::client(None, &[])).unwrap();
    let header = key.header();
    connection.send(request("GET", "/api/socket", &[&upgrade::ASK[..], &[&header]].concat(), ""));
    assert_eq!(connection.answer().unwrap().status, 101);
    for word in ["ping", "pong"] {
        connection.send(word);
        assert_eq!(connection.some(), word.as_bytes());
    }
    drop(connection);
    assert_eq!(gateway.log(1)[0]["bytes_out"], 8);
}
