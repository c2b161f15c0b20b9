#![allow(clippy::unwrap_used)]
use super::*;
use crate::accounts::Permissions;
use proptest::prelude::*;
use std::collections::BTreeSet;

const NOW: UnixMs = 1_800_000_000_000;

struct Bus {
    desk: Desk,
    xkey: XKey,
    server: KeyPair,
    server_xkey: XKey,
    user: KeyPair,
}

impl Bus {
    fn new() -> Bus {
        let xkey = XKey::new();
        Bus {
            desk: Desk::new(KeyPair::new_account(), xkey.clone()),
            xkey,
            server: KeyPair::new_server(),
            server_xkey: XKey::new(),
            user: KeyPair::new_user(),
        }
    }

    fn asked(&self) -> Claims<Value> {
        Claims {
            jti: "x".to_owned(),
            iat: NOW / 1_000,
            exp: Some(NOW / 1_000 + 2),
            iss: String::new(),
            sub: self.desk.issuer_public.clone(),
            aud: AUDIENCE.to_owned(),
            name: String::new(),
            nats: json!({
                "type": "authorization_request", "version": 2,
                "server_id": { "name": "n", "host": "h", "id": self.server.public_key(), "xkey": self.server_xkey.public_key() },
                "user_nkey": self.user.public_key(),
                "client_info": { "host": "10.0.0.7", "id": 5 },
                "connect_opts": { "auth_token": "hst_live_x", "protocol": 1 },
            }),
        }
    }

    fn read(&self, claims: Claims<Value>) -> Result<Question, &'static str> {
        self.read_from(claims, &self.server, &self.server_xkey)
    }

    fn read_from(&self, claims: Claims<Value>, server: &KeyPair, xkey: &XKey) -> Result<Question, &'static str> {
        let sealed = xkey.seal(jwt::sign(claims, server).unwrap().as_bytes(), &self.xkey).unwrap();
        self.desk.read(Some(&xkey.public_key()), &sealed, NOW)
    }
}

#[test]
fn a_question_of_a_server_is_read() {
    let bus = Bus::new();
    let question = bus.read(bus.asked()).unwrap();
    assert_eq!(question.server, bus.server.public_key());
    assert_eq!(question.key.unwrap().expose(), "hst_live_x");
    assert_eq!((question.name, question.source), (None, Some("10.0.0.7".parse().unwrap())));
    let mut asked = bus.asked();
    asked.nats["connect_opts"] = json!({ "user": "shop", "pass": "hst_live_y" });
    let question = bus.read(asked).unwrap();
    assert_eq!((question.name.as_deref(), question.key.as_ref().map(KeyText::expose)), (Some("shop"), Some("hst_live_y")));
    let mut asked = bus.asked();
    asked.nats["connect_opts"] = json!({});
    assert!(bus.read(asked).unwrap().key.is_none());
}

#[test]
fn whatever_is_forged_about_a_question_it_is_none() {
    let bus = Bus::new();
    let not = |change: &dyn Fn(&mut Claims<Value>), why: &str| {
        let mut claims = bus.asked();
        change(&mut claims);
        let error = bus.read(claims).unwrap_err();
        assert!(error.contains(why), "{error}: {why}");
    };
    not(&|claims| claims.aud = "x".to_owned(), "no question");
    not(&|claims| claims.nats["type"] = json!("user"), "no question");
    not(&|claims| claims.sub = KeyPair::new_account().public_key(), "another issuer");
    not(&|claims| claims.exp = Some(NOW / 1_000), "over");
    not(&|claims| claims.exp = None, "over");
    not(&|claims| claims.nats["server_id"]["id"] = json!(KeyPair::new_server().public_key()), "not the server");
    not(&|claims| claims.nats["server_id"]["xkey"] = json!(XKey::new().public_key()), "another than the server");
    not(&|claims| claims.nats["user_nkey"] = json!(KeyPair::new_account().public_key()), "no user nkey");
    not(&|claims| claims.nats["user_nkey"] = json!("U"), "no user nkey");
    not(&|claims| claims.nats = json!(7), "claims");
    // Signed by another kind of key; sealed by another; not sealed at all; too long.
    assert!(bus.read_from(bus.asked(), &KeyPair::new_user(), &bus.server_xkey).is_err());
    assert!(bus.read_from(bus.asked(), &bus.server, &XKey::new()).is_err());
    let plain = jwt::sign(bus.asked(), &bus.server).unwrap();
    assert!(bus.desk.read(None, plain.as_bytes(), NOW).unwrap_err().contains("not sealed"));
    assert!(bus.desk.read(Some(&bus.server_xkey.public_key()), plain.as_bytes(), NOW).is_err());
    assert!(bus.desk.read(Some("X"), &vec![0; REQUEST_MAX + 1], NOW).is_err());
}

