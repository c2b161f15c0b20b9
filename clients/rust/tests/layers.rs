//! The layers: what they report of requests, calls and queries, and the trace that holds them together.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use homeostat_client::layer::{Inbound, Outbound};
use homeostat_client::trace::Context;
use homeostat_client::{Client, layer};
use homeostat_schemas::Event;
use http::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::time::Duration;
use support::{LONG, Server, soon};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tracing_subscriber::prelude::*;

#[derive(Clone)]
struct Template(&'static str);

fn inbound(client: &Client) -> Inbound {
    Inbound::new(client, |extensions| extensions.get::<Template>().map(|template| template.0.to_owned()))
}

fn get(template: Option<&'static str>, traceparent: Option<&str>) -> Request<()> {
    let mut request = Request::builder().uri("/orders/17");
    if let Some(header) = traceparent {
        request = request.header("traceparent", header);
    }
    let mut request = request.body(()).unwrap();
    if let Some(template) = template {
        request.extensions_mut().insert(Template(template));
    }
    request
}

async fn reported(server: &Server, client: &Client) -> Vec<Event> {
    soon(client.flush(LONG)).await.unwrap();
    server.events().await
}

#[tokio::test]
async fn requests_are_reported_by_template_with_status_and_trace() {
    let server = Server::with_log("").await;
    let client = server.settings("shop").start().await.unwrap();
    let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut shop = inbound(&client).layer(service_fn(|request: Request<()>| async move {
        match request.headers().contains_key("traceparent") {
            true => {
                let here = Context::current().expect("a trace in the handler");
                assert_eq!(here.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
                Ok(Response::builder().status(StatusCode::CREATED).body(()).unwrap())
            }
            false => Err("broken"),
        }
    }));
    shop.ready().await.unwrap().call(get(Some("/orders/{id}"), Some(caller))).await.unwrap();
    shop.ready().await.unwrap().call(get(None, None)).await.unwrap_err();
    drop(shop.ready().await.unwrap().call(get(Some("/orders/{id}"), None)));

    let events = reported(&server, &client).await;
    let told: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            Event::Request(r) => {
                let known = r.trace.as_deref() == Some("4bf92f3577b34da6a3ce929d0e0e4736");
                assert!(r.trace.is_some() && r.span.as_ref().is_some_and(|span| span.len() == 16));
                Some(format!("{} {} known={known} parent={:?}", r.route, r.status, r.parent))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        told,
        [
            "GET /orders/{id} 201 known=true parent=Some(\"00f067aa0ba902b7\")",
            "GET {unmatched} 500 known=false parent=None",
            "GET /orders/{id} 499 known=false parent=None",
        ]
    );
}

#[tokio::test]
async fn calls_are_counted_by_how_they_end_and_pass_the_trace_on() {
    let server = Server::with_log("").await;
    let client = server.settings("shop").start().await.unwrap();
    let statuses = [200u16, 404, 500, 504];
    let mut peer = Outbound::new(client.peer("payments")).layer(service_fn(|request: Request<u16>| async move {
        let header = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = *request.body();
        if status == 0 { Err(()) } else { Ok(Response::builder().status(status).body(header).unwrap()) }
    }));
    let context = Context::root();
    context
        .scope(async {
            for status in statuses {
                let answer = peer.ready().await.unwrap().call(Request::new(status)).await.unwrap();
                let passed = Context::from_traceparent(answer.body().as_deref().unwrap()).unwrap();
                assert_eq!(passed.trace_id(), context.trace_id());
                assert_ne!(passed.span_id(), context.span_id());
            }
        })
        .await;
    peer.ready().await.unwrap().call(Request::new(0)).await.unwrap_err();
    drop(peer.ready().await.unwrap().call(Request::new(200)));
    soon(client.shutdown(LONG)).await.unwrap();
    let events = server.events().await;
    let (mut ok, mut failed, mut shed) = (0, 0, 0);
    for event in &events {
        if let Event::Calls(calls) = event {
            assert_eq!(calls.peer, "payments");
            (ok, failed, shed) = (ok + calls.ok, failed + calls.failed, shed + calls.shed);
        }
    }
    assert_eq!((ok, failed, shed), (2, 3, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_of_sqlx_become_events_of_the_request_they_belong_to() {
    use sqlx::ConnectOptions as _;
    let server = Server::with_log("").await;
    let client = server.settings("shop").start().await.unwrap();
    // sqlx's SQLite driver speaks from a thread of its own, so the subscriber must be everybody's.
    tracing_subscriber::registry().with(layer::sqlx(&client, "sqlite")).init();
    let options = sqlx::sqlite::SqliteConnectOptions::new().in_memory(true);
    let mut db = options.connect().await.unwrap();
    sqlx::query("create table orders (id integer primary key, item text)").execute(&mut db).await.unwrap();
    sqlx::query("insert into orders (item) values ('secret'), ('other')").execute(&mut db).await.unwrap();
    let db = std::sync::Arc::new(tokio::sync::Mutex::new(db));
    let mut shop = inbound(&client).layer(service_fn(|_: Request<()>| {
        let db = db.clone();
        async move {
            let mut db = db.lock().await;
            let rows = sqlx::query("select  id,  item from orders where id > ? order by id").bind(0).fetch_all(&mut *db).await.unwrap();
            assert_eq!(rows.len(), 2);
            Ok::<_, Infallible>(Response::new(()))
        }
    }));
    shop.ready().await.unwrap().call(get(Some("/orders"), None)).await.unwrap();

    let events = reported(&server, &client).await;
    let queries: Vec<_> = events.iter().filter_map(|event| if let Event::Query(q) = event { Some(q) } else { None }).collect();
    let told: Vec<String> = queries.iter().map(|q| format!("{} rows={:?} {:?}", q.statement, q.rows, q.system)).collect();
    assert!(told.contains(&"insert into orders(item) values (?) rows=Some(2) Some(\"sqlite\")".to_owned()), "{told:#?}");
    let select = queries.iter().find(|q| q.statement.starts_with("select")).expect("the select");
    assert_eq!(select.statement, "select id, item from orders where id > ? order by id");
    assert_eq!(select.rows, Some(2));
    let Some(Event::Request(request)) = events.iter().find(|event| matches!(event, Event::Request(_))) else { panic!("no request") };
    assert_eq!((&select.trace, &select.parent), (&request.trace, &request.span), "the query belongs to the request");
    assert!(select.took_us < Duration::from_secs(60).as_micros() as u64);
}
