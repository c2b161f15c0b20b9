//! Every metric of objects: the one list.

use prometheus_client::registry::Unit;

/// A metric of objects.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    unit: Option<&'static str>,
    pub(super) counter: bool,
    pub(super) labels: &'static [&'static str],
    pub(super) meaning: &'static str,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], meaning: &'static str) -> Kind {
    Kind { name, unit: None, counter: false, labels, meaning }
}

impl Kind {
    const fn counted(self) -> Kind {
        Kind { counter: true, ..self }
    }

    const fn in_unit(self, unit: &'static str) -> Kind {
        Kind { unit: Some(unit), ..self }
    }

    pub(super) fn unit(&self) -> Option<Unit> {
        self.unit.map(|unit| match unit {
            "seconds" => Unit::Seconds,
            "bytes" => Unit::Bytes,
            other => Unit::Other(other.to_owned()),
        })
    }
}

/// Every metric of objects: the one list. Places in it are its names here.
macro_rules! kinds {
    ($($id:ident = $kind:expr;)*) => {
        #[derive(Clone, Copy)]
        pub(super) enum Id { $($id),* }
        pub(super) const KINDS: &[Kind] = &[$($kind),*];
    };
}

const STATEMENT: &[&str] = &["service", "fingerprint", "statement"];
const BREAKER: &[&str] = &["service", "peer", "operation", "zone"];
const FEATURE: &[&str] = &["service", "model", "feature"];
const SERIES: &[&str] = &["service", "metric", "service_instance_id"];
const PROCESS: &[&str] = &["service", "service_instance_id"];
const KEY: &[&str] = &["key", "owner"];

