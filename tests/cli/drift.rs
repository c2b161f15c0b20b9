//! `homeostat drift …`

use super::*;

/// A sample of the reference vectors as a file.
fn file(dir: &Path, name: &str, values: &Value) -> String {
    let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let lines: Vec<String> = match values {
        Value::Array(values) => values.iter().map(cell).collect(),
        Value::Object(counts) => {
            let level = |(level, n): (&String, &Value)| vec![level.clone(); usize::try_from(n.as_u64().unwrap()).unwrap()];
            counts.iter().flat_map(level).collect()
        }
        _ => panic!("{values}"),
    };
    std::fs::write(dir.join(name), lines.join("\n") + "\n").unwrap();
    name.to_owned()
}

#[test]
fn the_reference_vectors_come_out_of_the_command_as_out_of_scipy() {
    let dir = tempfile::tempdir().unwrap();
    let vectors: Value = serde_json::from_str(include_str!("../../actors/tests/data/drift/vectors.json")).unwrap();
    for vector in vectors["vectors"].as_array().unwrap() {
        let (input, expected) = (&vector["input"], &vector["expected"]);
        let part = |numbers: &str, counts: &str| input.get(numbers).unwrap_or(&input[counts]).clone();
        let baseline = file(dir.path(), "baseline", &part("ref", "ref_counts"));
        let current = file(dir.path(), "current", &part("cur", "cur_counts"));
        let output = run(dir.path(), &["drift", "compare", &baseline, &current, "--json"], "");
        let [row] = lines(&output).try_into().unwrap_or_else(|rows| panic!("{rows:?} {}", stderr(&output)));
        let near = |found: &Value, wanted: &Value, by: f64| {
            let (found, wanted) = (found.as_f64().unwrap(), wanted.as_f64().unwrap());
            assert!((found - wanted).abs() <= by.max(by * wanted.abs()), "{}: {found} instead of {wanted}", vector["id"]);
        };
        if vector["kind"] == "categorical" {
            near(&row["chi2"]["p"], &expected["scipy_chi2_contingency"]["pvalue"], 1e-12);
            near(&row["psi"]["value"], &expected["psi_halfcount"], 1e-9);
            assert_eq!((row["n_baseline"].as_u64(), &row["ks"]), (Some(1000), &Value::Null));
            continue;
        }
        let scipy = expected.get("scipy_ks_auto_finite_only").unwrap_or(&expected["scipy_ks_auto"]);
        near(&row["ks"]["d"], &scipy["statistic"], 1e-12);
        near(&row["ks"]["p"], &scipy["pvalue"], 1e-9);
        near(&row["psi"]["value"], &expected["quantile10"]["psi_halfcount"], 1e-9);
        assert_eq!((&row["n_baseline"], &row["n_current"]), (&expected["n_ref"], &expected["n_cur"]));
    }
}

#[test]
fn files_of_many_features_are_a_table_and_check_says_three() {
    let dir = tempfile::tempdir().unwrap();
    let row = |i: u32, shift: u32| format!("{},{},same,{}\n", i % 97 + shift, if (i + shift).is_multiple_of(3) { "a" } else { "b" }, i);
    let all = |shift: u32, header: &str| (0..400).fold(header.to_owned(), |text, i| text + &row(i, shift));
    std::fs::write(dir.path().join("old.csv"), all(0, "price,kind,constant,gone\n")).unwrap();
    let new = all(40, "price,kind,constant,new\n");
    let output = run(dir.path(), &["drift", "compare", "old.csv", "-", "--check"], &new);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let text = stdout(&output);
    let verdict = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().rsplit(' ').next().unwrap().to_owned();
    let found = ["price", "kind", "constant", "gone", "new"].map(verdict);
    assert_eq!(found, ["significant", "none", "none", "insufficient", "insufficient"], "{text}");
    assert!(stderr(&output).contains("only in the baseline"));
    let same = run(dir.path(), &["drift", "compare", "old.csv", "old.csv", "--check"], "");
    assert_eq!(code(&same), 0, "{}", stdout(&same));
    let one = run(dir.path(), &["drift", "compare", "old.csv", "-", "--feature", "kind", "--json"], &new);
    assert_eq!(lines(&one).len(), 1);
    let typo = run(dir.path(), &["drift", "compare", "old.csv", "-", "--feature", "kinds"], &new);
    assert!(code(&typo) == 1 && stderr(&typo).contains("kinds"));
}

