//! What a signature holds together, and what it refuses.

#![allow(clippy::unwrap_used)]

use super::*;
use expect_test::expect;
use proptest::prelude::*;

fn signer(byte: u8) -> Signer {
    Signer::from_random([byte; 32]).unwrap()
}

const HEADERS: [(&str, &str); 3] =
    [("ce-id", "k-recovery-0-7-0"), ("ce-type", "homeostat.command.cache.warm"), ("content-type", "application/json")];
const SUBJECT: &str = "homeostat.v1.command.cache.warm.shop";
const BODY: &[u8] = br#"{"id":"k-recovery-0-7-0"}"#;

fn with<'a>(headers: &[(&'a str, &'a str)], value: &'a str) -> Vec<(&'a str, &'a str)> {
    headers.iter().copied().chain([(HEADER, value)]).collect()
}

/// The vector by which a client in another language knows that it does the same: see `docs/nats.md`.
#[test]
fn the_canonical_form_and_its_signature_stay_as_they_are() {
    let signed = Signed::of(SUBJECT, HEADERS, BODY);
    let hex: String = signed.canonical().iter().map(|byte| format!("{byte:02x}")).collect();
    expect![[r#"686f6d656f737461742d7369676e61747572652f310a0000000000000024686f6d656f737461742e76312e636f6d6d616e642e63616368652e7761726d2e73686f70"#]]
        .assert_eq(&hex[..2 * (22 + 8 + SUBJECT.len())]);
    expect!["UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF.LbJ7-RFZEBV5SP_YD4fx_4_uZdDtaBdF61w6Cgpek7KrNdIGUIRJZ7PvKOmrRxauEB9vJX-Y4WhDZ9-I9wODCg"].assert_eq(&signer(7).sign(&signed).unwrap());
}

#[test]
fn what_was_signed_is_good_and_another_signer_is_not_trusted() {
    let (ours, next) = (signer(1), signer(2));
    let value = ours.sign(&Signed::of(SUBJECT, HEADERS, BODY)).unwrap();
    let headers = with(&HEADERS, &value);
    let message = Signed::of(SUBJECT, headers.iter().copied(), BODY);
    let trusted = |keys: &[&Signer]| Signers::new(keys.iter().map(|key| key.public())).unwrap();
    assert_eq!(trusted(&[&ours]).verify(&message), Verdict::Good(ours.public().to_owned()));
    // While a key is replaced both are trusted.
    assert!(trusted(&[&next, &ours]).verify(&message).is_good());
    assert_eq!(trusted(&[&next]).verify(&message), Verdict::Untrusted(ours.public().to_owned()));
    assert_eq!(Signers::default().verify(&message).word(), "untrusted");
    assert_eq!(trusted(&[&ours]).verify(&Signed::of(SUBJECT, HEADERS, BODY)), Verdict::Unsigned);
}

#[test]
fn nothing_that_is_signed_can_be_changed_moved_added_or_left_out() {
    let ours = signer(1);
    let trusted = Signers::new([ours.public()]).unwrap();
    let value = ours.sign(&Signed::of(SUBJECT, HEADERS, BODY)).unwrap();
    let verdict = |subject, headers: &[(&str, &str)], body| {
        let headers = with(headers, &value);
        trusted.verify(&Signed::of(subject, headers.iter().copied(), body)).word()
    };
    assert_eq!(verdict(SUBJECT, &HEADERS, BODY), "good");
    assert_eq!(verdict("homeostat.v1.command.cache.warm.till", &HEADERS, BODY), "forged");
    assert_eq!(verdict(SUBJECT, &HEADERS, br#"{"id":"k-recovery-0-7-1"}"#), "forged");
    for at in 0..HEADERS.len() {
        let mut less = HEADERS.to_vec();
        less.remove(at);
        assert_eq!(verdict(SUBJECT, &less, BODY), "forged", "without {}", HEADERS[at].0);
        let mut other = HEADERS;
        other[at].1 = "other";
        assert_eq!(verdict(SUBJECT, &other, BODY), "forged", "another {}", HEADERS[at].0);
        for twice in ["ce-id", "CE-ID", "Content-Type"] {
            let mut more = HEADERS.to_vec();
            more.push((twice, "other"));
            assert_eq!(verdict(SUBJECT, &more, BODY), "malformed", "{twice} twice");
        }
    }
    for name in SIGNED.iter().filter(|name| HEADERS.iter().all(|(there, _)| there != *name)) {
        let mut more = HEADERS.to_vec();
        more.push((name, ""));
        assert_eq!(verdict(SUBJECT, &more, BODY), "forged", "an empty {name} is not an absent one");
    }
    // What is not signed may be there: a stream adds headers of its own.
    let mut sourced = HEADERS.to_vec();
    sourced.push(("Nats-Stream-Source", "homeostat 7"));
    assert_eq!(verdict(SUBJECT, &sourced, BODY), "good");
}

#[test]
fn the_end_of_one_part_is_not_the_beginning_of_the_next() {
    let forms = [
        Signed::of("a", [("ce-id", "bc")], b"d").canonical(),
        Signed::of("ab", [("ce-id", "c")], b"d").canonical(),
        Signed::of("a", [("ce-source", "bc")], b"d").canonical(),
        Signed::of("a", [("ce-id", "b")], b"cd").canonical(),
        Signed::of("a", [("ce-id", "b"), ("ce-source", "c")], b"d").canonical(),
        Signed::of("a", [], b"bcd").canonical(),
        Signed::of("", [], b"abcd").canonical(),
    ];
    for (at, one) in forms.iter().enumerate() {
        assert!(forms.iter().skip(at + 1).all(|other| one != other), "{at}");
    }
}

#[test]
fn blanks_at_the_ends_of_a_header_are_lost_on_the_way_and_do_not_count() {
    let one = Signed::of("a", [("ce-subject", " shop ")], b"").canonical();
    assert_eq!(one, Signed::of("a", [("CE-Subject", "shop")], b"").canonical());
}

#[test]
fn what_is_no_signature_is_malformed_and_costs_nothing() {
    let ours = signer(1);
    let trusted = Signers::new([ours.public()]).unwrap();
    let good = ours.sign(&Signed::of(SUBJECT, HEADERS, BODY)).unwrap();
    let (key, signature) = good.split_once('.').unwrap();
    let long = "A".repeat(100_000);
    for value in [
        "",
        ".",
        key,
        signature,
        &format!("{key}."),
        &format!("{key}.{signature}A"),
        &format!("{key}.{signature}="),
        &format!(".{signature}"),
        &format!("{}.{signature}", key.to_lowercase()),
        &format!("ü.{signature}"),
        &long,
    ] {
        let headers = with(&HEADERS, value);
        assert_eq!(trusted.verify(&Signed::of(SUBJECT, headers.iter().copied(), BODY)), Verdict::Malformed, "{value:.80}");
    }
    let twice = [(HEADER, good.as_str()), ("Homeostat-Signature", good.as_str())];
    assert_eq!(trusted.verify(&Signed::of(SUBJECT, twice, BODY)), Verdict::Malformed);
}

#[test]
fn only_keys_of_users_sign_and_a_wrong_one_is_not_repeated() {
    let ours = signer(1);
    let seed = ours.seed().unwrap();
    assert_eq!(Signer::from_seed(&seed).unwrap().public(), ours.public());
    assert!(!format!("{ours:?}").contains(&seed));
    let account = nkeys::KeyPair::new_from_raw(nkeys::KeyPairType::Account, [3; 32]).unwrap();
    assert_eq!(Signer::from_seed(&account.seed().unwrap()).unwrap_err(), SignerError::Seed);
    assert_eq!(Signers::new([account.public_key().as_str()]).unwrap_err(), SignerError::Public);
    for wrong in ["", "U", seed.as_str(), &"ü".repeat(28), &"U".repeat(56)] {
        let error = Signers::new([wrong]).unwrap_err();
        assert_eq!(error, SignerError::Public);
        assert!(Signer::from_seed(&wrong.replace('S', "T")).is_err());
    }
    let many: Vec<String> = (0..=SIGNERS_MAX).map(|n| signer(n as u8).public().to_owned()).collect();
    assert_eq!(Signers::new(many.iter().map(String::as_str)).unwrap_err(), SignerError::Many);
    assert_eq!(Signers::new([ours.public(), ours.public()]).unwrap().public().count(), 1);
}

proptest! {
    #[test]
    fn no_header_makes_the_reader_panic(value in "\\PC{0,200}", name in "\\PC{0,30}") {
        let trusted = Signers::new([signer(1).public()]).unwrap();
        let _ = trusted.verify(&Signed::of(SUBJECT, [(HEADER, value.as_str()), (name.as_str(), "x")], BODY));
    }

    #[test]
    fn one_other_byte_anywhere_is_seen(at in 0usize..64, bit in 0u8..8) {
        let ours = signer(1);
        let trusted = Signers::new([ours.public()]).unwrap();
        let body = [7u8; 64];
        let value = ours.sign(&Signed::of(SUBJECT, HEADERS, &body)).unwrap();
        let headers = with(&HEADERS, &value);
        let mut other = body;
        other[at] ^= 1 << bit;
        prop_assert!(trusted.verify(&Signed::of(SUBJECT, headers.iter().copied(), &body)).is_good());
        prop_assert_eq!(trusted.verify(&Signed::of(SUBJECT, headers.iter().copied(), &other)).word(), "forged");
    }
}
