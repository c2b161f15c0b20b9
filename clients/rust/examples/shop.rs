//! A shop that is kept healthy: axum, SQLite, a cache, a peer that takes payments, and everything the client has to offer.
//!
//! ```sh
//! homeostat up &                                            # or HOMEOSTAT_NATS=nats://…
//! cargo run -p homeostat-client --example shop              # SHOP_LISTEN=127.0.0.1:3000 SHOP_RPS=50
//! curl -X POST 127.0.0.1:3000/faults/leak/on                # and see what comes of it: homeostat tail
//! ```
//!
//! | variable | what | default |
//! |---|---|---|
//! | `SHOP_LISTEN` | where it listens; the first line of output says where | `127.0.0.1:3000` |
//! | `SHOP_RPS` | requests a second that it sends itself; 0 for none | 50 |
//! | `SHOP_LEAK_MIB_S` | how much a leak leaks, MiB a second | 8 |
//!
//! Faults (`POST /faults/<name>/on` and `/off`): `leak` keeps memory until `memory.reclaim`; `errors` fails half of the requests;
//! `cold` empties the cache now and whenever it is asked, until `cache.warm`; `payments` makes the peer fail; `n_plus_one` asks
//! for the items of an order one by one; `slow` makes one query slow; `drift` doubles the prices that the model says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use axum::extract::{MatchedPath, Path, State};
use axum::http::{Request, StatusCode};
use axum::response::Json;
use axum::routing::{get, post};
use axum::{Router, body::Body};
use homeostat_client::breaker::{Breaker, CallError, Options};
use homeostat_client::layer::{self, Inbound};
use homeostat_client::{CacheMeter, Client, Command, PoolUse};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tower::ServiceExt as _;
use tracing_subscriber::prelude::*;

const PRODUCTS: i64 = 500;
const POOL: u32 = 5;
const MIB: usize = 1 << 20;

/// What can be made to go wrong.
#[derive(Default)]
struct Faults {
    leak: AtomicBool,
    errors: AtomicBool,
    cold: AtomicBool,
    payments: AtomicBool,
    n_plus_one: AtomicBool,
    slow: AtomicBool,
    drift: AtomicBool,
}

impl Faults {
    fn named(&self, name: &str) -> Option<&AtomicBool> {
        Some(match name {
            "leak" => &self.leak,
            "errors" => &self.errors,
            "cold" => &self.cold,
            "payments" => &self.payments,
            "n_plus_one" => &self.n_plus_one,
            "slow" => &self.slow,
            "drift" => &self.drift,
            _ => return None,
        })
    }
}

struct Shop {
    homeostat: Client,
    db: SqlitePool,
    cache: Mutex<BTreeMap<i64, Value>>,
    lookups: CacheMeter,
    payments: Breaker,
    leaked: Mutex<Vec<Vec<u8>>>,
    shedding: AtomicBool,
    orders: AtomicU64,
    faults: Faults,
}

type Failure = (StatusCode, String);

