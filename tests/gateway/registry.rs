//! `/api/v1/keys` over HTTP, with real keys: from the first one to the last.

use super::client::Answer;
use super::house::House;
use super::{JSON, assert_problem};
use homeostat_schemas::Scope;
use serde_json::{Value, json};

/// Asks with a key, each time on a connection of its own: one whose body was not read is closed.
fn get(house: &House, path: &str, key: &str) -> Answer {
    house.client().get(path, &[("authorization", &format!("Bearer {key}"))])
}

/// Asks for something with a key.
fn post(house: &House, path: &str, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    house.client().post(path, &[("authorization", bearer.as_str()), JSON], body.to_string().as_bytes())
}

#[test]
fn a_key_is_made_used_rotated_and_taken_back() {
    let house = House::with_registry();
    let keys = house.registry.clone().unwrap();
    assert_problem(&house.client().get("/api/v1/keys", &[]), 401);
    let first = house.runtime.block_on(homeostat::keys::bootstrap(&keys.records)).unwrap();
    let first = first.text.expose();
    let all: Vec<&str> = Scope::ALL.iter().map(|scope| scope.name()).collect();
    let made = post(&house, "/api/v1/keys", first, &json!({ "owner": "ann", "scopes": all }));
    assert_eq!(made.status, 201, "{}", made.text());
    let admin = made.json()["key"].as_str().unwrap().to_owned();
    // Once.
    assert_problem(&post(&house, "/api/v1/keys", first, &json!({ "owner": "ann", "scopes": all })), 401);

    let shop = json!({ "owner": "shop", "scopes": ["metrics", "keys:admin"], "labels": { "team": "payments" } });
    let made = post(&house, "/api/v1/keys", &admin, &shop).json();
    let (id, old) = (made["record"]["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned());
    assert_eq!(get(&house, "/metrics", &old).status, 200);
    assert_problem(&get(&house, "/api/v1/status", &old), 403);
    // It administers keys, but none that may more than itself.
    assert_problem(&post(&house, "/api/v1/keys", &old, &json!({ "owner": "x", "scopes": ["status:read"] })), 403);
    assert_eq!(post(&house, "/api/v1/keys", &old, &json!({ "owner": "x", "scopes": ["metrics"] })).status, 201);
    let ann = get(&house, "/api/v1/keys?owner=ann", &admin).json()[0]["record"]["id"].as_str().unwrap().to_owned();
    assert_problem(&post(&house, &format!("/api/v1/keys/{ann}/rotate"), &old, &json!({})), 403);

    let rotate = format!("/api/v1/keys/{id}/rotate");
    let new = post(&house, &rotate, &admin, &json!({ "expected": 1 })).json()["key"].as_str().unwrap().to_owned();
    assert_problem(&post(&house, &rotate, &admin, &json!({ "expected": 1 })), 409);
    assert_eq!([&old, &new].map(|key| get(&house, "/metrics", key).status), [200, 200]);
    house.runtime.block_on(keys.usage.flush(&keys.records)).unwrap();
    let shown = get(&house, &format!("/api/v1/keys/{id}"), &admin).json();
    assert_eq!(shown["record"]["versions"][0]["state"], "grace");
    assert_eq!(shown["usage"][0]["source"], "127.0.0.1");

    let listed = get(&house, "/api/v1/keys", &admin).text();
    for key in [&admin, &old, &new] {
        assert!(!listed.contains(key.as_str()) && !listed.contains("argon2"));
    }
    let revoked = post(&house, &format!("/api/v1/keys/{id}/revoke"), &admin, &json!({ "compromised": true }));
    assert_eq!((revoked.status, &revoked.json()["state"]), (200, &json!("revoked")));
    for key in [&old, &new] {
        assert_problem(&get(&house, "/metrics", key), 401);
    }
    assert_problem(&post(&house, &rotate, &admin, &json!({})), 409);
}

#[test]
fn what_becomes_of_keys_is_counted_for_operators() {
    let house = House::with_registry();
    let keys = house.registry.clone().unwrap();
    let made = homeostat::keys::NewKey { owner: "ann".to_owned(), scopes: [Scope::Metrics].into(), ..Default::default() };
    let made = house.runtime.block_on(keys.records.create(made, &homeostat::keys::Actor::local("test"))).unwrap();
    let key = made.text.expose();
    assert_problem(&get(&house, "/metrics", "hst_live_junk"), 401);
    assert_eq!(get(&house, "/metrics", key).status, 200);
    let text = get(&house, "/metrics", key).text();
    for line in [
        "homeostat_key_verifications_total{result=\"cold\"} 1",
        "homeostat_key_verifications_total{result=\"hot\"} 1",
        "homeostat_key_verifications_total{result=\"malformed\"} 1",
        "homeostat_key_verifications_total{result=\"wrong\"} 0",
        // One to make it, one to know it.
        "homeostat_key_argon2_runs_total 2",
    ] {
        assert!(text.lines().any(|written| written == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn what_cannot_be_asked_says_why_and_nothing_of_the_inside() {
    let house = House::with_registry();
    let keys = house.registry.clone().unwrap();
    let admin = homeostat::keys::NewKey { owner: "ann".to_owned(), scopes: Scope::ALL.iter().copied().collect(), ..Default::default() };
    let admin = house.runtime.block_on(keys.records.create(admin, &homeostat::keys::Actor::local("test"))).unwrap();
    let admin = admin.text.expose();
    for (body, status) in [
        (json!({ "owner": "shop" }), 422),
        (json!({ "owner": "shop", "scopes": ["root"] }), 422),
        (json!({ "owner": "shop", "scopes": ["metrics"], "secret": "x" }), 422),
        (json!({ "owner": "shop", "scopes": [] }), 422),
        (json!({ "owner": "", "scopes": ["metrics"] }), 422),
        (json!({ "owner": "x".repeat(65), "scopes": ["metrics"] }), 422),
        (json!({ "owner": "a\r\nb", "scopes": ["metrics"] }), 422),
        (json!({ "owner": "shop", "scopes": ["metrics"], "expires_ms": 1 }), 422),
        (json!({ "owner": "shop", "scopes": ["metrics"], "labels": { "homeostat.bootstrap": "1" } }), 422),
        (json!({ "owner": "shop", "scopes": ["metrics"], "recipient": "X" }), 422),
        (
            json!({ "owner": "shop", "scopes": ["metrics"], "hash": "$argon2id$v=19$m=4294967295,t=9,p=9$c29tZXNhbHQ$aaaaaaaaaaaaaaaaaaaaaa" }),
            422,
        ),
    ] {
        assert_problem(&post(&house, "/api/v1/keys", admin, &body), status);
    }
    for path in ["/api/v1/keys/nothing", "/api/v1/keys/aaaaaaaaaaaa", "/api/v1/keys/%00"] {
        assert_problem(&get(&house, path, admin), 404);
    }
    assert_problem(&post(&house, "/api/v1/keys/aaaaaaaaaaaa/revoke", admin, &json!({})), 404);
    assert_problem(&get(&house, "/api/v1/keys?limit=0", admin), 400);
    let imported = json!({ "owner": "old", "scopes": ["metrics"], "hash": "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4" });
    let imported = post(&house, "/api/v1/keys", admin, &imported).json();
    assert!(imported.get("key").is_none());
    let shown = format!("{}password", imported["prefix"].as_str().unwrap());
    assert_eq!(get(&house, "/metrics", &shown).status, 200);
}
