//! `sidelock webhook verify`: every published vector, every neighbour of an accepted one, and nonsense.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sidelock::config::sender::Senders;
use sidelock::credential::webhook::description::{Description, IdPlace, TimestampPlace, Verify};
use sidelock::credential::webhook::place::Place;

const VECTORS: &str = include_str!("data/webhook-vectors.json");

fn vectors() -> Vec<Value> {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    document["vectors"].as_array().unwrap().clone()
}

/// What the command prints for `input`, its exit code and what it says.
fn verify(input: &[u8], args: &[&str]) -> (Vec<Value>, Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sidelock"))
        .args(["webhook", "verify"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let verdicts = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (verdicts, output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn lines(entries: &[Value]) -> Vec<u8> {
    entries.iter().map(|entry| format!("{entry}\n")).collect::<String>().into_bytes()
}

#[test]
fn every_vector_has_its_verdict() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 279);
    let one_a_line = lines(&vectors);
    for input in [VECTORS.as_bytes(), &one_a_line] {
        let (verdicts, code, said) = verify(input, &[]);
        assert_eq!((verdicts.len(), code), (279, Some(0)), "{said}");
        let wrong: Vec<String> = vectors
            .iter()
            .zip(&verdicts)
            .filter(|(vector, verdict)| {
                let answered = match vector.get("expect_response") {
                    None => true,
                    Some(answer) => {
                        verdict["response"]["status"] == answer["status"]
                            && verdict["response"]["body"] == answer["body"]
                    }
                };
                vector["id"] != verdict["id"] || vector["expect"] != verdict["verdict"] || !answered
            })
            .map(|(vector, verdict)| format!("{} {}: {verdict}", vector["id"], vector["case"]))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// `preset` of a vector, as it is known.
fn description(senders: &Senders, vector: &Value) -> Description {
    senders.named(vector["preset"].as_str().unwrap()).unwrap().clone()
}

/// Header names whose every byte counts.
fn headers_that_count(description: &Description) -> Vec<String> {
    let mut names = Vec::new();
    match &description.verify {
        Verify::Signature(signed) => {
            if let Place::Header(name) = &signed.place {
                names.push(name.to_string());
            }
            if let Some(TimestampPlace::Header(name)) = signed.timestamp.as_ref().map(|it| &it.place) {
                names.push(name.to_string());
            }
            let ids = description.ids.iter().filter(|id| id.is_signed);
            names.extend(ids.filter_map(|id| match &id.place {
                IdPlace::Header(name) => Some(name.to_string()),
                IdPlace::Json(_) => None,
            }));
        }
        Verify::Token { place: Place::Header(name), .. } if *name != "authorization" => {
            names.push(name.to_string());
        }
        // The scheme's name before it has no case.
        Verify::Token { .. } | Verify::Basic => {}
    }
    names
}

/// Bytes of the body that are signed.
fn signed_range(vector: &Value, description: &Description, body: &[u8]) -> std::ops::Range<usize> {
    let text = String::from_utf8_lossy(body);
    match vector["preset"].as_str().unwrap() {
        // Only the block with time, token and signature.
        "mailgun" => text.find("{\"timestamp").unwrap()..text.find("},\"event-data\"").unwrap(),
        _ if matches!(description.verify, Verify::Signature(_)) => 0..body.len(),
        _ => 0..0,
    }
}

fn neighbours(vector: &Value, description: &Description, out: &mut Vec<Value>) {
    let case = vector["case"].as_str().unwrap();
    let changed = |byte: u8, mask: u8| byte ^ mask;
    let body = STANDARD.decode(vector["request"]["body_base64"].as_str().unwrap_or_default()).unwrap();
    for at in signed_range(vector, description, &body) {
        for mask in [0x01, 0x20, 0x80] {
            // Two spellings of one escape (RFC 3986 section 2.1): forms are signed decoded.
            let in_escape = body[at.saturating_sub(2)..at].contains(&b'%') && body[at].is_ascii_alphabetic();
            if mask == 0x20 && in_escape && description.name.starts_with("twilio") {
                continue;
            }
            let mut other = body.clone();
            other[at] = changed(other[at], mask);
            let mut entry = vector.clone();
            entry["request"]["body_base64"] = STANDARD.encode(other).into();
            entry["id"] = format!("{}: body byte {at} ^ {mask}", vector["id"]).into();
            out.push(entry);
        }
    }
    let several = case.contains("multiple") || case.contains("items") || case.contains("whitespace");
    if several {
        return;
    }
    let names = headers_that_count(description);
    for (index, field) in vector["request"]["headers"].as_array().unwrap().iter().enumerate() {
        let (name, value) = (field[0].as_str().unwrap(), field[1].as_str().unwrap());
        if !names.iter().any(|counts| counts.eq_ignore_ascii_case(name)) {
            continue;
        }
        for at in 0..value.len() {
            for mask in [0x01, 0x20] {
                let mut other = value.as_bytes().to_vec();
                other[at] = changed(other[at], mask);
                let mut entry = vector.clone();
                entry["request"]["headers"][index][1] = String::from_utf8(other).unwrap().into();
                entry["id"] = format!("{}: {name} byte {at} ^ {mask}", vector["id"]).into();
                out.push(entry);
            }
        }
    }
}

#[test]
fn no_neighbour_of_an_accepted_delivery_is_accepted() {
    let senders = Senders::known();
    let mut entries = Vec::new();
    for vector in vectors().iter().filter(|vector| vector["expect"] == "accept") {
        neighbours(vector, &description(&senders, vector), &mut entries);
    }
    assert!(entries.len() > 20_000, "{}", entries.len());
    let (verdicts, code, said) = verify(&lines(&entries), &[]);
    assert_eq!((verdicts.len(), code), (entries.len(), Some(0)), "{said}");
    let wrong: Vec<String> =
        verdicts.iter().filter(|it| it["verdict"] != "reject").map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), entries.len(), wrong.join("\n"));
}

/// Small, and the same on every run (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

fn spoilt(value: &mut Value, random: &mut Random) {
    let odd = [
        Value::Null,
        json!(-1),
        json!(1e300),
        json!(""),
        json!("\u{0}\u{ff}\u{100}😀"),
        json!("v1=,v1=t=,=%"),
        json!([[]]),
        json!({ "in": "json", "ptr": "/a" }),
        json!("a".repeat(9000)),
    ];
    match value {
        Value::Object(fields) if !fields.is_empty() && random.below(4) > 0 => {
            let key = fields.keys().nth(random.below(fields.len())).unwrap().clone();
            spoilt(&mut fields[&key], random);
        }
        Value::Array(items) if !items.is_empty() && random.below(4) > 0 => {
            let at = random.below(items.len());
            spoilt(&mut items[at], random);
        }
        Value::String(text) if !text.is_empty() && random.below(2) > 0 => {
            let keep = random.below(text.chars().count());
            let tail: String = text.chars().skip(keep + random.below(3)).collect();
            *text = text.chars().take(keep).collect::<String>() + &tail;
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => *value = odd[random.below(odd.len())].clone(),
    }
}

#[test]
fn nonsense_gets_a_verdict_a_line() {
    let (vectors, mut random) = (vectors(), Random(0x5eed));
    let mut entries = Vec::new();
    for round in 0..4000 {
        let mut entry = vectors[random.below(vectors.len())].clone();
        for _ in 0..=random.below(3) {
            spoilt(&mut entry, &mut random);
        }
        if entry.is_object() && round % 4 == 0 {
            entry["config"] = json!({ "override": { "sig": { "item": "{sig}" }, "ts": { "past": round } } });
            spoilt(&mut entry["config"], &mut random);
        }
        entries.push(entry);
    }
    entries.retain(Value::is_object);
    let (verdicts, code, said) = verify(&lines(&entries), &[]);
    assert!(matches!(code, Some(0 | 1)) && !said.contains("panicked"), "{code:?} {said}");
    assert_eq!(verdicts.len(), entries.len());
    assert!(verdicts.iter().all(|it| it["verdict"] == "accept" || it["verdict"] == "reject"));
}

#[test]
fn lines_that_cannot_be_read_are_said_to_be_so() {
    let good = vectors()[0].to_string();
    let input = format!("{{\"id\":\n{good}\n\nnonsense\n[{good}]\n7\n{good}");
    let (verdicts, code, said) = verify(input.as_bytes(), &["-"]);
    let words: Vec<&str> = verdicts.iter().map(|it| it["verdict"].as_str().unwrap()).collect();
    assert_eq!(words, ["reject", "accept", "reject", "accept", "reject", "accept"]);
    assert_eq!(verdicts.iter().filter(|it| it.get("error").is_some()).count(), 3);
    assert_eq!(code, Some(1));
    assert!(said.contains("3 deliveries could not be read"), "{said}");
    let (verdicts, code, _) = verify(b"", &[]);
    assert_eq!((verdicts.len(), code), (0, Some(0)));
    let (_, code, said) = verify(b"", &["no-such-file"]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn the_time_and_the_description_can_be_others() {
    let stripe = vectors().into_iter().find(|it| it["id"] == "pub-stripe-001").unwrap();
    let verdict = |entry: &Value, args: &[&str]| {
        let (verdicts, _, said) = verify(&lines(std::slice::from_ref(entry)), args);
        verdicts.into_iter().next().unwrap_or_else(|| panic!("{said}"))["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(verdict(&stripe, &[]), "proved");
    assert_eq!(verdict(&stripe, &["--now", "2030-01-01T00:00:00Z"]), "webhook_timestamp_too_old");
    assert_eq!(verdict(&stripe, &["--now", "1"]), "webhook_timestamp_in_future");
    let with = |change: Value| {
        let mut entry = stripe.clone();
        entry["config"] = json!({ "override": change });
        entry
    };
    assert_eq!(verdict(&with(json!({ "alg": "hmac-sha512" })), &[]), "webhook_signature_malformed");
    assert_eq!(verdict(&with(json!({ "msg": "{body}" })), &[]), "webhook_signature_wrong");
    assert_eq!(
        verdict(&with(json!({ "ts": { "past": null } })), &["--now", "2030-01-01T00:00:00Z"]),
        "proved"
    );
    assert_eq!(verdict(&with(json!({ "sig": { "nam": "x" } })), &[]), "unreadable");
    let mut without = stripe.clone();
    without["secrets"] = json!([""]);
    assert_eq!(verdict(&without, &[]), "webhook_no_secret");
}

/// The reason of the verdict on a vector after a change.
fn reason(id: &str, change: &dyn Fn(&mut Value)) -> String {
    let mut entry = vectors().into_iter().find(|it| it["id"] == id).unwrap();
    change(&mut entry);
    let (verdicts, _, said) = verify(&lines(&[entry]), &[]);
    verdicts.first().unwrap_or_else(|| panic!("{said}"))["reason"].as_str().unwrap().to_owned()
}

#[test]
fn fields_that_select_a_scheme_must_be_right() {
    let with = |version: Value| {
        reason("pub-hubspot-019", &move |entry| {
            let fields = entry["request"]["headers"].as_array_mut().unwrap();
            fields.retain(|field| field[0] != "X-HubSpot-Signature-Version");
            for version in version.as_array().unwrap() {
                fields.push(json!(["X-HubSpot-Signature-Version", version]));
            }
        })
    };
    assert_eq!(with(json!(["v2"])), "proved");
    assert_eq!(with(json!(["v1"])), "webhook_other_scheme");
    assert_eq!(with(json!([])), "webhook_other_scheme");
    assert_eq!(with(json!(["v2", "v2"])), "webhook_field_doubled");
}

#[test]
fn what_is_around_a_secret_must_be_there() {
    let with = |value: &str| {
        let value = value.to_owned();
        reason("pub-header-token-001", &move |entry| {
            entry["config"]["override"] = json!({ "item": "Token {sig};" });
            entry["request"]["headers"] = json!([["X-CRM-Hook-Key", value]]);
        })
    };
    let secret = vectors().into_iter().find(|it| it["id"] == "pub-header-token-001").unwrap();
    let secret = secret["secrets"][0].as_str().unwrap().to_owned();
    assert_eq!(with(&format!("Token {secret};")), "proved");
    for other in
        [secret.clone(), format!("Token {secret}"), format!("token {secret};"), format!("Token  {secret};")]
    {
        assert_eq!(with(&other), "webhook_secret_wrong", "{other}");
    }
}

#[test]
fn another_spelling_is_another_field_and_one_too_many() {
    let with = |keep: bool, name: &str| {
        let name = name.to_owned();
        reason("pub-github-001", &move |entry| {
            let fields = entry["request"]["headers"].as_array_mut().unwrap();
            let value = fields.iter().find(|field| field[0] == "X-Hub-Signature-256").unwrap()[1].clone();
            fields.retain(|field| keep || field[0] != "X-Hub-Signature-256");
            fields.push(json!([name, value]));
        })
    };
    assert_eq!(with(false, "x-HUB-signature-256"), "proved");
    assert_eq!(with(false, "X_Hub_Signature_256"), "webhook_signature_missing");
    assert_eq!(with(true, "X_Hub_Signature_256"), "webhook_field_doubled");
    assert_eq!(with(true, "x-hub-signature-256"), "webhook_field_doubled");
    assert_eq!(with(true, "X-Hub-Signature"), "proved");
}

#[test]
fn discord_asks_in_two_ways_and_an_event_is_no_question() {
    // Signed with a key of this test: a PING of the events, and an event, which has the type that a PING of the
    // interactions has.
    use ring::signature::{Ed25519KeyPair, KeyPair};
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let response = |body: &str| {
        let signature = hex(pair.sign(format!("1760000000{body}").as_bytes()).as_ref());
        let entry = json!({
            "preset": "discord", "now_unix": 1_760_000_000, "secrets": [hex(pair.public_key().as_ref())],
            "request": {
                "url": "https://x/", "body_base64": STANDARD.encode(body),
                "headers": [["X-Signature-Ed25519", signature], ["X-Signature-Timestamp", "1760000000"]],
            },
        });
        let (verdicts, _, said) = verify(&lines(&[entry]), &[]);
        assert_eq!(verdicts[0]["verdict"], "accept", "{said}");
        verdicts[0]["response"]["status"].clone()
    };
    assert_eq!(response(r#"{"type":1}"#), 200);
    assert_eq!(response(r#"{"version":1,"type":0}"#), 204);
    assert_eq!(response(r#"{"version":1,"type":1,"event":{"type":"x"}}"#), Value::Null);
    assert_eq!(response(r#"{"type":2}"#), Value::Null);
    assert_eq!(response(r#"{"type":1,"type":1}"#), Value::Null);
}

#[test]
fn a_secret_that_is_none_of_the_schemes_is_told() {
    let mut entry = vectors().into_iter().find(|it| it["preset"] == "standard-webhooks").unwrap();
    entry["secrets"] = json!(["whsec_!!"]);
    let (verdicts, _, _) = verify(&lines(&[entry]), &[]);
    let detail = verdicts[0]["detail"].as_str().unwrap();
    assert!(detail.ends_with("secret 0 is of no use: the secret is not base64"), "{detail}");
}
