//! Silences and acknowledgements, honoured whoever dies: a webhook, and the real Alertmanager.

use super::*;

/// Runs the program; what it said.
fn homeostat(server: &Server, arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_homeostat")).args(arguments).args(["--nats", &server.url(), "--by", "ann"]).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn switch_off(server: &Server, rule: &str) {
    let off = Command::new(env!("CARGO_BIN_EXE_homeostat"))
        .args(["config", "set", &format!("actors.query.rules.{rule}=off"), "--nats", &server.url()])
        .output()
        .unwrap();
    assert!(off.status.success(), "{}", String::from_utf8_lossy(&off.stderr));
}

async fn post(gateway: &str, path: &str, body: Value) -> (u16, Value) {
    let headers = [("content-type", "application/json")];
    let (status, body) = http(gateway, "POST", path, &headers, body.to_string().as_bytes()).await.unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

async fn get(gateway: &str, path: &str) -> Value {
    let (status, body) = http_get(gateway, path).await.unwrap();
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Waits until the open alert about a service is as it should be.
async fn until_alert(gateway: &str, service: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let began = std::time::Instant::now();
    loop {
        let alerts = get(gateway, &format!("/api/v1/alerts?service={service}")).await;
        if let Some(alert) = alerts.as_array().unwrap().iter().find(|alert| wanted(alert)) {
            return alert.clone();
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {service}: {alerts}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Who was told what: service and state, in order.
fn told(pager: &Pager) -> Vec<(String, String)> {
    let said = |one: &Received| {
        let alert: Value = serde_json::from_slice(&one.body).unwrap();
        (alert["service"].as_str().unwrap().to_owned(), alert["state"].as_str().unwrap().to_owned())
    };
    pager.received().iter().map(said).collect()
}

async fn until_told(pager: &Pager, service: &str, state: &str) {
    let wanted = (service.to_owned(), state.to_owned());
    wait_for(&format!("{service} {state}"), PATIENCE, || told(pager).contains(&wanted).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_while_it_is_silenced_and_everybody_of_what_is_open_afterwards() {
    let server = Server::start().await;
    let pager = Pager::start();
    let setting = format!("delivery.webhooks.pager.url={}", pager.address);
    let data = server.path("worker");
    let mut worker = Worker::spawn(&data, Some(&server.url()), &[&setting], &[]);
    let gateway = worker.ready().await;

    homeostat(&server, &["silence", "create", "service=quiet", "rule=~query[.].+", "--for", "1h", "--id", "s", "--reason", "a deployment"]);
    something_slow(&gateway, "quiet").await;
    something_slow(&gateway, "loud").await;
    until_told(&pager, "loud", "firing").await;
    let alert = until_alert(&gateway, "quiet", |alert| alert["silenced_by"] == json!(["s"])).await;
    assert_eq!(get(&gateway, "/api/v1/alerts?silenced=true").await.as_array().unwrap().len(), 1);

    // Whoever comes after a death knows what was withheld.
    worker.kill();
    let mut worker = Worker::spawn(&data, Some(&server.url()), &[&setting], &[]);
    let gateway = worker.ready().await;
    something_slow(&gateway, "third").await;
    until_told(&pager, "third", "firing").await;
    assert_eq!(told(&pager).len(), 2, "{:?}", told(&pager));
    let silences = get(&gateway, "/api/v1/silences").await;
    assert_eq!((&silences[0]["id"], &silences[0]["covers"], &silences[0]["by"]), (&json!("s"), &json!(1), &json!("ann")));

    // The silence ends, and what is open is told by its own name.
    let (status, _) = post(&gateway, "/api/v1/silences/s/expire", json!({ "by": "bob" })).await;
    assert_eq!(status, 202);
    until_told(&pager, "quiet", "firing").await;
    assert_eq!(pager.received().last().unwrap().id(), alert["id"].as_str().unwrap());
    let began = std::time::Instant::now();
    let (status, body) = loop {
        let (status, body) = post(&gateway, "/api/v1/silences/s/expire", json!({ "by": "bob" })).await;
        if status != 202 || began.elapsed() > PATIENCE {
            break (status, body);
        }
    };
    assert_eq!((status, body["status"].clone()), (409, json!(409)), "{body}");
    assert_eq!(post(&gateway, "/api/v1/silences/t/expire", json!({ "by": "bob" })).await.0, 404);

    // What began and ended while it was silenced is never told; what was told ends for everybody, silenced or not.
    let silence = json!({ "matchers": ["service=~a-quiet|loud"], "duration_ms": 3_600_000, "by": "bob" });
    let (status, receipt) = post(&gateway, "/api/v1/silences", silence).await;
    assert_eq!(status, 202, "{receipt}");
    something_slow(&gateway, "a-quiet").await;
    until_alert(&gateway, "a-quiet", |alert| alert["silenced_by"] == json!([receipt["id"]])).await;
    switch_off(&server, "slow");
    for service in ["loud", "quiet", "third"] {
        until_told(&pager, service, "resolved").await;
    }
    assert!(told(&pager).iter().all(|(service, _)| service != "a-quiet"), "{:?}", told(&pager));
    worker.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_looks_after_is_neither_repeated_nor_passed_on() {
    let server = Server::start().await;
    let (first, second) = (Pager::start(), Pager::start());
    let settings = [
        format!("delivery.webhooks.first.url={}", first.address),
        "delivery.webhooks.first.remind_s=2".to_owned(),
        format!("delivery.webhooks.second.url={}", second.address),
        "delivery.webhooks.second.after_s=10".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &settings, &[]);
    let gateway = worker.ready().await;
    something_slow(&gateway, "mine").await;
    let alert = until_alert(&gateway, "mine", |_| true).await;
    let (status, receipt) =
        post(&gateway, &format!("/api/v1/alerts/{}/acknowledge", alert["id"].as_str().unwrap()), json!({ "by": "ann", "reason": "on it" }))
            .await;
    assert_eq!((status, &receipt["id"]), (202, &alert["incident"]), "{receipt}");
    until_alert(&gateway, "mine", |alert| alert["acknowledged_by"] == "ann" && alert["acknowledged_reason"] == "on it").await;
    assert_eq!(post(&gateway, "/api/v1/alerts/none/acknowledge", json!({ "by": "ann" })).await.0, 404);

    something_slow(&gateway, "yours").await;
    let reminders = |pager: &Pager, of: &str| {
        let of_it = |one: &&Received| {
            one.id().contains(".reminder.") && String::from_utf8_lossy(&one.body).contains(&format!("\"service\":\"{of}\""))
        };
        pager.received().iter().filter(of_it).count()
    };
    wait_for("a reminder", PATIENCE, || (reminders(&first, "yours") >= 1).then_some(())).await;
    let before = reminders(&first, "mine");
    wait_for("two more reminders", PATIENCE, || (reminders(&first, "yours") >= 3).then_some(())).await;
    assert_eq!(reminders(&first, "mine"), before, "nobody is reminded of what somebody looks after");
    // The older of the two would have been passed on first.
    until_told(&second, "yours", "firing").await;
    assert_eq!(told(&second).len(), 1, "{:?}", told(&second));

    // Nobody looks after it any more: it is passed on.
    homeostat(
        &server,
        &["acknowledge", alert["incident"].as_str().unwrap(), "--withdraw", "--data-dir", server.path("worker").to_str().unwrap()],
    );
    until_told(&second, "mine", "firing").await;
    worker.stop().await;
    server.stop().await;
}

/// How often a webhook has failed.
async fn failures(gateway: &str) -> u64 {
    let (_, text) = http_get(gateway, "/metrics").await.unwrap();
    let failed =
        |line: &&str| line.starts_with("homeostat_deliveries_total") && line.contains("\"webhook\"") && line.contains("\"failed\"");
    text.lines().find(failed).and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap()
}

async fn until_failed_again(gateway: &str, before: u64) {
    let began = std::time::Instant::now();
    while failures(gateway).await <= before {
        assert!(began.elapsed() < PATIENCE, "no delivery failed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_could_not_be_told_is_told_what_is_so_then() {
    let server = Server::start().await;
    let (first, second) = (Pager::start(), Pager::start());
    let settings = [
        format!("delivery.webhooks.first.url={}", first.address),
        format!("delivery.webhooks.second.url={}", second.address),
        "delivery.webhooks.second.after_s=1".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &settings, &[]);
    let gateway = worker.ready().await;

    // The second line does not answer; meanwhile somebody looks after one of two.
    second.answer(503);
    something_slow(&gateway, "mine").await;
    something_slow(&gateway, "yours").await;
    until_failed_again(&gateway, 0).await;
    let incident = until_alert(&gateway, "mine", |_| true).await["incident"].as_str().unwrap().to_owned();
    assert_eq!(post(&gateway, &format!("/api/v1/alerts/{incident}/acknowledge"), json!({ "by": "ann" })).await.0, 202);
    until_alert(&gateway, "mine", |alert| alert["acknowledged_by"] == "ann").await;
    second.answer(200);
    until_told(&second, "yours", "firing").await;

    // The first line does not answer either; what is silenced meanwhile nobody hears of any more.
    first.answer(500);
    let before = failures(&gateway).await;
    something_slow(&gateway, "noisy").await;
    until_failed_again(&gateway, before).await;
    homeostat(&server, &["silence", "create", "service=noisy", "--for", "1h"]);
    until_alert(&gateway, "noisy", |alert| alert["silenced_by"].as_array().is_some_and(|by| !by.is_empty())).await;
    something_slow(&gateway, "later").await;
    first.answer(200);
    until_told(&first, "later", "firing").await;
    until_told(&second, "later", "firing").await;
    let services = |pager: &Pager| told(pager).into_iter().map(|(service, _)| service).collect::<Vec<_>>();
    assert_eq!(services(&first), ["mine", "yours", "later"]);
    // It may have been told of the noisy one before that was silenced.
    assert_eq!(services(&second).iter().filter(|service| *service != "noisy").collect::<Vec<_>>(), ["yours", "later"]);
    worker.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reminders_hold_up_no_alert() {
    const OPEN: usize = 40;
    let server = Server::start().await;
    let pager = Pager::start();
    let settings = [format!("delivery.webhooks.pager.url={}", pager.address), "delivery.webhooks.pager.remind_s=2".to_owned()];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &settings, &[]);
    let gateway = worker.ready().await;
    for n in 0..OPEN {
        something_slow(&gateway, &format!("old-{n}")).await;
    }
    let is_reminder = |one: &Received| one.id().contains(".reminder.");
    let reminders = |pager: &Pager| pager.received().iter().filter(|one| is_reminder(one)).count();
    wait_for("reminders", PATIENCE, || (reminders(&pager) > 0).then_some(())).await;
    // A round of reminders takes longer than their turn now.
    pager.takes.store(100, Ordering::SeqCst);
    let before = reminders(&pager);
    wait_for("slow reminders", PATIENCE, || (reminders(&pager) > before + 3).then_some(())).await;
    let before = pager.received().len();
    something_slow(&gateway, "urgent").await;
    until_told(&pager, "urgent", "firing").await;
    let since: Vec<(String, String)> = pager.received()[before..]
        .iter()
        .map(|one| (one.id(), serde_json::from_slice::<Value>(&one.body).unwrap()["service"].as_str().unwrap().to_owned()))
        .collect();
    let place = since.iter().position(|(id, service)| service == "urgent" && !id.contains(".reminder.")).unwrap();
    assert!(place < OPEN / 2, "it came after {place} reminders: {since:?}");
    assert!(since[..place].iter().all(|(_, service)| service != "urgent"), "nobody is reminded of what he has not heard: {since:?}");
    worker.stop().await;
    server.stop().await;
}

impl Alertmanager {
    /// Its silences that are not over.
    async fn silences(&self) -> Vec<Value> {
        let (_, body) = http_get(&self.url, "/api/v2/silences").await.unwrap();
        let all: Vec<Value> = serde_json::from_str(&body).unwrap();
        all.into_iter().filter(|silence| silence["status"]["state"] != "expired").collect()
    }
}

fn suppressed(alerts: &[Value], service: &str) -> bool {
    alerts.iter().any(|alert| alert["labels"]["service"] == service && alert["status"]["state"] == "suppressed")
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_silences_what_is_silenced_and_what_somebody_looks_after() {
    let server = Server::start().await;
    let alertmanager = Alertmanager::start(&server.path("alertmanager"));
    let settings = [format!("delivery.alertmanager.urls=[\"{}\"]", alertmanager.url), "delivery.alertmanager.resend_s=1".to_owned()];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let data = server.path("worker");
    let mut worker = Worker::spawn(&data, Some(&server.url()), &settings, &[]);
    let gateway = worker.ready().await;
    alertmanager.until("Alertmanager", |_| true).await;
    something_slow(&gateway, "loud").await;
    alertmanager.until("the loud alert", |all| all.len() == 1).await;
    homeostat(&server, &["silence", "create", "rule=query.slow", "service!=loud", "--for", "1h", "--id", "s"]);
    homeostat(
        &server,
        &["silence", "create", "service=nobody", "--from", "00:00", "--to", "00:00", "--zone", "Asia/Tokyo", "--id", "night"],
    );
    something_slow(&gateway, "quiet").await;
    let alerts = alertmanager.until("the silenced alert", |all| suppressed(all, "quiet")).await;
    assert!(!suppressed(&alerts, "loud"), "{alerts:?}");

    // The next process finds the silences that are there, and makes none twice.
    worker.kill();
    let mut worker = Worker::spawn(&data, Some(&server.url()), &settings, &[]);
    let gateway = worker.ready().await;
    let incident = until_alert(&gateway, "loud", |_| true).await["incident"].as_str().unwrap().to_owned();
    assert_eq!(post(&gateway, &format!("/api/v1/alerts/{incident}/acknowledge"), json!({ "by": "bob" })).await.0, 202);
    alertmanager.until("the acknowledged alert", |all| suppressed(all, "loud") && suppressed(all, "quiet")).await;
    let silences = alertmanager.silences().await;
    assert_eq!(silences.len(), 3, "{silences:?}");
    let made = |by: &str| silences.iter().filter(|silence| silence["createdBy"] == by).count();
    assert_eq!((made("ann"), made("bob")), (2, 1), "{silences:?}");

    homeostat(&server, &["silence", "expire", "s", "night"]);
    alertmanager.until("the end of the silence", |all| !suppressed(all, "quiet") && suppressed(all, "loud")).await;

    // An acknowledgement ends with its incident, so that the end is told.
    switch_off(&server, "slow");
    alertmanager.until("the end of both", |all| all.is_empty()).await;
    let began = std::time::Instant::now();
    while !alertmanager.silences().await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "{:?}", alertmanager.silences().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    worker.stop().await;
    server.stop().await;
}