kinds! {
    AlertStarted = gauge("homeostat_alert_started_timestamp", &["incident", "alert", "rule", "severity", "service", "summary", "trace_id"],
        "Open findings: since when. `alert` is the id of the last message about it, `trace_id` the trace that shows it, if it has one").in_unit("seconds");
    AlertsOpen = gauge("homeostat_alerts_open", &["service"], "Open findings of a service");
    ServiceLevel = gauge("homeostat_service_level", &["service"], "May the service be given work: 0 yes, 1 somebody should look, 2 no");
    ServiceInstances = gauge("homeostat_service_instances", &["service", "state"], "Instances by their heartbeats: alive, silent");
    ServiceRequests = gauge("homeostat_service_requests", &["service"], "Requests that the service completed in the last minute");
    ServiceErrors = gauge("homeostat_service_errors", &["service"], "Share of them that ended with 5xx").in_unit("ratio");
    CacheHits = gauge("homeostat_service_cache_hits", &["service", "cache"], "Share of look-ups that the cache answered, by its last report")
        .in_unit("ratio");
    QueryCalls = gauge("homeostat_query_calls", STATEMENT, "Executions of the statement").counted();
    QueryErrors = gauge("homeostat_query_errors", STATEMENT, "Executions that failed").counted();
    QuerySlow = gauge("homeostat_query_slow_calls", STATEMENT, "Executions that took longer than `slow_ms`").counted();
    QueryTime = gauge("homeostat_query_time", STATEMENT, "Time of all executions together").counted().in_unit("seconds");
    QueryQuantile = gauge("homeostat_query_duration", &["service", "fingerprint", "statement", "quantile"],
        "Time of an execution that this share did not exceed, within 1.6 %").in_unit("seconds");
    QueryFinding = gauge("homeostat_query_finding", &["service", "fingerprint", "statement", "rule"],
        "1 for each rule that is open for the statement, N+1 among them");
    QueryAdvice = gauge("homeostat_query_advice", &["service", "fingerprint", "statement", "advice", "text"],
        "1 for each advice: what to do, and the statement that does it or the reason");
    BreakerAdmitted = gauge("homeostat_breaker_admitted", BREAKER, "Share of first attempts that the fleet admits").in_unit("ratio");
    BreakerRetries = gauge("homeostat_breaker_retries_admitted", BREAKER, "Share of repetitions that the fleet admits").in_unit("ratio");
    BreakerState = gauge("homeostat_breaker_state", &["service", "peer", "operation", "zone", "state"],
        "1 for the state of the fleet's breaker, 0 for the others: closed, ramping, open");
    BreakerDemand = gauge("homeostat_breaker_demand_per_second", BREAKER, "Attempts a second of all replicas, refused ones included");
    BreakerReplicas = gauge("homeostat_breaker_replicas", &["service", "peer", "operation", "zone", "state"],
        "Replicas that reported calls of late (reporting), and those of them with failures now (failing)");
    BreakerLocal = gauge("homeostat_breaker_local", &["service", "peer", "operation", "zone", "state"],
        "Replicas by the state of their own breakers, as far as they said it");
    DriftVerdict = gauge("homeostat_drift_verdict", FEATURE,
        "What is said of the feature: 0 nothing or too little data, 1 noticeable, 2 moderate, 3 significant, 4 critical");
    DriftPsi = gauge("homeostat_drift_psi", FEATURE, "Population stability index of the last window, less what chance alone makes of it");
    DriftP = gauge("homeostat_drift_p_value", FEATURE, "p-value of the last window, all tests together");
    DriftE = gauge("homeostat_drift_e_value", FEATURE, "Evidence piled up: without drift it reaches x with a chance of 1/x at most");
    DriftPending = gauge("homeostat_drift_pending_values", FEATURE, "Values since the last look");
    ForecastActual = gauge("homeostat_forecast_actual", SERIES, "The series: its last step that had a value");
    ForecastExpected = gauge("homeostat_forecast_expected", SERIES, "What had been expected of that step");
    ForecastAnomaly = gauge("homeostat_forecast_anomaly", SERIES, "Is the series unusual now: 0 or 1");
    ForecastPoint = gauge("homeostat_forecast_point", &["service", "metric", "service_instance_id", "ahead", "bound"],
        "The forecast of an hour, `ahead` from now: its mean, and the lower and upper end of its interval");
    ForecastLimit = gauge("homeostat_forecast_limit", SERIES, "The limit of the series");
    ForecastLimitReached = gauge("homeostat_forecast_limit_probability", SERIES, "Chance that the limit is reached within the horizon").in_unit("ratio");
    ForecastLimitAt = gauge("homeostat_forecast_limit_timestamp", &["service", "metric", "service_instance_id", "quantile"],
        "When the limit is reached: this share of the paths is there by then").in_unit("seconds");
    LeakMemory = gauge("homeostat_leak_memory", PROCESS, "Memory of the process in its last report").in_unit("bytes");
    LeakLimit = gauge("homeostat_leak_memory_limit", PROCESS, "Its limit").in_unit("bytes");
    LeakGrowth = gauge("homeostat_leak_growth_per_hour", &["service", "service_instance_id", "bound"],
        "Growth an hour: measured (mean), and the ends of its 95 % interval (lower, upper)").in_unit("bytes");
    LeakVerdict = gauge("homeostat_leak_verdict", PROCESS, "Does it leak: 0 no, 1 suspected, 2 confirmed");
    LeakToLimit = gauge("homeostat_leak_time_to_limit", PROCESS, "Time until its limit, growing as measured").in_unit("seconds");
    KeyVersion = gauge("homeostat_key_version", &["key", "owner", "state"], "The newest version of the key, and where it is in its life");
    KeyExpiry = gauge("homeostat_key_expiry_timestamp", KEY, "The end of the key").in_unit("seconds");
    KeyDue = gauge("homeostat_key_due_timestamp", &["key", "owner", "next"], "What is due next for the key, and when").in_unit("seconds");
    KeyUsed = gauge("homeostat_key_last_used_timestamp", KEY, "When any version of the key was used last").in_unit("seconds");
    KeyFailures = gauge("homeostat_key_failures", KEY, "Tries in a row that failed to do what is due");
    RecoveryDecisions = gauge("homeostat_recovery_decisions", &["what"], "Entries of the decision record").counted();
    RecoveryIncidents = gauge("homeostat_recovery_incidents", &["stage"], "Incidents by how far their cure has come");
    RecoveryBudget = gauge("homeostat_recovery_budget", &["bound"], "Commands of late (used), and how many there may be (limit)");
    RecoveryStopped = gauge("homeostat_recovery_stopped", &["by"], "What is stopped: by a person (pause), by the fleet brake (brake)");
    NoRoom = gauge("homeostat_actor_no_room", &["actor", "what"], "What an actor could not tell apart or keep, because a limit of its settings was reached").counted();
    LeftOut = gauge("homeostat_objects_left_out", &["of"], "Objects that are not shown here, because there are more than `gateway.metrics_objects_max`");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_and_labels_of_its_own() {
        let names: std::collections::BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
    }
}
