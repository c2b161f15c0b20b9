//! The tokens that nats-server asks with and takes for an answer: JWT with the algorithm `ed25519-nkey` (NATS JWT v2), whose issuer is
//! the key that signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::{KeyPair, KeyPairType};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The only algorithm there is; nothing is chosen by who sends.
const ALGORITHM: &str = "ed25519-nkey";
const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// What every token says, and what this kind of it says below `nats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims<T> {
    /// One of a kind.
    #[serde(default)]
    pub(super) jti: String,
    /// When it was issued, seconds since 1970.
    #[serde(default)]
    pub(super) iat: u64,
    /// From when on it counts no more, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) exp: Option<u64>,
    /// The public key that signed.
    #[serde(default)]
    pub(super) iss: String,
    /// Whom it is about.
    pub(super) sub: String,
    /// Whom it is for.
    #[serde(default)]
    pub(super) aud: String,
    /// A name for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    /// The rest.
    pub(super) nats: T,
}

#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: String,
}

/// Signs; the issuer becomes the key that signs. Nothing when that is impossible, which does not happen with a seed.
pub(super) fn sign<T: Serialize>(mut claims: Claims<T>, key: &KeyPair) -> Option<String> {
    claims.iss = key.public_key();
    let claims = serde_json::to_vec(&claims).ok()?;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(signed.as_bytes()).ok()?;
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// What a token says, if its issuer is a key of this kind and has signed it. Why not, otherwise.
pub(super) fn verified<T: DeserializeOwned>(token: &str, kind: &KeyPairType) -> Result<Claims<T>, &'static str> {
    let (signed, signature) = token.rsplit_once('.').ok_or("it is no token")?;
    let (header, claims) = signed.split_once('.').ok_or("it is no token")?;
    let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "it is no base64");
    let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| "its header cannot be read")?;
    if header.alg != ALGORITHM || !header.typ.eq_ignore_ascii_case("jwt") {
        return Err("its algorithm is another");
    }
    let claims: Claims<T> = serde_json::from_slice(&decoded(claims)?).map_err(|_| "its claims cannot be read")?;
    let issuer = KeyPair::from_public_key(&claims.iss).ok().filter(|key| key.key_pair_type() == *kind);
    let issuer = issuer.ok_or("its issuer is of another kind")?;
    issuer.verify(signed.as_bytes(), &decoded(signature)?).map_err(|_| "its signature is not its issuer's")?;
    Ok(claims)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn claims() -> Claims<Value> {
        Claims {
            jti: "1".to_owned(),
            iat: 7,
            exp: Some(9),
            iss: String::new(),
            sub: "U".to_owned(),
            aud: "A".to_owned(),
            name: String::new(),
            nats: json!({ "type": "user" }),
        }
    }

    #[test]
    fn what_is_signed_is_verified_and_nothing_else_is() {
        let key = KeyPair::new_server();
        let token = sign(claims(), &key).unwrap();
        let read: Claims<Value> = verified(&token, &KeyPairType::Server).unwrap();
        assert_eq!(read, Claims { iss: key.public_key(), ..claims() });
        assert!(verified::<Value>(&token, &KeyPairType::Account).is_err());
        // Another's claims under this signature, another algorithm, no signature.
        let (head, rest) = token.split_once('.').unwrap();
        let signature = rest.split_once('.').unwrap().1;
        let forged =
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Claims { aud: "B".to_owned(), iss: key.public_key(), ..claims() }).unwrap());
        let none = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"none"}"#);
        for bad in [format!("{head}.{forged}.{signature}"), format!("{none}.{rest}"), token.replace(signature, ""), head.to_owned()] {
            assert!(verified::<Value>(&bad, &KeyPairType::Server).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,300}") {
            prop_assert!(verified::<Value>(&text, &KeyPairType::Server).is_err());
        }
    }
}