fn broken(error: impl std::fmt::Display) -> Failure {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let (listen, rps, leak) = (variable("SHOP_LISTEN", "127.0.0.1:3000"), variable("SHOP_RPS", "50"), variable("SHOP_LEAK_MIB_S", "8"));
    let (rps, leak): (u32, usize) = (rps.parse()?, leak.parse()?);

    // One line, and the service has a heartbeat.
    let homeostat = homeostat_client::init("shop").await?;
    let log = tracing_subscriber::fmt::layer().with_filter(tracing_subscriber::filter::LevelFilter::WARN);
    tracing_subscriber::registry().with(log).with(layer::sqlx(&homeostat, "sqlite")).init();

    let dir = std::env::temp_dir().join(format!("homeostat-shop-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let shop = Arc::new(Shop::open(homeostat.clone(), &dir.join("shop.db")).await?);
    shop.report();
    shop.obey();

    let app = app(&shop);
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    println!("shop {} on http://{}", homeostat.instance(), listener.local_addr()?);
    tokio::spawn(leaking(Arc::clone(&shop), leak));
    if rps > 0 {
        tokio::spawn(traffic(app.clone(), rps));
    }
    axum::serve(listener, app).with_graceful_shutdown(stopped()).await?;
    shop.db.close().await;
    let _ = std::fs::remove_dir_all(&dir);
    // Goodbye, and what could not be said any more.
    homeostat.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

async fn stopped() {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("signals can be heard");
    tokio::select! { _ = tokio::signal::ctrl_c() => {} _ = terminate.recv() => {} }
}

fn app(shop: &Arc<Shop>) -> Router {
    let route = |extensions: &axum::http::Extensions| extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned());
    Router::new()
        .route("/products/{id}", get(product))
        .route("/orders/{id}", get(order))
        .route("/orders", post(buy))
        .route("/faults/{name}/{switch}", post(fault))
        .layer(Inbound::new(&shop.homeostat, route))
        .with_state(Arc::clone(shop))
}

async fn product(State(shop): State<Arc<Shop>>, Path(id): Path<i64>) -> Result<Json<Value>, Failure> {
    shop.may_fail()?;
    if shop.faults.cold.load(Relaxed) {
        shop.cache.lock().unwrap().clear();
    }
    if let Some(known) = shop.cache.lock().unwrap().get(&id).cloned() {
        shop.lookups.hit();
        return Ok(Json(known));
    }
    shop.lookups.miss();
    let found = shop.load(id).await.map_err(broken)?.ok_or((StatusCode::NOT_FOUND, "no such product".to_owned()))?;
    shop.cache.lock().unwrap().insert(id, found.clone());
    Ok(Json(found))
}

async fn order(State(shop): State<Arc<Shop>>, Path(id): Path<i64>) -> Result<Json<Value>, Failure> {
    shop.may_fail()?;
    if shop.shedding.load(Relaxed) {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "later, please".to_owned()));
    }
    let mut items = Vec::new();
    if shop.faults.n_plus_one.load(Relaxed) {
        for item in 0..10 {
            items.extend(shop.load(1 + (id * 7 + item) % PRODUCTS).await.map_err(broken)?);
        }
    } else {
        let ids: Vec<i64> = (0..10).map(|item| 1 + (id * 7 + item) % PRODUCTS).collect();
        let rows: Vec<(i64, String, f64)> =
            sqlx::query_as("select id, name, price from products where id in (select value from json_each(?))")
                .bind(json!(ids).to_string())
                .fetch_all(&shop.db)
                .await
                .map_err(broken)?;
        items.extend(rows.into_iter().map(|(id, name, price)| json!({ "id": id, "name": name, "price": price })));
    }
    if shop.faults.slow.load(Relaxed) {
        // SQLite counts to three million, which takes it some hundred milliseconds.
        let slow = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000000) select max(i) from n";
        sqlx::query(slow).execute(&shop.db).await.map_err(broken)?;
    }
    Ok(Json(json!({ "id": id, "items": items })))
}

async fn buy(State(shop): State<Arc<Shop>>) -> Result<Json<Value>, Failure> {
    shop.may_fail()?;
    let how = Options::default().timeout(Duration::from_millis(500));
    // A peer in trouble is left alone, and the order is taken all the same.
    let later = |why: CallError<String>| async move {
        tracing::debug!(%why, "paid later");
        Ok("later".to_owned())
    };
    let paid = shop.payments.call_or(&how, shop.pay(), later).await.map_err(broken)?;
    let number = 1 + shop.orders.fetch_add(1, Relaxed);
    sqlx::query("insert into orders (number, paid) values (?, ?)")
        .bind(i64::try_from(number).unwrap_or(0))
        .bind(&paid)
        .execute(&shop.db)
        .await
        .map_err(broken)?;
    let price = 10.0 + (number % 17) as f64;
    shop.homeostat.sample("pricing", "price", if shop.faults.drift.load(Relaxed) { price * 2.0 } else { price });
    Ok(Json(json!({ "order": number, "paid": paid })))
}

async fn fault(State(shop): State<Arc<Shop>>, Path((name, switch)): Path<(String, String)>) -> Result<Json<Value>, Failure> {
    let on = match switch.as_str() {
        "on" => true,
        "off" => false,
        _ => return Err((StatusCode::NOT_FOUND, "on or off".to_owned())),
    };
    let fault = shop.faults.named(&name).ok_or((StatusCode::NOT_FOUND, "no such fault".to_owned()))?;
    fault.store(on, Relaxed);
    Ok(Json(json!({ "fault": name, "on": on })))
}

impl Shop {
    async fn open(homeostat: Client, file: &std::path::Path) -> Result<Shop, sqlx::Error> {
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let db = SqlitePoolOptions::new().max_connections(POOL).acquire_timeout(Duration::from_secs(2)).connect_with(options).await?;
        sqlx::query("create table products (id integer primary key, name text, price real)").execute(&db).await?;
        sqlx::query("create table orders (number integer primary key, paid text)").execute(&db).await?;
        sqlx::query(
            "insert into products with recursive n(i) as (select 1 union all select i + 1 from n where i < 500) \
             select i, 'product ' || i, i * 0.5 from n",
        )
        .execute(&db)
        .await?;
        let (lookups, payments) = (homeostat.cache("products"), homeostat.breaker("payments"));
        Ok(Shop {
            homeostat,
            db,
            cache: Mutex::default(),
            lookups,
            payments,
            leaked: Mutex::default(),
            shedding: AtomicBool::new(false),
            orders: AtomicU64::new(0),
            faults: Faults::default(),
        })
    }

