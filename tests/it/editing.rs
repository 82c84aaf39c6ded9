//! The key file under commands: comments and unrelated bytes stay, nothing is lost, and what cannot be written whole is
//! not written.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Stdio;

use sidelock::changes::who::Who;
use sidelock::clock::WallTime;
use sidelock::config::environment::Environment;
use sidelock::editing::desk::{ApplyError, Deed, Desk, Purpose, Work};
use sidelock::editing::{Field, Setting};

use crate::support::office::{Office, said};

/// Numbers from a seed: the same sequence each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Keys with a comment in every place that can have one. Each comment is `#cN#`, and stands once.
fn commented() -> String {
    let digest = |number: u8| format!("sha256:{}", format!("{number:02x}").repeat(32));
    let mut text = "#c0#\nconfirm_drop_to = 99 #c1#\n\n   #c2#\n".to_owned();
    text.push_str(&format!("[[key]] #c3#\n  id = 'a' #c4#\n#c5#\ntitle = \"A # no\"#c6#\ndigest = \"{}\"\nscopes = [ #c7#\n  \"read\", #c8#\n  #c9#\n  \"write\" #c10#\n]#c11#\nnote = \"\"\"\n# not a comment\n\"\"\" #c12#\n#c13#\n\n#c14#\n", digest(1)));
    text.push_str(&format!("[[key]]\nid=\"b\"\ntitle=\"B\"\ndigest='{}'\nscopes=[\"read\"]#c15#\nowner = \"o\" #c16#\nprevious = {{ digest = \"{}\", until = 2999-01-01T00:00:00Z }} #c17#\nexpires = 2999-01-01T00:00:00Z#c18#\n", digest(2), digest(3)));
    text.push_str(&format!("[[key]]\n\tid = \"c\"\n\ttitle = \"C\"\n\n\tdigest = \"{}\" #c19#\n\tscopes = []\n\t[key.previous] #c20#\n\tdigest = \"{}\" #c21#\n\toverlap = \"1h\"#c22#\n#c23#\n", digest(4), digest(5)));
    text.push_str(&format!("\n\n[[key]]\nid = \"d\"\ntitle = \"D\"\nallow_from = [\"10.0.0.0/8\"] #c24#\nrate = \"1/s\" #c25#\ndigest = \"{}\"\nscopes = [\"write\"]\n\n#c26#", digest(6)));
    text
}

/// The text before the first block, and each block with the id that it is of.
fn blocks(text: &str) -> (&str, Vec<(String, &str)>) {
    let mut starts: Vec<usize> = text
        .match_indices("[[key]]")
        .map(|(at, _)| at)
        .filter(|at| *at == 0 || text[..*at].ends_with('\n'))
        .collect();
    let first = *starts.first().unwrap_or(&text.len());
    starts.push(text.len());
    let id = |block: &str| {
        let line = block.lines().find(|line| line.trim_start().starts_with("id")).unwrap();
        line.split(['"', '\'']).nth(1).unwrap().to_owned()
    };
    (
        &text[..first],
        starts.windows(2).map(|at| &text[at[0]..at[1]]).map(|block| (id(block), block)).collect(),
    )
}

