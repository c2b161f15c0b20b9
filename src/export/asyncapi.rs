//! The AsyncAPI 3.0 document: every subject of the bus that others may read or write, with its messages.

use super::words;
use homeostat_schemas::event::{EventKind, SERVICE_MAX};
use homeostat_schemas::rule::CATALOGUE;
use homeostat_schemas::subject::DEFAULT_ROOT;
use serde_json::{Map, Value, json};

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut schemas = Map::new();
    for (name, schema) in words() {
        schemas.insert(name.clone(), inner(schema.to_value(), &name));
    }
    let mut channels = Map::new();
    let mut operations = Map::new();
    let mut messages = Map::new();
    for kind in EventKind::ALL {
        let name = format!("event.{kind}");
        let meaning = schemas.get(&name).and_then(|schema| schema.get("description")).cloned().unwrap_or_default();
        messages.insert(name.clone(), event_message(&name, &meaning));
        channels.insert(name.clone(), channel(&format!("event.{kind}.{{service}}"), &name, &meaning, &["service"]));
        operations.insert(format!("receive.{name}"), operation("receive", &name, "Applications publish telemetry."));
    }
    for (name, address, parameters, action, meaning) in [
        ("alert", "alert.{actor}.{condition}.{service}", &["actor", "condition", "service"][..], "send", "A finding that began or ended."),
        ("command", "command.{topic}.{verb}.{service}", &["topic", "verb", "service"][..], "send", "What should be done, and by whom."),
        ("outcome", "outcome.{topic}.{verb}.{service}", &["topic", "verb", "service"][..], "receive", "What became of a command."),
    ] {
        messages.insert(name.to_owned(), cloud_event(name, meaning));
        channels.insert(name.to_owned(), channel(address, name, &json!(meaning), parameters));
        operations.insert(format!("{action}.{name}"), operation(action, name, meaning));
    }
    let meaning = "What share of its calls to a peer a service may make. Core NATS, not in the log; said again every 250 ms while calls are held back.";
    messages.insert("admission".to_owned(), plain_message("admission", meaning));
    channels.insert("admission".to_owned(), channel("admission.{service}.{peer}", "admission", &json!(meaning), &["service", "peer"]));
    operations.insert("send.admission".to_owned(), operation("send", "admission", meaning));
    let meaning = "A new secret of a key, sealed to the xkey of its owner; for that service alone.";
    messages.insert("sealed".to_owned(), plain_message("sealed", meaning));
    channels.insert("sealed".to_owned(), channel("key.sealed.{service}", "sealed", &json!(meaning), &["service"]));
    operations.insert("send.sealed".to_owned(), operation("send", "sealed", meaning));
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Homeostat",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Telemetry in, alerts and recovery commands out, on NATS. The first tokens of every subject are a setting; shown is the default.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": { "nats": { "host": "127.0.0.1:4222", "protocol": "nats", "description": "nats-server with JetStream" } },
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas },
        "x-rules": rules(),
    })
}

/// A schema inside the document: its references point to its own definitions where they stand now.
fn inner(mut schema: Value, name: &str) -> Value {
    if let Value::Object(map) = &mut schema {
        map.remove("$schema");
    }
    let place = format!("#/components/schemas/{name}/$defs/");
    move_references(&mut schema, &place);
    schema
}

fn move_references(value: &mut Value, place: &str) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some(name) = target.strip_prefix("#/$defs/") {
                            *target = format!("{place}{name}");
                        }
                    }
                    value => move_references(value, place),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, place)),
        _ => {}
    }
}

fn channel(address: &str, message: &str, meaning: &Value, parameters: &[&str]) -> Value {
    let describe = |name: &&str| {
        let text = match *name {
            "service" => format!(
                "the service: a name of 1 to {SERVICE_MAX} bytes, every byte but A-Z a-z 0-9 _ - written as =HH (upper-case hexadecimal)"
            ),
            "actor" => "the actor that found it: the first word of the rule".to_owned(),
            "condition" => "what it found: the second word of the rule".to_owned(),
            "topic" => "the first word of the action".to_owned(),
            "peer" => "whom it calls, written like a service".to_owned(),
            _ => "the second word of the action".to_owned(),
        };
        ((*name).to_owned(), json!({ "description": text }))
    };
    json!({
        "address": format!("{DEFAULT_ROOT}.{address}"),
        "description": meaning,
        "messages": { message: { "$ref": format!("#/components/messages/{message}") } },
        "parameters": parameters.iter().map(describe).collect::<Map<_, _>>(),
    })
}

fn operation(action: &str, channel: &str, meaning: &str) -> Value {
    json!({
        "action": action,
        "channel": { "$ref": format!("#/channels/{channel}") },
        "summary": meaning,
        "messages": [{ "$ref": format!("#/channels/{channel}/messages/{channel}") }],
    })
}

fn event_message(name: &str, meaning: &Value) -> Value {
    let one = json!({ "$ref": format!("#/components/schemas/{name}") });
    json!({
        "name": name,
        "summary": meaning,
        "contentType": "application/msgpack",
        "description": "One event, or an array of events of this kind and service; MessagePack with named fields, or JSON. Unknown fields are ignored.",
        "payload": { "oneOf": [one.clone(), { "type": "array", "items": one }] },
        "headers": {
            "type": "object",
            "properties": {
                "content-type": { "type": "string", "enum": ["application/msgpack", "application/json"], "default": "application/json" },
                "traceparent": { "type": "string", "description": "W3C trace context" },
                "Nats-Msg-Id": { "type": "string", "description": "128 random bits: a message sent twice is stored once" },
            },
        },
    })
}

fn plain_message(name: &str, meaning: &str) -> Value {
    json!({
        "name": name,
        "summary": meaning,
        "contentType": "application/json",
        "payload": { "$ref": format!("#/components/schemas/{name}") },
    })
}

fn cloud_event(name: &str, meaning: &str) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "name": name,
        "summary": meaning,
        "contentType": "application/json",
        "payload": { "$ref": format!("#/components/schemas/{name}") },
        "headers": {
            "type": "object",
            "description": "CloudEvents 1.0, binary mode",
            "properties": {
                "ce-specversion": { "const": "1.0" },
                "ce-id": text("the id in the body: the same message has the same id, also after a crash and in a replay"),
                "ce-source": text("which actor"),
                "ce-type": text("homeostat., then alert and the rule or command and the action"),
                "ce-time": text("log time, RFC 3339"),
                "ce-subject": text("the service"),
                "traceparent": text("W3C trace context"),
                "homeostat-signature": text("of alerts and commands: public key, dot, Ed25519 signature of subject, headers and body"),
            },
        },
    })
}

fn rules() -> Value {
    CATALOGUE.iter().map(|rule| serde_json::to_value(rule).unwrap_or_default()).collect()
}
