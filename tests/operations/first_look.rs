//! `homeostat status` and `homeostat alerts` against a running system.

use super::common::{Server, Worker, http, story::now_ms};
use serde_json::{Value, json};
use std::process::{Command, Output};
use std::time::Duration;

fn homeostat(worker: &Worker, arguments: &[&str]) -> Output {
    let data = worker.data_dir.to_str().unwrap();
    Command::new(env!("CARGO_BIN_EXE_homeostat")).args(arguments).args(["--data-dir", data]).env("TZ", "UTC").output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_is_seen_at_a_glance() {
    let server = Server::start().await;
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &[], &[]);
    let gateway = worker.ready().await;
    let calm = homeostat(&worker, &["alerts", "--check"]);
    assert_eq!((said(&calm).as_str(), calm.status.code()), ("0 open alerts\n", Some(0)));
    for service in ["shop", "shop", "till"] {
        let statement = format!("select a from {service}{}", now_ms());
        let event = json!([{ "kind": "query", "service": service, "at_ms": now_ms(), "took_us": 900_000, "statement": statement }]);
        let headers = [("content-type", "application/json")];
        assert_eq!(http(&gateway, "POST", "/v1/events", &headers, event.to_string().as_bytes()).await.unwrap().0, 200);
    }
    let began = std::time::Instant::now();
    while !said(&homeostat(&worker, &["alerts"])).ends_with("\n3 open alerts\n") {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", said(&homeostat(&worker, &["alerts"])));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let till = said(&homeostat(&worker, &["alerts", "--service", "till"]));
    assert!(till.contains(" warning  query.slow ") && till.contains(" till ") && till.ends_with("\n1 open alert\n"), "{till}");
    assert!(said(&homeostat(&worker, &["alerts", "--limit", "2"])).contains("the first 2"));
    assert_eq!(homeostat(&worker, &["alerts", "--check", "--severity", "warning"]).status.code(), Some(3));
    assert_eq!(homeostat(&worker, &["alerts", "--check", "--severity", "critical"]).status.code(), Some(0));
    let entries: Vec<Value> = serde_json::from_str(&said(&homeostat(&worker, &["alerts", "--json", "--all"]))).unwrap();
    assert!(entries.iter().all(|entry| entry["rule"] == "query.slow" && entry["state"] == "firing"), "{entries:?}");

    let incident =
        serde_json::from_str::<Vec<Value>>(&said(&homeostat(&worker, &["alerts", "--json", "--service", "till"]))).unwrap()[0]["incident"]
            .clone();
    let nats = server.url();
    let taken = homeostat(&worker, &["acknowledge", incident.as_str().unwrap(), "--by", "ann", "--reason", "mine", "--nats", &nats]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    let began = std::time::Instant::now();
    while !said(&homeostat(&worker, &["alerts"])).contains("    ann looks after it: mine\n") {
        assert!(began.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = said(&homeostat(&worker, &["status"]));
    let wanted = format!(
        "ready  homeostat {} at {gateway}\n9 actors, 9 at work and caught up\n3 open alerts: 0 critical, 3 warning, 0 info\n  0 silenced, 1 acknowledged; 0 silences in force\n      2  shop\n      1  till\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(status, wanted);
    let machine: Value = serde_json::from_str(&said(&homeostat(&worker, &["status", "--json"]))).unwrap();
    assert_eq!((&machine["readiness"]["level"], &machine["findings"]["open_by_severity"]["warning"]), (&json!("pass"), &json!(3)));

    // One that stands by says so.
    let mut second = Worker::spawn(&server.path("second"), Some(&server.url()), &[], &[]);
    second.ready().await;
    let standby = said(&homeostat(&second, &["status"]));
    assert!(standby.starts_with("stands by  homeostat "), "{standby}");
    second.stop().await;
    let data = worker.data_dir.clone();
    worker.stop().await;
    let nobody = Command::new(env!("CARGO_BIN_EXE_homeostat"))
        .arg("status")
        .arg("--data-dir")
        .arg(&data)
        .args(["--set", "gateway.listen=127.0.0.1:1"])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(nobody.status.code() == Some(1) && complaint.contains("does not answer") && complaint.contains("homeostat up"), "{complaint}");
    server.stop().await;
}