/// One command, whom it is about, and the fields that it may touch.
fn command(dice: &mut Dice, ids: &[String]) -> (Vec<String>, Option<String>, &'static [&'static str]) {
    let id = ids.get(dice.roll(ids.len().max(1))).cloned().unwrap_or_else(|| "none".to_owned());
    let edits: [(&str, &'static [&'static str]); 9] = [
        ("edit ID --title T#1", &["title"]),
        ("edit ID --scopes write", &["scopes"]),
        ("edit ID --add-scope read", &["scopes"]),
        ("edit ID --allow-from 192.0.2.0/24,10.0.0.0/8", &["allow_from"]),
        ("edit ID --owner '' --rate 9/min", &["owner", "rate"]),
        ("edit ID --never-expires --reason R", &["expires", "reason"]),
        (
            "rotate ID --force --from-first-use",
            &["digest", "rotated", "previous", "expires", "overlap", "[key"],
        ),
        ("rotate ID --finish", &["previous", "digest", "overlap", "[key"]),
        ("revoke ID --reason leaked#2", &["revoked", "revoked_at", "revoked_reason"]),
    ];
    let (text, whom, fields): (&str, _, &'static [&'static str]) = match dice.roll(12) {
        at @ 0..9 => (edits[at].0, Some(id.clone()), edits[at].1),
        9 | 10 => ("create --title New#3 --scope read", None, &[]),
        _ => ("prune --older-than 0s", None, &["*"]),
    };
    let words = text.split(' ').map(|word| if word == "''" { "" } else { word }.replace("ID", &id));
    (std::iter::once("keys".to_owned()).chain(words).collect(), whom, fields)
}

#[test]
fn any_sequence_of_commands_keeps_comments_and_unrelated_bytes() {
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let crlf = seed % 4 == 3;
        let start = if crlf { commented().replace('\n', "\r\n") } else { commented() };
        let office = Office::with(&start);
        let mut past = Vec::new();
        for _ in 0..14 {
            let before = office.keys();
            let (top, old) = blocks(&before);
            let ids: Vec<String> = old.iter().map(|(id, _)| id.clone()).collect();
            let (args, whom, fields) = command(&mut dice, &ids);
            let output = office.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
            past.push(format!("{} -> {:?}", args.join(" "), output.status.code()));
            let after = office.keys();
            let told = || {
                format!(
                    "seed {seed}\n{}\n{}--- before\n{before}\n--- after\n{after}",
                    past.join("\n"),
                    said(&output)
                )
            };
            if !output.status.success() {
                assert_eq!(after, before, "{}", told());
            }
            for comment in (0..=26).map(|number| format!("#c{number}#")) {
                assert_eq!(after.matches(&comment).count(), 1, "{comment}: {}", told());
            }
            assert_eq!(after.contains('\r'), crlf, "{}", told());
            let (new_top, new) = blocks(&after);
            for (id, block) in old.iter().filter(|(id, _)| Some(id) != whom.as_ref() && fields != ["*"]) {
                let kept = new.iter().find(|(it, _)| it == id).map_or("", |(_, block)| *block);
                // A new key goes below the last one.
                let same = if whom.is_none() { kept.starts_with(block) } else { kept == *block };
                assert!(same, "block {id}: {}", told());
            }
            if fields != ["*"] {
                assert_eq!(new_top, top, "{}", told());
            }
            if let Some((_, block)) = old.iter().find(|(id, _)| Some(id) == whom.as_ref()) {
                let kept = new.iter().find(|(it, _)| Some(it) == whom.as_ref()).unwrap().1;
                let empty = |text: &str| text.lines().filter(|line| line.trim().is_empty()).count();
                assert_eq!(empty(kept), empty(block), "{}", told());
                for line in block.split_inclusive('\n').filter(|line| {
                    !fields.iter().any(|field| line.trim_start().starts_with(field)) && line.contains('=')
                }) {
                    assert!(kept.contains(line), "{line:?}: {}", told());
                }
            }
            // What prune leaves of other blocks is theirs to the byte.
            for (id, block) in new.iter().filter(|(id, _)| fields == ["*"] && ids.contains(id)) {
                let was = old.iter().find(|(it, _)| it == id).unwrap().1;
                assert!(block.trim_end().starts_with(was.trim_end()), "block {id}: {}", told());
            }
        }
        office.done(&["check"]);
        office.done(&["log", "--changes", "--verify"]);
    }
}

