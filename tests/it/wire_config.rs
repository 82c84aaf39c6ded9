//! `[[listener]]` and TLS towards the CRM: every mistake is told where it stands.

use sidelock::config::environment::Environment;
use sidelock::config::source::Source;

use crate::support::tls::{CA, CRM, SHOP};

fn mistakes(listener: &str, upstream: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in
        [("crm.pem", CRM.0), ("crm.key", CRM.1), ("shop.pem", SHOP.0), ("ca.pem", CA), ("not.pem", "x")]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let text = format!("[upstream]\n{upstream}\n[[listener]]\n{listener}\n");
    let source = Source { path: folder.path().join("sidelock.toml"), text };
    let parsed = sidelock::config::parse(&source, &Environment::Map(Default::default()));
    let shown = parsed.report.render(std::slice::from_ref(&source), false);
    assert_eq!(parsed.config.is_none(), parsed.report.has_errors(), "{shown}");
    shown.replace(&*folder.path().display().to_string(), "")
}

const URL: &str = "url = \"http://127.0.0.1:1\"";
const PAIR: &str = "certificate = { file = \"crm.pem\", key = \"crm.key\" }";

#[test]
fn listeners_that_are_fine() {
    for listener in [
        "address = \"127.0.0.1:0\"",
        "unix = \"a.sock\"\nmode = \"660\"\nh2c = true",
        &format!("address = \"[::]:443\"\n{PAIR}\nhttp2 = false\nclient_ca = \"ca.pem\""),
        &format!(
            "address = \"[::]:443\"\n{PAIR}\nproxy_protocol = true\n[client_address]\ntrusted_proxies = [\"::1\"]"
        ),
    ] {
        assert_eq!(mistakes(listener, URL), "", "{listener}");
    }
    for upstream in [
        "url = \"unix:/run/crm.sock\"",
        "url = \"https://127.0.0.1:1\"\nserver_name = \"crm.example\"\nclient_certificate = \"crm.pem\"\nclient_key = \"crm.key\"",
    ] {
        assert_eq!(mistakes("address = \"127.0.0.1:0\"", upstream), "", "{upstream}");
    }
}

#[test]
fn listeners_with_mistakes() {
    let at = |more: &str| format!("address = \"127.0.0.1:443\"\n{more}");
    for (listener, why) in [
        (String::new(), "expected one of 'address' and 'unix'"),
        (at("unix = \"x\""), "expected one of 'address' and 'unix'"),
        (at("mode = \"600\""), "'mode' is for socket files"),
        ("unix = \"x\"\nmode = \"999\"".to_owned(), "not the mode of a file"),
        (format!("unix = \"{}\"", "x".repeat(120)), "the path of a socket has 1 to 107 bytes"),
        (at("http2 = true"), "'http2' needs a certificate"),
        (at(&format!("{PAIR}\nh2c = true")), "'h2c' is HTTP/2 without TLS"),
        (at("client_ca = \"ca.pem\""), "'client_ca' needs a certificate"),
        (at("proxy_protocol = true"), "every connection would be cut"),
        (at("[client_address]\ndrop = true"), "without allow_from nobody would be dropped"),
        (at("certificate = { file = \"crm.pem\" }"), "'key' is missing"),
        (at("certificate = { file = \"shop.pem\", key = \"crm.key\" }"), "the key must be that of the first"),
        (at("certificate = { file = \"crm.pem\", key = \"crm.pem\" }"), "crm.pem: no items found"),
        (at("certificate = { file = \"not.pem\", key = \"crm.key\" }"), "not.pem has no certificate"),
        (at("certificate = { file = \"no.pem\", key = \"crm.key\" }"), "no.pem: No such file"),
        (at(&format!("{PAIR}\nclient_ca = \"not.pem\"")), "no certificate authorities in /not.pem"),
        (at("certificate = []"), "expected at least one certificate"),
        (at("certificates = 1"), "did you mean 'certificate'?"),
        (at("[[listener]]\naddress = \"127.0.0.1:443\""), "another listener is at 127.0.0.1:443 already"),
    ] {
        let shown = mistakes(&listener, URL);
        assert!(
            shown.contains(why) && shown.contains("sidelock.toml:") && shown.contains('^'),
            "{why}\n{shown}"
        );
    }
}

#[test]
fn an_upstream_with_mistakes() {
    let https = |more: &str| format!("url = \"https://127.0.0.1:1\"\n{more}");
    for (upstream, why) in [
        ("url = \"unix:\"".to_owned(), "the path of a socket"),
        (format!("{URL}\nserver_name = \"crm.example\""), "this is for an 'https' url"),
        (https("server_name = \"a b\""), "not a host name that a certificate can have"),
        (https("client_certificate = \"crm.pem\""), "'client_key' is missing"),
        (https("client_key = \"crm.key\""), "'client_certificate' is missing"),
        (
            https("client_certificate = \"shop.pem\"\nclient_key = \"crm.key\""),
            "the key must be that of the first",
        ),
    ] {
        let shown = mistakes("address = \"127.0.0.1:0\"", &upstream);
        assert!(shown.contains(why) && shown.contains('^'), "{why}\n{shown}");
    }
}
