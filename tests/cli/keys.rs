//! `homeostat keys`, on the database itself.

use super::{code, lines, run, stderr, stdout};
use serde_json::Value;
use std::path::Path;

fn json(dir: &Path, arguments: &[&str], input: &str) -> Value {
    let output = run(dir, &[&["keys", "--local", "--json"], arguments].concat(), input);
    lines(&output).pop().unwrap_or_else(|| panic!("{arguments:?}: {}", stderr(&output)))
}

#[test]
fn a_key_goes_from_the_first_one_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let first = run(dir, &["keys", "bootstrap", "--out", "first.key"], "");
    assert_eq!(code(&first), 0, "{}", stderr(&first));
    let text = std::fs::read_to_string(dir.join("first.key")).unwrap();
    assert!(!stdout(&first).contains(text.trim()), "it is in the file and nowhere else");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        for file in ["first.key", "homeostat-data/keyring.json"] {
            assert_eq!(std::fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        }
    }
    let again = run(dir, &["keys", "bootstrap", "--out", "second.key"], "");
    assert!(code(&again) == 1 && stderr(&again).contains("can be used already"), "{}", stderr(&again));
    assert!(!dir.join("second.key").exists());

    let made =
        json(dir, &["create", "--owner", "shop", "--scope", "metrics,alerts:read", "--expires", "30d", "--label", "team=payments"], "");
    let (id, key) = (made["record"]["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(key.len(), 83);
    let verdict = json(dir, &["verify"], key);
    assert_eq!((&verdict["accepted"], &verdict["owner"], &verdict["version"]), (&true.into(), &"shop".into(), &1.into()));
    let rotated = json(dir, &["rotate", id, "--expected", "1", "--out", "new.key"], "");
    assert_eq!((&rotated["version"], &rotated["file"], rotated.get("key")), (&2.into(), &"new.key".into(), None));
    let stale = run(dir, &["keys", "--local", "rotate", id, "--expected", "1"], "");
    assert!(code(&stale) == 1 && stderr(&stale).contains("somebody else changed it"), "{}", stderr(&stale));
    assert_eq!(code(&run(dir, &["keys", "verify", "new.key"], "")), 0);
    let listed = run(dir, &["keys", "--local", "list", "--owner", "shop"], "");
    assert!(stdout(&listed).contains(id) && stdout(&listed).contains("v2") && !stdout(&listed).contains(key), "{}", stdout(&listed));
    json(dir, &["revoke", id, "--only", "1", "--compromised"], "");
    let old = json(dir, &["verify"], key);
    assert_eq!(old["accepted"], false);
    assert!(old["reason"].as_str().unwrap().contains("v1 revoked, v2 active"), "{old}");
    assert_eq!(code(&run(dir, &["keys", "verify", "new.key"], "")), 0);
    let (body, last) = key.split_at(key.len() - 1); // the checksum's last character
    let mistyped = format!("{body}{}", if last == "0" { '1' } else { '0' });
    let junk = json(dir, &["verify"], &mistyped);
    assert_eq!((&junk["accepted"], junk["reason"].as_str().unwrap().contains("it is no key")), (&false.into(), true));
    let keyring = json(dir, &["keyring", "--rotate"], "");
    assert_eq!(keyring["generations"].as_array().unwrap().len(), 2);
    assert_eq!(code(&run(dir, &["keys", "verify", "new.key"], "")), 0, "keys of the older generation stay good");
    let away = run(dir, &["keys", "--url", "http://127.0.0.1:9", "list"], "");
    assert!(code(&away) == 1 && stderr(&away).contains("--local"), "{}", stderr(&away));
}