#[test]
fn commands_at_once_lose_nothing() {
    let office = Office::with("# mine\n");
    let titles: Vec<String> = (0..8).map(|number| format!("Key {number}")).collect();
    let children: Vec<_> = titles
        .iter()
        .map(|title| {
            let mut command = office.command(&["keys", "create", "--title", title, "--scope", "read"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    let file = office.keys();
    assert!(
        file.starts_with("# mine\n") && titles.iter().all(|title| file.contains(title.as_str())),
        "{file}"
    );
    assert_eq!(office.record().lines().count(), titles.len());
    office.done(&["log", "--changes", "--verify"]);
    office.done(&["check"]);
}

#[test]
fn a_file_that_was_saved_meanwhile_is_not_overwritten() {
    let office = Office::with(&commented());
    let desk = Desk::open(&office.path("sidelock.toml"), &Environment::Process, Purpose::Change).unwrap();
    let title = Field { name: "title", setting: Setting::Text("mine".to_owned()) };
    let draft = desk.draft(&Work::default().set(0, vec![title])).unwrap();
    office.save(&format!("{}\n# theirs\n", commented()));
    let deed = Deed { verb: "edit", when: WallTime::from_unix_secs(1), who: Who::default() };
    assert!(matches!(desk.apply(&draft, &deed), Err(ApplyError::Changed)));
    assert!(office.keys().ends_with("# theirs\n") && !office.keys().contains("mine"));
    assert_eq!(office.record(), "", "what did not happen is not recorded");
    office.save(&commented());
    desk.apply(&draft, &deed).unwrap();
    assert!(office.keys().contains("\"mine\""));
}

#[test]
fn a_read_only_folder_gets_the_toml_to_apply() {
    let office = Office::with("");
    office.done(&["keys", "create", "--title", "Old", "--scope", "read"]);
    let before = office.keys();
    for (path, mode) in [(office.folder.path().to_owned(), 0o555), (office.path("keys.toml"), 0o400)] {
        let usual = std::fs::metadata(&path).unwrap().permissions();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let create = office.run(&["keys", "create", "--title", "New", "--scope", "read"]);
        let revoke = office.run(&["keys", "revoke", "Old", "--reason", "r", "--json"]);
        std::fs::set_permissions(&path, usual).unwrap();
        let toml = String::from_utf8(create.stdout.clone()).unwrap();
        assert_eq!(create.status.code(), Some(1));
        assert!(toml.contains("title = \"New\"") && !toml.contains("slk_"), "{toml}");
        assert!(
            said(&create).contains("the TOML on stdout is what to apply") && said(&create).contains("slk_")
        );
        let told: serde_json::Value = serde_json::from_slice(&revoke.stdout).unwrap();
        assert_eq!((revoke.status.code(), &told["applied"]), (Some(1), &false.into()));
        assert!(told["toml"].as_str().unwrap().contains("revoked = true"));
        assert_eq!(office.keys(), before);
        let applied = Office::with(&format!("{before}{toml}"));
        applied.done(&["check"]);
    }
    assert_eq!(office.record().lines().count(), 1);
}

#[test]
fn a_full_disk_leaves_the_old_file_whole() {
    let padding: String = (0..2_000).map(|number| format!("# line {number} of a long comment\n")).collect();
    let office = Office::with(&padding);
    let sidelock = env!("CARGO_BIN_EXE_sidelock");
    let create = format!("ulimit -f 16; exec {sidelock} keys create --title x --scope read");
    for script in [format!("trap '' XFSZ; {create}"), create] {
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(office.folder.path())
            .output()
            .unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", said(&output));
        assert_eq!(office.keys(), padding);
        assert_eq!(office.record(), "");
    }
    office.done(&["keys", "create", "--title", "x", "--scope", "read"]);
    assert!(office.keys().starts_with(&padding), "what the killed one left behind is in nobody's way");
}

#[test]
fn no_change_without_its_line_in_the_record() {
    let office = Office::with("# mine\n");
    std::fs::write(office.path("state"), "not a folder").unwrap();
    let text = office.refused(&["keys", "create", "--title", "x", "--scope", "read"]);
    assert!(text.contains("change record") && text.contains("not touched"), "{text}");
    assert_eq!(office.keys(), "# mine\n");
}

#[test]
fn keys_can_be_revoked_without_the_other_secrets() {
    let office = Office::with("");
    let config = std::fs::read_to_string(office.path("sidelock.toml")).unwrap()
        + "[[webhook]]\nname = \"t\"\npath = \"/t\"\nsender = \"telegram\"\nsecrets = [\"env:NOT_SET\", \"file:not-there\"]\n";
    std::fs::write(office.path("sidelock.toml"), config).unwrap();
    assert_eq!(office.run(&["check"]).status.code(), Some(2));
    office.done(&["keys", "create", "--title", "x", "--scope", "read"]);
    office.done(&["keys", "revoke", "x", "--reason", "leaked"]);
    office.done(&["log", "--changes", "--verify"]);
}

#[test]
fn a_link_stays_one_and_the_mode_stays() {
    let office = Office::with("");
    std::fs::create_dir(office.path("real")).unwrap();
    std::fs::rename(office.path("keys.toml"), office.path("real/it.toml")).unwrap();
    std::fs::set_permissions(office.path("real/it.toml"), PermissionsExt::from_mode(0o640)).unwrap();
    symlink("real/it.toml", office.path("keys.toml")).unwrap();
    office.done(&["keys", "create", "--title", "x", "--scope", "read"]);
    assert!(std::fs::symlink_metadata(office.path("keys.toml")).unwrap().is_symlink());
    let real = std::fs::metadata(office.path("real/it.toml")).unwrap();
    assert_eq!(real.mode() & 0o777, 0o640);
    assert!(office.keys().contains("title = \"x\""));
}

#[test]
fn a_file_with_mistakes_is_not_edited_and_none_are_made() {
    let broken = "[[key]]\nid = \"a\"\n";
    let office = Office::with(broken);
    assert_eq!(office.run(&["keys", "create", "--title", "x", "--scope", "read"]).status.code(), Some(2));
    assert_eq!(office.keys(), broken);
    let digest = format!("sha256:{}", "0".repeat(64));
    let inline = format!("key = [{{ id = \"a\", title = \"A\", digest = \"{digest}\", scopes = [] }}]\n");
    office.save(&inline);
    assert!(office.refused(&["keys", "edit", "a", "--title", "x"]).contains("use a text editor"));
    assert_eq!(office.keys(), inline);
}

#[test]
fn the_record_tells_who_changed_what_and_notices_tampering() {
    let office = Office::with("");
    let mut command = office.command(&["keys", "create", "--title", "Shop", "--scope", "read"]);
    assert!(command.env("SUDO_USER", "anna").output().unwrap().status.success());
    office.done(&["keys", "edit", "Shop", "--title", "Store"]);
    let keyed = office.done(&["keys", "rotate", "Store"]);
    let told = office.done(&["log", "--changes"]);
    assert!(told.contains("anna as ") && told.contains("title: \"Shop\" -> \"Store\""), "{told}");
    assert!(told.contains("rotate") && !told.contains(keyed.trim()), "{told}");
    let changes = office.json(&["log", "--changes"]);
    assert_eq!(changes["changes"][1]["fields"]["title"]["to"], "\"Store\"");
    assert_eq!(changes["changes"][2]["command"], "sidelock keys rotate");
    assert_eq!(changes["changes"][1]["file_before"], changes["changes"][0]["file_after"]);
    let record = office.record();
    for (tampered, part) in [
        (record.replace("Store", "Stare"), "line 2 was altered"),
        (record.lines().skip(1).map(|line| format!("{line}\n")).collect(), "number 1 is missing"),
        (record.lines().take(1).map(|line| format!("{line}\n")).collect(), "numbers 2 to 3 are missing"),
        (record.lines().rev().map(|line| format!("{line}\n")).collect(), "line 2 is out of order"),
    ] {
        std::fs::write(office.path("state/changes.ndjson"), tampered).unwrap();
        let text = office.refused(&["log", "--changes", "--verify"]);
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