#[test]
fn the_compatible_rule_calls_thirty_values_what_the_guarded_leaves_open() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = |from: u32| (0..30).fold(String::new(), |text, i| text + &format!("{}\n", (i * 7 + from) % 30 + from));
    std::fs::write(dir.path().join("a"), numbers(0)).unwrap();
    std::fs::write(dir.path().join("b"), numbers(6)).unwrap();
    let verdict = |more: &[&str]| {
        let output = run(dir.path(), &[&["drift", "compare", "a", "b", "--json"], more].concat(), "");
        lines(&output)[0]["verdict"].clone()
    };
    assert_eq!(verdict(&[]), "insufficient");
    assert_eq!(verdict(&["--set", "actors.drift.rule=compatible"]), "significant");
}

#[test]
fn empty_files_and_sides_are_insufficient_and_not_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("header"), "x\n").unwrap();
    std::fs::write(dir.path().join("numbers"), "x\n1\n2\n").unwrap();
    let output = run(dir.path(), &["drift", "compare", "header", "numbers", "--json"], "");
    let row = &lines(&output)[0];
    assert_eq!((code(&output), row["n_baseline"].as_u64(), &row["ks"], &row["psi"]), (0, Some(0), &Value::Null, &Value::Null));
    assert_eq!(row["verdict"], "insufficient");
    let missing = run(dir.path(), &["drift", "compare", "nowhere", "numbers"], "");
    assert!(code(&missing) == 1 && stderr(&missing).contains("nowhere"));
    let twice = run(dir.path(), &["drift", "compare", "-", "-"], "1\n");
    assert_eq!(code(&twice), 1);
}

#[test]
fn history_becomes_a_baseline_that_the_mind_takes() {
    let dir = tempfile::tempdir().unwrap();
    let history =
        (0..2_000).fold("at,price\n".to_owned(), |text, i| text + &format!("2026-01-{:02} 10:00:00,{}\n", i / 100 + 1, i * 31 % 100));
    std::fs::write(dir.path().join("history.csv"), history).unwrap();
    let arguments = ["drift", "baseline", "history.csv", "--service", "shop", "--model", "m", "--time", "at", "--print"];
    let output = run(dir.path(), &arguments, "");
    let mut events = stdout(&output);
    assert_eq!(events.lines().count(), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("price: 2000 values in 20 windows"), "{}", stderr(&output));
    // Days of what it has seen, and one of what it has not.
    let order: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    let begin = order["at_ms"].as_u64().unwrap() / 86_400_000 * 86_400_000 + 86_400_000;
    for day in 0..3_u64 {
        let shift = if day == 2 { 60 } else { 0 };
        let values: Vec<u64> = (0..300).map(|i| i * 31 % 100 + shift).collect();
        let event = json!({"kind": "sample", "service": "shop", "at_ms": begin + day * 86_400_000 + 1_000, "model": "m", "feature": "price", "values": values});
        events += &format!("{event}\n");
    }
    let output = run(dir.path(), &["replay", "-"], &events);
    let alerts = lines(&output);
    assert!(
        alerts.iter().any(|alert| alert["rule"] == "drift.shifted" && alert["labels"]["feature"] == "price"),
        "{alerts:?} {}",
        stderr(&output)
    );
    // A command has been issued, an alert has been decided.
    let when = |line: &Value| line["at_ms"].as_u64().or(line["issued_ms"].as_u64()).unwrap();
    assert!(alerts.iter().all(|line| when(line) > begin + 2 * 86_400_000), "{alerts:?}");
}
