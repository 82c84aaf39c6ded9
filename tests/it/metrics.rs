//! The catalogue is what a gateway exports, no more and no less; and labels hold nothing but names from files.

use std::collections::{BTreeMap, BTreeSet};

use sidelock::credential::api_key::KeyDigest;
use sidelock::metrics::catalogue::{ALL, Family};

use crate::support::bot_api::{BotApi, TOKEN};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::office::Office;
use crate::support::tls::CRM;

const HOOKS: &str = r#"
[[webhook]]
name = "bot"
path = "/bot"
sender = "telegram"
secrets = ["env:HOOK"]
"#;

/// A gateway with everything switched on, after a use of everything.
fn busy(crm: &Crm, api: &BotApi) -> Gateway {
    let old = TestKey::new(&["read"], "");
    let digest = KeyDigest::of(old.text.as_bytes());
    let lines = format!(
        "created = 2020-01-01T00:00:00Z\nprevious = {{ digest = \"{digest}\", until = 2999-01-01T00:00:00Z }}"
    );
    let key = TestKey::new(&["read"], &lines);
    let senders = "[webhook.senders]\nexpected = [1]\naction = \"count\"\n";
    let bot = format!("{HOOKS}{}{senders}", api.section("watch = \"1s\""));
    let observed = TestKey::new(&["read"], "mode = \"observe\"");
    let listener =
        "[[listener]]\naddress = \"127.0.0.1:0\"\ncertificate = { file = \"crm.pem\", key = \"crm.key\" }\n";
    let mut plan = Plan::before(crm).key(&key).key(&observed).with(&bot).with(listener);
    plan = plan.file("crm.pem", CRM.0).file("crm.key", CRM.1);
    plan.server = "address_labels = true".to_owned();
    plan.environment = vec![("HOOK", "hook-secret-0123456789abcdef".into()), ("BOT_TOKEN", TOKEN.into())];
    let gateway = plan.start();
    for key in [&key, &old] {
        assert_eq!(gateway.status_of(key), Some(200));
    }
    assert_eq!(gateway.get("/api/x", &["X-API-Key: nobody-has-this-key-0123456789"]).status, 401);
    eventually("the bot is looked at", || {
        gateway.metrics().contains("sidelock_webhook_telegram_registered{").then_some(())
    });
    gateway
}

/// Of each family in an exposition its kind, its help and the names of its labels.
fn families(text: &str) -> BTreeMap<String, (String, String, BTreeSet<String>)> {
    let mut found: BTreeMap<String, (String, String, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            found.entry(name.to_owned()).or_default().1 = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            found.entry(name.to_owned()).or_default().0 = kind.to_owned();
        } else {
            let series = line.rsplit_once(' ').unwrap().0;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|base| found.get(*base).is_some_and(|family| family.0 == "histogram"))
                .unwrap_or(name);
            let names = labels.split(',').filter_map(|label| label.split_once("=\"")).map(|(name, _)| name);
            let known = &mut found.get_mut(family).unwrap().2;
            known.extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
    }
    found
}

#[test]
fn the_catalogue_is_what_is_exported() {
    let (crm, api) = (Crm::usual(), BotApi::start());
    let exported = families(&busy(&crm, &api).metrics());
    let names: BTreeSet<&str> = exported.keys().map(String::as_str).collect();
    let catalogue: BTreeSet<&str> = ALL.iter().map(|family| family.name).collect();
    assert_eq!(names, catalogue, "left exported, right in src/metrics/catalogue.rs");
    assert_eq!(catalogue.len(), ALL.len(), "each name stands there once");
    for Family { name, kind, labels, help, .. } in ALL {
        let (live_kind, live_help, live_labels) = &exported[*name];
        assert_eq!((live_kind.as_str(), live_help.as_str()), (kind.word(), *help), "{name}");
        assert_eq!(*live_labels, labels.iter().map(|label| (*label).to_owned()).collect(), "{name}");
    }
}