#[test]
fn an_answer_is_for_one_log_in_on_one_server_and_ends_with_the_version() {
    let bus = Bus::new();
    let question = bus.read(bus.asked()).unwrap();
    let grant = Grant {
        account: "app-shop",
        permissions: Permissions {
            publish: vec!["homeostat.v1.event.*.shop".to_owned()],
            publish_deny: vec!["homeostat.v1.event.order.shop".to_owned()],
            subscribe: vec!["_INBOX_app-shop.>".to_owned()],
        },
        scopes: BTreeSet::new(),
    };
    let principal =
        |expires_ms| Principal { key: "aB3dE6gH9jK2".into(), owner: "shop".into(), scopes: BTreeSet::new(), version: 3, expires_ms };
    let opened = |answer: Vec<u8>| -> Claims<Value> {
        let text = bus.server_xkey.open(&answer, &bus.xkey).unwrap();
        jwt::verified(std::str::from_utf8(&text).unwrap(), &KeyPairType::Account).unwrap()
    };
    let answer = opened(bus.desk.admit(&question, &principal(Some(NOW + 5_000)), &grant, NOW).unwrap());
    assert_eq!((&answer.sub, &answer.aud), (&bus.user.public_key(), &bus.server.public_key()));
    assert_eq!(answer.iss, bus.desk.issuer_public);
    let user: Claims<Value> = jwt::verified(answer.nats["jwt"].as_str().unwrap(), &KeyPairType::Account).unwrap();
    assert_eq!((user.sub.as_str(), user.aud.as_str()), (bus.user.public_key().as_str(), "app-shop"));
    assert_eq!((named(&user.name), user.exp), (Some(("aB3dE6gH9jK2", 3)), Some((NOW + 5_000) / 1_000)));
    assert_eq!(user.nats["pub"], json!({ "allow": ["homeostat.v1.event.*.shop"], "deny": ["homeostat.v1.event.order.shop"] }));
    assert_eq!(user.nats["sub"], json!({ "allow": ["_INBOX_app-shop.>"] }));
    assert_eq!(bus.desk.admit(&question, &principal(Some(NOW)), &grant, NOW), None, "it has ended");
    // Who may publish nothing is not told so by an empty list, which would allow everything.
    let silent = Grant { permissions: Permissions { publish: Vec::new(), ..grant.permissions.clone() }, ..grant };
    let answer = opened(bus.desk.admit(&question, &principal(None), &silent, NOW).unwrap());
    let user: Claims<Value> = jwt::verified(answer.nats["jwt"].as_str().unwrap(), &KeyPairType::Account).unwrap();
    assert_eq!((&user.nats["pub"], user.exp), (&json!({ "deny": [">"] }), None));
    let refusal = opened(bus.desk.refuse(&question, "no", NOW).unwrap());
    assert_eq!((refusal.nats["error"].as_str(), refusal.nats.get("jwt")), (Some("no"), None));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), sender in "X[A-Z2-7]{0,60}") {
        prop_assert!(Bus::new().desk.read(Some(&sender), &bytes, NOW).is_err());
    }

    #[test]
    fn a_name_is_read_as_it_was_written(key in "[0-9A-Za-z]{12}", version in any::<u32>()) {
        let name = name(&key, version);
        prop_assert_eq!(named(&name), Some((key.as_str(), version)));
    }
}
