//! `homeostat heap`.

use super::{code, lines, run, stderr, stdout};
use serde_json::json;
use std::path::Path;

#[test]
fn two_heap_profiles_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/heap");
    let file = |name: &str| data.join(name).display().to_string();
    let (before, after) = (file("before.heapsnapshot.gz"), file("after.heapsnapshot.gz"));
    let diff = lines(&run(dir.path(), &["heap", "diff", &before, &after, "--json", "--top", "2"], "")).remove(0);
    assert_eq!((&diff["format"], diff["rows"].as_array().unwrap().len()), (&json!("v8"), 2));
    assert_eq!((&diff["rows"][0]["name"], &diff["rows"][0]["growth"]["count"]), (&json!("function onEvent"), &json!(2000)));
    let table = stdout(&run(dir.path(), &["heap", "diff", &before, &after, "--top", "2"], ""));
    assert!(table.contains("+80.0 KB") && table.contains("Listener") && table.contains("more; --top N"), "{table}");
    let output = run(dir.path(), &["heap", "diff", &before, &file("after.pb.gz")], "");
    assert!(code(&output) == 1 && stderr(&output).contains("cannot be compared: the first is a V8 heap snapshot"), "{}", stderr(&output));
    std::fs::write(dir.path().join("cut"), &std::fs::read(&before).unwrap()[..9_000]).unwrap();
    let output = run(dir.path(), &["heap", "diff", "cut", &after], "");
    assert!(code(&output) == 1 && stderr(&output).contains("cut off at byte"), "{}", stderr(&output));
}
