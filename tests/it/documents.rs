//! What is written about the program is true of the program.

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The commented configuration holds every key that the sections read.
#[test]
fn the_example_configuration_names_every_key() {
    let example = std::fs::read_to_string(root().join("config/sidelock.toml")).unwrap();
    for entry in std::fs::read_dir(root().join("src/config")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        // What stands in a pack is explained in the one that is there to be copied.
        let pack = std::fs::read_to_string(root().join("config/crm/generic.toml")).unwrap();
        let example = if name == "pack" { format!("{example}{pack}") } else { example.clone() };
        if ["reader", "source", "units", "environment", "load", "key_file"].contains(&name.as_str()) {
            continue;
        }
        for call in [
            "get(\"",
            "required(\"",
            "rate(\"",
            "count(\"",
            "size(\"",
            "span(\"",
            "networks(\"",
            "section(\"",
            "sections(\"",
        ] {
            for (at, _) in text.match_indices(call) {
                let key = text[at + call.len()..].split('"').next().unwrap();
                assert!(
                    example.contains(key),
                    "{key}, which {name}.rs reads, is not in config/sidelock.toml"
                );
            }
        }
    }
}

/// Without its comment signs, every line of it is accepted.
#[test]
fn the_example_configuration_is_accepted() {
    let example = std::fs::read_to_string(root().join("config/sidelock.toml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let all: String = example
        .lines()
        .map(|line| match line.strip_prefix("#: ") {
            // These are for a CRM with TLS.
            Some(setting)
                if ["server_name", "client_certificate", "client_key"]
                    .iter()
                    .any(|it| setting.starts_with(it)) =>
            {
                String::new()
            }
            Some(setting) => format!("{setting}\n"),
            None => format!("{line}\n"),
        })
        .collect();
    for (name, text) in [("plain.toml", &example), ("all.toml", &all)] {
        std::fs::write(folder.path().join(name), text).unwrap();
        let (pair, ca) = (crate::support::tls::CRM, crate::support::tls::CA);
        for (name, text) in
            [("keys.toml", ""), ("cert.pem", pair.0), ("key.pem", pair.1), ("clients-ca.pem", ca)]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_sidelock"))
            .args(["check", "--config", name])
            .current_dir(folder.path())
            .envs([
                ("TELEGRAM_WEBHOOK_SECRET", "0123456789abcdef0123456789abcdef"),
                ("TELEGRAM_BOT_TOKEN", "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"),
                ("TELEGRAM_WEBHOOK_SECRET_OLD", "0123456789abcdef0123456789abcdee"),
                ("META_APP_SECRET", "0123456789abcdef0123456789abcdee"),
                ("META_VERIFY_TOKEN", "0123456789abcdef"),
                ("ESPOCRM_SECRET", "0123456789abcdef"),
                ("SALESFORCE_SECRET", "0123456789abcdef"),
                ("HUBSPOT_SECRET", "0123456789abcdef"),
                ("CRM_TOKEN", "x"),
                ("CRM_REPORTING_TOKEN", "x"),
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The README's table holds every metric of the catalogue with its labels, and no other.
#[test]
fn the_readme_names_every_metric() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let table = readme.split("\n### Metrics\n").nth(1).unwrap().split("\n### ").next().unwrap();
    // What stands between backticks in the column that is given, notes in parentheses left out.
    let quoted = |row: &str, column: usize| {
        let cell = row.split('|').nth(column).unwrap();
        let outside = cell.split('(').map(|part| part.split_once(')').map_or(part, |(_, after)| after));
        outside.collect::<String>().split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut told = std::collections::BTreeMap::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        for name in quoted(row, 1) {
            assert!(told.insert(name, quoted(row, 2)).is_none(), "twice: {row}");
        }
    }
    let own = sidelock::metrics::catalogue::ALL.iter().filter(|family| family.name.starts_with("sidelock_"));
    let catalogue = own.map(|family| {
        (family.name.to_owned(), family.labels.iter().map(|label| (*label).to_owned()).collect())
    });
    assert_eq!(told, catalogue.collect(), "left README.md, right src/metrics/catalogue.rs");
}

/// Every field that the key file may have is in its commented form, and without its comment signs that is accepted.
#[test]
fn the_example_key_file_is_accepted() {
    let example = std::fs::read_to_string(root().join("config/keys.toml")).unwrap();
    let reader = std::fs::read_to_string(root().join("src/config/key_file.rs")).unwrap();
    for call in ["get(\"", "required(\"", "section(\""] {
        for (at, _) in reader.match_indices(call) {
            let field = reader[at + call.len()..].split('"').next().unwrap();
            let known = example.contains(field) || field == "confirm_drop_to";
            assert!(known, "{field}, which the reader takes, is not in config/keys.toml");
        }
    }
    let digest = |text: &str| sidelock::credential::api_key::KeyDigest::of(text.as_bytes()).to_string();
    let is_setting = |line: &&str| {
        line.starts_with("[[") || line.split_once(" = ").is_some_and(|(name, _)| !name.contains(' '))
    };
    let lines: Vec<&str> =
        example.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_setting).collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("previous")).count(), 2);
    for left_out in ["until", "overlap"] {
        let text: String = lines
            .iter()
            .filter(|line| !line.starts_with("previous") || !line.contains(left_out))
            // A name in the configuration, which the office's has not.
            .filter(|line| !line.starts_with("credential"))
            .map(|line| format!("{line}\n"))
            .collect();
        let text = text.replace("sha256:9f2c…", &digest("a")).replace("sha256:31d7…", &digest("b"));
        let text = text.replace("sha256:5f1e…", &digest("c"));
        let office = crate::support::office::Office::with(&text.replace("read_messages", "read"));
        office.done(&["check", "--strict"]);
    }
}

#[test]
fn every_promise_names_tests_that_are_there() {
    let text = std::fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let promises: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(promises.len() > 25, "{promises:?}");
    for promise in promises {
        let tests: Vec<&str> = promise
            .split('`')
            .filter(|word| word.starts_with("tests/") || word.starts_with("src/"))
            .collect();
        assert!(!tests.is_empty(), "{promise}");
        for test in tests {
            let path = root().join(test);
            assert!(path.exists(), "{test}: {promise}");
            // A file of the program's own must hold tests, too; a folder has them further down.
            let has_tests = path.is_dir()
                || !test.ends_with(".rs")
                || std::fs::read_to_string(path).unwrap().contains("#[test]");
            assert!(has_tests, "{test} tests nothing: {promise}");
        }
    }
}