    /// What is reported by itself from now on.
    fn report(self: &Arc<Self>) {
        let db = self.db.clone();
        self.homeostat.check("db", move || {
            let db = db.clone();
            async move { sqlx::query("select 1").execute(&db).await.map(|_| ()) }
        });
        let db = self.db.clone();
        self.homeostat.pool("db", move || PoolUse {
            used: u64::from(db.size()).saturating_sub(db.num_idle() as u64),
            max: u64::from(POOL),
            ..PoolUse::default()
        });
        let shop = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut clock = interval(Duration::from_secs(10));
            loop {
                clock.tick().await;
                let Some(shop) = shop.upgrade() else { return };
                shop.homeostat.metric("orders.total", shop.orders.load(Relaxed) as f64);
            }
        });
    }

    /// What is done when Homeostat asks for it.
    fn obey(self: &Arc<Self>) {
        let on = |action: &str, what: fn(Arc<Shop>, Command) -> Work| {
            let shop = Arc::downgrade(self);
            self.homeostat.on(action, move |command| {
                let shop = shop.upgrade();
                async move { what(shop.ok_or("the shop has closed")?, command).await }
            });
        };
        on("cache.warm", |shop, _| {
            Box::pin(async move {
                shop.faults.cold.store(false, Relaxed);
                let rows: Vec<(i64, String, f64)> =
                    sqlx::query_as("select id, name, price from products").fetch_all(&shop.db).await.map_err(|e| e.to_string())?;
                let mut cache = shop.cache.lock().unwrap();
                cache.extend(rows.into_iter().map(|(id, name, price)| (id, json!({ "id": id, "name": name, "price": price }))));
                Ok(format!("{} entries", cache.len()))
            })
        });
        on("memory.reclaim", |shop, _| {
            Box::pin(async move {
                let freed: usize = shop.leaked.lock().unwrap().drain(..).map(|block| block.len()).sum();
                Ok(format!("{} MiB freed", freed / MIB))
            })
        });
        on("load.shed", |shop, command| {
            Box::pin(async move {
                let off = command.args.get("off").and_then(Value::as_bool).unwrap_or(false);
                shop.shedding.store(!off, Relaxed);
                Ok(if off { "taking orders again" } else { "orders are turned away" }.to_owned())
            })
        });
        on("model.retrain", |shop, _| {
            Box::pin(async move {
                shop.faults.drift.store(false, Relaxed);
                Ok("prices are right again".to_owned())
            })
        });
    }

    async fn load(&self, id: i64) -> Result<Option<Value>, sqlx::Error> {
        let row: Option<(String, f64)> =
            sqlx::query_as("select name, price from products where id = ?").bind(id).fetch_optional(&self.db).await?;
        Ok(row.map(|(name, price)| json!({ "id": id, "name": name, "price": price })))
    }

    /// The peer that takes payments.
    async fn pay(&self) -> Result<String, String> {
        sleep(Duration::from_millis(2)).await;
        if self.faults.payments.load(Relaxed) { Err("payments are down".to_owned()) } else { Ok("now".to_owned()) }
    }

    fn may_fail(&self) -> Result<(), Failure> {
        if self.faults.errors.load(Relaxed) && fastrand::bool() { Err(broken("on purpose")) } else { Ok(()) }
    }
}

type Work = std::pin::Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

async fn leaking(shop: Arc<Shop>, mib_s: usize) {
    let mut clock = interval(Duration::from_secs(1));
    loop {
        clock.tick().await;
        if shop.faults.leak.load(Relaxed) {
            // Written to, or the system would not have to find the memory.
            shop.leaked.lock().unwrap().push(vec![1; mib_s * MIB]);
        }
    }
}

/// Customers.
async fn traffic(app: Router, rps: u32) {
    let mut clock = interval(Duration::from_secs(1) / rps);
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        clock.tick().await;
        let (method, path) = match fastrand::u32(..10) {
            0 => ("POST", "/orders".to_owned()),
            1 => ("GET", format!("/orders/{}", fastrand::u32(1..1000))),
            _ => ("GET", format!("/products/{}", fastrand::i64(1..=PRODUCTS))),
        };
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        let app = app.clone();
        tokio::spawn(async move { app.oneshot(request).await });
    }
}
