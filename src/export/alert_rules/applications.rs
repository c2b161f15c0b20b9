//! Rules over what applications and machines say of themselves.

use super::PromRule;

/// The rules over applications and machines. Requests without a `service_name` are not those of an application: Homeostat's own gateway
/// measures itself under the same name, and answers `/readyz` with 503 while it is not ready.
pub(super) const APPLICATIONS: &[PromRule] = &[
    PromRule {
        alert: "ApiLatencyP95High",
        expr: "histogram_quantile(0.95, sum by (service_name, le) (rate(http_server_request_duration_seconds_bucket{service_name!=\"\"}[5m]))) > 0.5 \
               and on (service_name) sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name!=\"\"}[5m])) > 0.1",
        hold: "5m",
        severity: "warning",
        summary: "95 % of the requests of {{ $labels.service_name }} need up to {{ $value | humanizeDuration }}",
        description: "One request in twenty takes longer than 500 ms.",
        advice: "Take back the deployment with which it began, if there was one; else do what the findings about the service advise.",
    },
    PromRule {
        alert: "ApiLatencyP99High",
        expr: "histogram_quantile(0.99, sum by (service_name, le) (rate(http_server_request_duration_seconds_bucket{service_name!=\"\"}[5m]))) > 2 \
               and on (service_name) sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name!=\"\"}[5m])) > 0.1",
        hold: "5m",
        severity: "critical",
        summary: "99 % of the requests of {{ $labels.service_name }} need up to {{ $value | humanizeDuration }}",
        description: "One request in a hundred takes longer than 2 s.",
        advice: "Free what is waited for. Raising time-outs makes it worse.",
    },
    PromRule {
        alert: "ErrorRateHigh",
        expr: "sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name!=\"\", http_response_status_code=~\"5..\"}[5m])) \
               / sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name!=\"\"}[5m])) > 0.05 \
               and on (service_name) sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name!=\"\"}[5m])) > 0.1",
        hold: "5m",
        severity: "critical",
        summary: "{{ $value | humanizePercentage }} of the requests of {{ $labels.service_name }} fail",
        description: "More than 5 % of the requests were answered with a status of 500 or above.",
        advice: "Take back the deployment, or let the breaker shed the dependency and answer without it.",
    },
    PromRule {
        alert: "CacheHitRateLow",
        // Where nothing is a hit there may be no series of hits.
        expr: "(sum by (service_name, cache) (rate(app_cache_requests_total{result=\"hit\"}[10m])) \
               or 0 * sum by (service_name, cache) (rate(app_cache_requests_total[10m]))) \
               / sum by (service_name, cache) (rate(app_cache_requests_total[10m])) < 0.6 \
               and on (service_name, cache) sum by (service_name, cache) (rate(app_cache_requests_total[10m])) > 0.1",
        hold: "10m",
        severity: "warning",
        summary: "Cache {{ $labels.cache }} of {{ $labels.service_name }} answers {{ $value | humanizePercentage }} of what it is asked",
        description: "Less than 60 % of the look-ups are hits.",
        advice: "Let recovery warm it (`cache.warm`, `homeostat recovery list`), enlarge it, or keep answers longer.",
    },
    PromRule {
        alert: "FixSuccessLow",
        expr: "(sum(increase(homeostat_recovery_outcomes_total{outcome=\"verified\"}[1h])) \
               or 0 * sum(increase(homeostat_recovery_outcomes_total[1h]))) \
               / sum(increase(homeostat_recovery_outcomes_total[1h])) < 0.75 \
               and sum(increase(homeostat_recovery_outcomes_total[1h])) >= 4",
        hold: "5m",
        severity: "warning",
        summary: "{{ $value | humanizePercentage }} of the cures of the last hour helped",
        description: "Less than 75 % of at least four cures had the effect that was promised of them.",
        advice: "Put the rule that does not help to `observe`; a person has to look at the cause.",
    },
    PromRule {
        alert: "ServiceDown",
        expr: "up == 0",
        hold: "1m",
        severity: "critical",
        summary: "{{ $labels.job }} at {{ $labels.instance }} cannot be scraped",
        description: "Prometheus has had no answer for a minute.",
        advice: "Start it again; look at its last lines and at `health.oom_kill`.",
    },
    PromRule {
        alert: "MemoryAvailableLow",
        expr: "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.15",
        hold: "5m",
        severity: "warning",
        summary: "{{ $value | humanizePercentage }} of the memory of {{ $labels.instance }} is available",
        description: "Less than 15 % of a machine's memory can be had without swapping.",
        advice: "Move or restart the one that leaks before the kernel chooses; give the machine more.",
    },
    PromRule {
        alert: "CpuHigh",
        expr: "1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m])) > 0.85",
        hold: "10m",
        severity: "warning",
        summary: "The processors of {{ $labels.instance }} are busy for {{ $value | humanizePercentage }} of the time",
        description: "A machine's processors have been busy for more than 85 % of the time.",
        advice: "Shed or spread the load; if the load did not rise, look at the last deployment and at `query.regressed`.",
    },
    PromRule {
        alert: "DatabaseLatencyP95High",
        expr: "histogram_quantile(0.95, sum by (service_name, db_system_name, le) (rate(db_client_operation_duration_seconds_bucket[5m]))) > 0.25 \
               and on (service_name, db_system_name) sum by (service_name, db_system_name) (rate(db_client_operation_duration_seconds_count[5m])) > 0.1",
        hold: "5m",
        severity: "warning",
        summary: "95 % of what {{ $labels.service_name }} asks of {{ $labels.db_system_name }} takes up to {{ $value | humanizeDuration }}",
        description: "One database operation in twenty takes longer than 250 ms.",
        advice: "Follow the advice of the statement: mostly an index, fewer rows, or one query instead of many.",
    },
    PromRule {
        alert: "ConnectionPoolNearlyFull",
        // Each process has its own pool: callers wait at a full one, however empty the others are.
        expr: "sum by (service_name, instance, db_client_connection_pool_name) (db_client_connection_count{db_client_connection_state=\"used\"}) \
               / sum by (service_name, instance, db_client_connection_pool_name) (db_client_connection_max) > 0.8",
        hold: "2m",
        severity: "warning",
        summary: "Pool {{ $labels.db_client_connection_pool_name }} of {{ $labels.service_name }} at {{ $labels.instance }} is used to {{ $value | humanizePercentage }}",
        description: "More than 80 % of a pool's connections are in use.",
        advice: "Find what holds connections for long (slow queries, transactions around remote calls); only then enlarge the pool.",
    },
    PromRule {
        alert: "DiskNearlyFull",
        expr: "node_filesystem_avail_bytes{fstype!~\"tmpfs|ramfs|squashfs|iso9660|overlay|fuse.*\"} / node_filesystem_size_bytes < 0.1 \
               and node_filesystem_readonly == 0",
        hold: "5m",
        severity: "warning",
        summary: "{{ $value | humanizePercentage }} of {{ $labels.mountpoint }} at {{ $labels.instance }} is free",
        description: "Less than 10 % of a disk can be written to. A bus or a database there takes nothing any more when it is full.",
        advice: "Make room, or enlarge the disk, before it is full: nats-server has to be started again afterwards.",
    },
];
