//! Traffic of a shop that gives every mind something to say, the same for the same seed.

use homeostat_nats::{Log, Message};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator with a seed (SplitMix64, Steele et al. 2014).
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

pub fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// One request of a shop as messages: its queries (sometimes N+1, sometimes slow), itself (sometimes failed), and now and then a
/// heartbeat of one of five services, of which some fall silent.
pub fn request(number: u64, chance: &mut Chance) -> Vec<(&'static str, String, Vec<Value>)> {
    let now = now_ms();
    let shop = format!("shop{}", chance.below(3));
    let trace = format!("{:032x}", chance.next());
    let mut queries = Vec::new();
    let repeats = if chance.below(4) == 0 { 12 } else { 2 };
    let table = chance.below(40);
    for n in 0..repeats {
        let took = if chance.below(30) == 0 { 400_000 } else { 6_000 };
        queries.push(json!({
            "kind": "query", "service": shop, "at_ms": now + n * 6, "took_us": took, "trace": trace, "span": format!("{:016x}", chance.next()),
            "parent": "00000000000000aa", "system": "postgresql", "statement": format!("select * from t{table} where id = {n}"), "params": format!("{n:x}")
        }));
    }
    let failing = number / 150 % 2 == 1 && shop == "shop1";
    let status = if failing && chance.below(3) > 0 { 500 } else { 200 };
    let request = json!({
        "kind": "request", "service": shop, "at_ms": now + repeats * 6 + 1, "took_us": (repeats * 6 + 1) * 1000, "trace": trace,
        "span": "00000000000000aa", "route": format!("GET /{}", table % 5), "status": status
    });
    let mut messages = vec![("query", shop.clone(), queries), ("request", shop, vec![request])];
    if number.is_multiple_of(5) {
        let who = chance.below(5);
        // Two of the five fall silent for half of the time.
        if who > 1 || (number / 200).is_multiple_of(2) {
            let service = format!("beat{who}");
            let beat = json!({"kind": "heartbeat", "service": service, "at_ms": now, "up_s": 100, "interval_s": 0.5});
            messages.push(("heartbeat", service, vec![beat]));
        }
    }
    if number.is_multiple_of(97) {
        messages.push(("query", "shop0".to_owned(), vec![json!({"kind": "query", "service": "shop0"}), json!(17)]));
    }
    messages
}

/// Publishes messages, each until it is acknowledged.
pub async fn publish(log: &Log, messages: Vec<(&'static str, String, Vec<Value>)>) -> u64 {
    let mut last = 0;
    for (number, (kind, service, events)) in messages.into_iter().enumerate() {
        let body = serde_json::to_vec(&events).unwrap();
        let id = format!("{:x}-{number}", now_ms() as u128 * 1_000_003 + u128::from(rand_id()));
        let message = Message::new(log.subject(&format!("event.{kind}.{service}")), body)
            .with("content-type", "application/json")
            .with("Nats-Msg-Id", id);
        loop {
            match log.append(message.clone()).await {
                Ok(seq) => {
                    last = last.max(seq);
                    break;
                }
                // The server may just be dead: the id makes a second try harmless.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    }
    last
}

fn rand_id() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
