//! Rules as code: ranks, file lengths, documents.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Ranks of modules; a module imports only from lower ones. The same table, with reasons, opens `src/lib.rs`.
const RANKS: &[(&str, u32)] = &[
    ("clock", 0),
    ("denial", 0),
    ("networks", 0),
    ("secret", 0),
    ("socket", 0),
    ("supervisor", 0),
    ("request_head", 1),
    ("tls", 1),
    ("vitals", 1),
    ("client_addr", 2),
    ("credential", 2),
    ("policy", 3),
    ("limits", 4),
    ("keys", 5),
    ("outcome", 6),
    ("access_log", 7),
    ("gate", 7),
    ("metrics", 8),
    ("records", 8),
    ("changes", 9),
    ("config", 9),
    ("editing", 10),
    ("report", 10),
    ("admin", 10),
    ("telegram", 10),
    ("proxy", 11),
    ("reload", 12),
    ("server", 13),
    ("trial", 13),
    ("cli", 14),
    ("lib", 15),
    ("main", 15),
];

/// Lines before the tests that a file may have.
const MOST_LINES: usize = 400;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn module_of(path: &Path, root: &Path) -> String {
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn production(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

/// `crate::x` in a line of code, each `x`.
fn imports(line: &str) -> impl Iterator<Item = String> + '_ {
    let code = if line.trim_start().starts_with("//") { "" } else { line };
    code.match_indices("crate::").map(|(at, _)| {
        code[at + 7..].chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect::<String>()
    })
}

fn upward_imports(module: &str, text: &str) -> Vec<String> {
    let ranks: BTreeMap<&str, u32> = RANKS.iter().copied().collect();
    let own = ranks[module];
    let mut found = Vec::new();
    for (number, line) in production(text).lines().enumerate() {
        for name in imports(line).filter(|name| name != module) {
            match ranks.get(name.as_str()) {
                Some(rank) if *rank < own => {}
                Some(_) => {
                    found.push(format!("line {}: {module} imports {name}, which is not below it", number + 1))
                }
                None => found.push(format!("line {}: {name} has no rank", number + 1)),
            }
        }
    }
    found
}

#[test]
fn modules_import_only_downward() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for path in sources(&root) {
        let text = std::fs::read_to_string(&path).unwrap();
        let upward = upward_imports(&module_of(&path, &root), &text);
        found.extend(upward.into_iter().map(|what| format!("{}: {what}", path.display())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn files_stay_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in ["src", "tests"].iter().flat_map(|folder| sources(&root.join(folder))) {
        let lines = production(&std::fs::read_to_string(&path).unwrap()).lines().count();
        assert!(
            lines <= MOST_LINES,
            "{} has {lines} lines; at most {MOST_LINES} make one idea",
            path.display()
        );
    }
}

#[test]
fn the_rules_notice() {
    assert_eq!(upward_imports("denial", "use crate::gate::Gate;").len(), 1);
    assert_eq!(upward_imports("gate", "use crate::metrics::Metrics;").len(), 1);
    assert_eq!(
        upward_imports("gate", "use crate::denial::Denial;\n#[cfg(test)]\nuse crate::cli::x;").len(),
        0
    );
    assert_eq!(upward_imports("gate", "let x = crate::no_such::y();").len(), 1);
}