#[test]
fn the_command_prints_the_catalogue_without_a_gateway() {
    let office = Office::with("");
    std::fs::remove_file(office.path("sidelock.toml")).unwrap();
    let printed = office.json(&["metrics"]);
    let text = office.done(&["metrics"]);
    let metrics = printed["metrics"].as_array().unwrap();
    assert_eq!(metrics.len(), ALL.len());
    for (printed, family) in metrics.iter().zip(ALL) {
        assert_eq!(printed["name"], family.name);
        assert_eq!(printed["labels"].as_array().unwrap().len(), family.labels.len());
        assert!(text.contains(family.name) && text.contains(family.help), "{}", family.name);
    }
}

/// Every value of a label in the gateway's exposition.
fn values(gateway: &Gateway, label: &str) -> BTreeSet<String> {
    let before = format!("{label}=\"");
    let text = gateway.metrics();
    let after = text.lines().filter_map(|line| line.split(&before).nth(1));
    after.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn keys_beyond_the_cap_share_a_label() {
    let crm = Crm::usual();
    let keys: Vec<TestKey> = (0..4).map(|_| TestKey::new(&["read"], "")).collect();
    let mut gateway = keys.iter().fold(Plan::before(&crm), Plan::key).start();
    gateway.stop();
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    let capped = config.replace("threads = 2", "threads = 2\nkey_labels = 2");
    std::fs::write(gateway.config_file(), capped).unwrap();
    gateway.again();
    for key in &keys {
        assert_eq!(gateway.status_of(key), Some(200));
        assert_eq!(gateway.get("/elsewhere", &[&key.header()]).status, 403);
    }
    let own: BTreeSet<String> = ["unknown", "other", &keys[0].id, &keys[1].id].map(str::to_owned).into();
    assert_eq!(values(&gateway, "key"), own);
    for series in [
        "requests_total{code_class=\"2xx\",key=\"other\",route=\"api\"}",
        "denied_total{key=\"other\",reason=\"scope\"}",
    ] {
        assert_eq!(gateway.metric(&format!("sidelock_{series}")), 2.0, "{series}");
    }
}

#[test]
fn the_series_of_a_key_leave_with_it() {
    let crm = Crm::usual();
    let [stays, goes] = [(); 2].map(|()| TestKey::new(&["read"], "created = 2020-01-01T00:00:00Z"));
    let gateway = Plan::before(&crm).key(&stays).key(&goes).start();
    for key in [&stays, &goes] {
        assert_eq!(gateway.status_of(key), Some(200));
        assert_eq!(gateway.get("/elsewhere", &[&key.header()]).status, 403);
    }
    assert!(values(&gateway, "key").contains(&goes.id));
    std::fs::write(gateway.keys_file(), &stays.block).unwrap();
    eventually("its series are gone", || (!gateway.metrics().contains(&goes.id)).then_some(()));
    assert!(values(&gateway, "key").contains(&stays.id));
}

#[test]
fn a_key_in_use_has_a_zero_to_rise_from_and_one_that_is_over_has_none() {
    let crm = Crm::usual();
    let [live, revoked] = ["", "revoked = true"].map(|lines| TestKey::new(&["read"], lines));
    let gateway = Plan::before(&crm).key(&live).key(&revoked).start();
    let text = gateway.metrics();
    let zero = |key: &TestKey| {
        format!("sidelock_requests_total{{code_class=\"2xx\",key=\"{}\",route=\"api\"}} 0\n", key.id)
    };
    assert!(text.contains(&zero(&live)) && !text.contains(&zero(&revoked)), "{text}");
    for (key, value) in [(&live, 1.0), (&revoked, 0.0)] {
        assert_eq!(gateway.metric(&format!("sidelock_key_live{{key=\"{}\"}}", key.id)), value);
    }
    assert!(text.contains("sidelock_auth_failures_total{reason=\"unknown\"} 0\n"));
}
