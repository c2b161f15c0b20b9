//! The walls of the house: who may depend on whom, and what the pure packages must not know.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Package → the packages of this workspace it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("homeostat-schemas", &[]),
    ("homeostat-reflexes", &["homeostat-schemas"]),
    ("homeostat-actors", &["homeostat-schemas", "homeostat-reflexes"]),
    ("homeostat-nats", &["homeostat-schemas"]),
    ("homeostat-client", &["homeostat-schemas", "homeostat-reflexes"]),
    ("homeostat", &["homeostat-schemas", "homeostat-reflexes", "homeostat-actors", "homeostat-nats"]),
];

/// Packages without clock, I/O, threads and chance.
const PURE: &[&str] = &["homeostat-schemas", "homeostat-reflexes", "homeostat-actors"];

/// What a pure package must not reach, by whatever way.
const IMPURE: &[&str] =
    &["tokio", "async-nats", "actix", "actix-rt", "actix-web", "sqlx", "reqwest", "hyper", "mio", "socket2", "rand", "getrandom"];

/// The machine that this was built on: other platforms have packages that nobody downloaded.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc says its version");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc says its host").to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &host()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// Package name → names of its normal dependencies (not those of tests and build scripts).
fn dependencies(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let name_of: BTreeMap<&str, &str> =
        metadata["packages"].as_array().unwrap().iter().map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap())).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in nodes {
        let normal = |dep: &&Value| dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
        let deps = node["deps"].as_array().unwrap().iter().filter(normal).map(|dep| name_of[dep["pkg"].as_str().unwrap()].to_owned());
        all.entry(name_of[node["id"].as_str().unwrap()].to_owned()).or_default().extend(deps);
    }
    all
}

#[test]
fn arrows_point_one_way() {
    let dependencies = dependencies(&metadata());
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in ARROWS {
        let found: BTreeSet<&str> = dependencies[*name].iter().map(String::as_str).filter(|dep| ours.contains(dep)).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(found.is_subset(&allowed), "{name} depends on {:?}", found.difference(&allowed));
    }
}

#[test]
fn every_package_of_the_workspace_has_its_place() {
    let metadata = metadata();
    let members: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|id| metadata["packages"].as_array().unwrap().iter().find(|p| p["id"] == *id).and_then(|p| p["name"].as_str()))
        .collect();
    assert_eq!(members, ARROWS.iter().map(|(name, _)| *name).collect());
}

/// Everything a package is built from. Asked of `cargo tree`, because the metadata name a dependency of a dependency that no feature
/// switches on (`rand?/std`).
fn reached(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn pure_packages_reach_nothing_impure() {
    for package in PURE {
        let reached = reached(package);
        assert!(reached.contains("serde"), "cargo tree says little of {package}: {reached:?}");
        let impure: Vec<_> = IMPURE.iter().filter(|name| reached.contains(**name)).collect();
        assert!(impure.is_empty(), "{package} reaches {impure:?}");
    }
}

#[test]
fn pure_packages_forbid_clocks_maps_threads_and_environment() {
    for package in ["reflexes", "actors"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(package).join("clippy.toml");
        let text = std::fs::read_to_string(&path).expect("a pure package has its own clippy.toml");
        for word in
            ["std::time::Instant::now", "std::time::SystemTime::now", "std::collections::HashMap", "std::thread::spawn", "std::env::var"]
        {
            assert!(text.contains(word), "{} does not forbid {word}", path.display());
        }
    }
}

#[test]
fn every_actor_has_a_folder_of_its_name_with_its_tests() {
    for actor in homeostat::roster::NAMES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("actors/src").join(actor);
        assert!(folder.join("mod.rs").is_file(), "{} has no mod.rs", folder.display());
        assert!(folder.join("tests.rs").is_file() || folder.join("tests").is_dir(), "{} has no tests", folder.display());
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    fn walk(dir: &Path, missing: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, missing);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let is_test = path.to_string_lossy().contains("/tests");
                if !is_test && !text.starts_with("//!") {
                    missing.push(path.display().to_string());
                }
            }
        }
    }
    let mut missing = Vec::new();
    for folder in ["schemas/src", "reflexes/src", "actors/src", "nats/src", "src", "clients/rust/src"] {
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut missing);
    }
    assert!(missing.is_empty(), "no module documentation in {missing:?}");
}
