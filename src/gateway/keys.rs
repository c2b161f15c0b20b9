//! `/api/v1/keys`: create, look at, rotate and take back keys. A key that was drawn is in that one answer and nowhere else.

use super::Gate;
use super::api::asked;
use super::auth::{Authenticate, Caller, Refusal, Who};
use super::body;
use super::openapi::Schemas;
use super::problem::Problem;
use super::routes::Verb;
use crate::keys::ask::{ChangeRecipient, CreateKey, KeyAnswer, RevokeKey, RotateKey};
use crate::keys::records::{Actor, LIST_MAX};
use crate::keys::{Keys, KeysError, Principal};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// Which keys.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeysQuery {
    /// Those of one service.
    pub owner: Option<String>,
    /// Those behind this id; the list goes on with the last id of the one before.
    pub after: Option<String>,
    /// How many at most: 1 to 1,000.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// Whoever holds a key with the scope of the path, or sits on this machine.
fn actor(caller: &Caller) -> Actor {
    match &caller.who {
        Who::Key(principal) => Actor { name: caller.name(), scopes: Some(principal.scopes.clone()), key: Some(principal.key.clone()) },
        Who::Local | Who::Anyone => Actor::local(&caller.name()),
    }
}

fn keys(gate: &Gate) -> Result<&Keys, Problem> {
    gate.state.registry.as_ref().ok_or_else(|| Problem::unavailable("there are no keys here"))
}

fn problem(error: KeysError) -> Problem {
    match error {
        KeysError::NotFound(_) => Problem::not_found("there is no such key, or no such version"),
        KeysError::Conflict { found, .. } => {
            Problem::new(StatusCode::CONFLICT, format!("version {found} is in force: somebody else changed the key; look again"))
        }
        KeysError::State(why) => Problem::new(StatusCode::CONFLICT, why),
        KeysError::Invalid { field, why } => Problem::unprocessable(format!("{field}: {why}")),
        KeysError::Hash(why) => Problem::unprocessable(why.to_string()),
        KeysError::Wider(scope) => {
            Problem::new(StatusCode::FORBIDDEN, format!("a key cannot mint a wider one: it lacks the scope {scope}"))
        }
        error => {
            // Names places and files: for the log, not for the answer.
            tracing::warn!(%error, "a key could not be changed");
            Problem::unavailable("keys cannot be read or changed now; ask again")
        }
    }
}

impl Authenticate for Keys {
    fn authenticate<'a>(&'a self, key: &'a str, source: IpAddr) -> BoxFuture<'a, Result<Arc<Principal>, Refusal>> {
        Box::pin(self.verifier.verify_from(key, Some(source)))
    }

    fn any(&self) -> BoxFuture<'_, bool> {
        // Where nobody can say, it is not said that there are none.
        Box::pin(async { !self.records.list(None, "", 1).await.is_ok_and(|keys| keys.is_empty()) })
    }
}

/// `GET /api/v1/keys`
pub(super) async fn list(gate: web::Data<Gate>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let KeysQuery { owner, after, limit } = asked(&request)?;
    let limit = limit.unwrap_or(100);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(Problem::bad_request("limit: 1 to 1,000"));
    }
    let listed = keys(&gate)?.records.list(owner.as_deref(), after.as_deref().unwrap_or_default(), limit).await.map_err(problem)?;
    Ok(HttpResponse::Ok().json(listed.into_iter().map(KeyAnswer::of).collect::<Vec<_>>()))
}

/// `POST /api/v1/keys`
pub(super) async fn create(
    gate: web::Data<Gate>,
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let asked: CreateKey = body::json(&gate, &request, payload, "a key").await?;
    let detail = json!({ "scopes": asked.scopes, "imported": asked.hash.is_some() });
    gate.audit(&caller, "key.create", &asked.owner, detail).await?;
    let answer = keys(&gate)?.create(asked, &actor(&caller)).await.map_err(problem)?;
    Ok(HttpResponse::Created().insert_header((header::LOCATION, format!("/api/v1/keys/{}", answer.record.id))).json(answer))
}

/// `GET /api/v1/keys/{id}`
pub(super) async fn show(gate: web::Data<Gate>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(keys(&gate)?.show(&id).await.map_err(problem)?))
}

/// `POST /api/v1/keys/{id}/rotate`
pub(super) async fn rotate(
    gate: web::Data<Gate>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let asked: RotateKey = body::json(&gate, &request, payload, "a rotation").await?;
    gate.audit(&caller, "key.rotate", &id, json!(asked)).await?;
    Ok(HttpResponse::Ok().json(keys(&gate)?.rotate(&id, &asked, &actor(&caller)).await.map_err(problem)?))
}

/// `POST /api/v1/keys/{id}/revoke`
pub(super) async fn revoke(
    gate: web::Data<Gate>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let asked: RevokeKey = body::json(&gate, &request, payload, "a revocation").await?;
    gate.audit(&caller, "key.revoke", &id, json!(asked)).await?;
    Ok(HttpResponse::Ok().json(keys(&gate)?.revoke(&id, &asked, &actor(&caller)).await.map_err(problem)?))
}

/// `POST /api/v1/keys/{id}/recipient`
pub(super) async fn recipient(
    gate: web::Data<Gate>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let asked: ChangeRecipient = body::json(&gate, &request, payload, "a recipient").await?;
    gate.audit(&caller, "key.recipient", &id, json!(asked)).await?;
    Ok(HttpResponse::Ok().json(keys(&gate)?.change_recipient(&id, asked, &actor(&caller)).await.map_err(problem)?))
}

/// What each path takes and answers, for the description.
pub(super) fn operation(path: &str, verb: Verb, parameters: Value, generator: &mut Schemas) -> Value {
    let answer = generator.subschema_for::<KeyAnswer>();
    let fine = |what: &str, schema: &Value| json!({ "description": what, "content": { "application/json": { "schema": schema } } });
    let answer = json!(answer);
    let (summary, asked, status, said) = match (path, verb) {
        ("/api/v1/keys", Verb::Get) => {
            let list = fine("Keys by id, without secrets", &json!({ "type": "array", "items": answer }));
            return json!({ "tags": ["keys"], "summary": "All keys", "parameters": parameters, "responses": { "200": list } });
        }
        ("/api/v1/keys/{id}", _) => {
            let one = fine("The key, without its secret", &answer);
            return json!({ "tags": ["keys"], "summary": "One key, and how it is used", "responses": { "200": one } });
        }
        ("/api/v1/keys", _) => (
            "Create a key, or import one",
            generator.requests.subschema_for::<CreateKey>(),
            "201",
            "The key; its text is in this answer and nowhere else",
        ),
        ("/api/v1/keys/{id}/rotate", _) => (
            "Draw another secret",
            generator.requests.subschema_for::<RotateKey>(),
            "200",
            "The new key; its text is in this answer and nowhere else",
        ),
        ("/api/v1/keys/{id}/revoke", _) => {
            ("Take a key back, at once", generator.requests.subschema_for::<RevokeKey>(), "200", "It lets nobody in any more")
        }
        _ => (
            "Change the recipient of sealed secrets",
            generator.requests.subschema_for::<ChangeRecipient>(),
            "200",
            "The change waits for a day",
        ),
    };
    json!({
        "tags": ["keys"],
        "summary": summary,
        "requestBody": { "required": true, "content": { "application/json": { "schema": asked } } },
        "responses": { status: fine(said, &answer) },
    })
}
