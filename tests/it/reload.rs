//! Hot reload: every way of saving, every way of getting it wrong.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};

fn status(gateway: &Gateway, key: &TestKey) -> u16 {
    gateway.get("/api/x", &[&key.header()]).status
}

fn becomes(gateway: &Gateway, key: &TestKey, expected: u16) {
    eventually("the edit is in force", || (gateway.status_of(key) == Some(expected)).then_some(()));
}

fn revoke(text: &str, key: &TestKey) -> String {
    text.replace(&format!("id = \"{}\"", key.id), &format!("id = \"{}\"\nrevoked = true", key.id))
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

fn three() -> (Crm, Gateway, [TestKey; 3]) {
    let crm = Crm::usual();
    let keys = [(); 3].map(|()| TestKey::new(&["read"], ""));
    let plan = keys.iter().fold(Plan::before(&crm), |plan, key| plan.key(key));
    let gateway = plan.start();
    (crm, gateway, keys)
}

#[test]
fn a_plain_write_a_rename_and_a_deleted_block_all_revoke() {
    let (_crm, gateway, [a, b, c]) = three();
    let file = gateway.keys_file();
    let text = std::fs::read_to_string(&file).unwrap();

    let text = revoke(&text, &a);
    std::fs::write(&file, &text).unwrap();
    becomes(&gateway, &a, 401);
    assert_eq!(status(&gateway, &b), 200);

    let text = revoke(&text, &b);
    let new = gateway.folder.path().join("keys.toml.swp");
    private(&new, &text);
    std::fs::rename(&new, &file).unwrap();
    becomes(&gateway, &b, 401);

    std::fs::write(&file, text.replace(&c.block, "")).unwrap();
    becomes(&gateway, &c, 401);
    assert_eq!(gateway.metric("sidelock_keys{state=\"revoked\"}"), 2.0);
}

#[test]
fn a_mounted_secret_swaps_its_data_folder() {
    let (_crm, gateway, [a, b, _]) = three();
    let (folder, file) = (gateway.folder.path(), gateway.keys_file());
    let text = std::fs::read_to_string(&file).unwrap();
    let version = |name: &str, text: &str| {
        std::fs::create_dir(folder.join(name)).unwrap();
        private(&folder.join(name).join("keys.toml"), text);
    };
    version("..1", &text);
    symlink("..1", folder.join("..data")).unwrap();
    symlink("..data/keys.toml", folder.join("keys.new")).unwrap();
    std::fs::rename(folder.join("keys.new"), &file).unwrap();
    for (number, key) in [("..2", &a), ("..3", &b)] {
        let text = revoke(&std::fs::read_to_string(&file).unwrap(), key);
        version(number, &text);
        symlink(number, folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        becomes(&gateway, key, 401);
    }
}

#[test]
fn bad_files_are_kept_out_and_the_gauge_recovers() {
    let (_crm, gateway, [a, b, _]) = three();
    let file = gateway.keys_file();
    let good = std::fs::read_to_string(&file).unwrap();
    let gauge = |value: f64| {
        eventually("the gauge tells", || {
            (gateway.metric("sidelock_last_reload_successful") == value).then_some(())
        });
    };
    let twice = format!("{good}{}", a.block);
    let same_digest = format!("{good}{}", a.block.replace(&format!("id = \"{}\"", a.id), "id = \"another\""));
    let unknown = good.replacen("[\"read\"]", "[\"raed\"]", 1);
    for bad in [&good[..good.len() / 2], "", "[[key]", &twice, &same_digest, &unknown, "rubbish = 1"] {
        std::fs::write(&file, bad).unwrap();
        gauge(0.0);
        assert_eq!(status(&gateway, &b), 200, "the last good one stays: {bad}");
        std::fs::write(&file, &good).unwrap();
        gauge(1.0);
    }
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    gauge(0.0);
    assert_eq!(status(&gateway, &b), 200);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    gauge(1.0);
    std::fs::remove_file(&file).unwrap();
    gauge(0.0);
    private(&file, &revoke(&good, &a));
    gauge(1.0);
    becomes(&gateway, &a, 401);
}

#[test]
fn a_truncated_file_does_not_lock_everyone_out_but_marks_count() {
    let (_crm, gateway, [a, b, c]) = three();
    let file = gateway.keys_file();
    std::fs::write(&file, revoke(&a.block, &a)).unwrap();
    becomes(&gateway, &a, 401);
    assert_eq!(gateway.metric("sidelock_last_reload_successful"), 0.0);
    assert_eq!((status(&gateway, &b), status(&gateway, &c)), (200, 200), "two of three may not vanish");

    std::fs::write(&file, format!("confirm_drop_to = 1\n{}", a.block)).unwrap();
    becomes(&gateway, &b, 401);
    assert_eq!(status(&gateway, &a), 200);
}

#[test]
fn the_configuration_reloads_too() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    assert_eq!(gateway.post("/api/x", &[&key.header()], "").status, 403);
    let file = gateway.config_file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("GET /api/**", "GET,POST /api/**")).unwrap();
    eventually("the scope is wider", || {
        (gateway.post("/api/x", &[&key.header()], "").status == 200).then_some(())
    });
    std::fs::write(&file, "nonsense").unwrap();
    eventually("it is refused", || (gateway.metric("sidelock_last_reload_successful") == 0.0).then_some(()));
    assert_eq!(gateway.post("/api/x", &[&key.header()], "").status, 200);
}
