//! The dashboards that are about more than one actor.

use super::panel::Panel;
use super::{begun, open_findings};

pub(super) fn overview() -> Vec<Panel> {
    vec![
        Panel::number("At work", "short", "sum(homeostat_active)", "processes")
            .about("Processes that carry the actors: exactly one, and red otherwise.")
            .exactly(1.0),
        Panel::number("Findings open", "short", "sum(homeostat_actor_open_findings)", "open").limits(1.0, 20.0),
        Panel::number("Silenced", "short", "max(homeostat_findings_silenced)", "open, but nobody is told"),
        Panel::number("Events a second", "ops", "sum(rate(homeostat_events_total[$__rate_interval]))", "events/s"),
        Panel::number("Set aside", "short", "sum(increase(homeostat_dead_total[1h]))", "in an hour")
            .about("Messages and events that could not be processed in the last hour.")
            .limits(1.0, 100.0),
        Panel::number("Furthest behind", "short", "max(homeostat_actor_lag_messages)", "messages").limits(1_000.0, 10_000.0),
        open_findings(""),
        Panel::stack("Findings open, by rule", "short", "sum by (rule) (homeostat_findings_open) > 0", "{{rule}}"),
        Panel::stack("Alerts, by rule", "short", format!("sum by (rule, state) ({}) > 0", begun("")), "{{rule}} {{state}}")
            .about("What began and what ended, in each minute."),
        Panel::states("Services", &["ready", "look", "not ready"], "max by (service) (homeostat_service_level)", "{{service}}")
            .about("May a service be given work, by the health actor."),
        Panel::stack("Events, by kind", "ops", "sum by (kind) (rate(homeostat_events_total[$__rate_interval]))", "{{kind}}"),
        Panel::stack(
            "Intake over HTTP",
            "ops",
            "sum by (intake, result) (rate(homeostat_intake_total[$__rate_interval]))",
            "{{intake}} {{result}}",
        )
        .about("Spans and events by what became of them; unavailable ones are sent again by their exporters."),
        Panel::lines(
            "From being read to being said",
            "s",
            "histogram_quantile(0.5, sum by (le) (rate(homeostat_actor_cycle_seconds_bucket[$__rate_interval])))",
            "p50",
        )
        .and("histogram_quantile(0.99, sum by (le) (rate(homeostat_actor_cycle_seconds_bucket[$__rate_interval])))", "p99")
        .about("Time of a batch from being read to its alerts being stored, all actors. Points are traces.")
        .limits(0.05, 0.5),
        Panel::lines("Behind", "short", "max by (actor) (homeostat_actor_lag_messages)", "{{actor}}").limits(1_000.0, 10_000.0),
        Panel::stack("Restarts of actors", "short", "sum by (actor) (increase(homeostat_actor_restarts_total[1h]))", "{{actor}}"),
        Panel::lines(
            "No room in an hour",
            "short",
            "sum by (actor, what) (increase(homeostat_actor_no_room_total[1h]))",
            "{{actor}} {{what}}",
        ),
        Panel::traces("Latest alerts, traced", "{ resource.service.name = \"homeostat\" && span.homeostat.rule != nil }")
            .about("From the publisher's message to the alert. Needs Tempo."),
    ]
}

pub(super) fn applications() -> Vec<Panel> {
    let by = "{service_name=~\"$service\"}";
    let rate = "$__rate_interval";
    vec![
        Panel::lines(
            "Requests",
            "reqps",
            format!("sum by (service_name) (rate(http_server_request_duration_seconds_count{by}[{rate}]))"),
            "{{service_name}}",
        ),
        Panel::lines(
            "Errors",
            "percentunit",
            "(sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name=~\"$service\", http_response_status_code=~\"5..\"}[5m])) \
             or 0 * sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name=~\"$service\"}[5m]))) \
             / sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name=~\"$service\"}[5m]))",
            "{{service_name}}",
        )
        .about("Share of requests answered with 5xx.")
        .limits(0.05, 0.1),
        Panel::lines(
            "Time of requests, p95",
            "s",
            format!("histogram_quantile(0.95, sum by (service_name, le) (rate(http_server_request_duration_seconds_bucket{by}[5m])))"),
            "{{service_name}}",
        )
        .limits(0.5, 2.0),
        Panel::lines(
            "Time of requests, p99",
            "s",
            format!("histogram_quantile(0.99, sum by (service_name, le) (rate(http_server_request_duration_seconds_bucket{by}[5m])))"),
            "{{service_name}}",
        )
        .limits(0.5, 2.0),
        Panel::lines(
            "Time of database operations, p95",
            "s",
            format!("histogram_quantile(0.95, sum by (service_name, db_system_name, le) (rate(db_client_operation_duration_seconds_bucket{by}[5m])))"),
            "{{service_name}} {{db_system_name}}",
        )
        .limits(0.25, 1.0),
        Panel::lines(
            "Connection pools",
            "percentunit",
            "sum by (service_name, instance, service_instance_id, db_client_connection_pool_name) \
             (db_client_connection_count{service_name=~\"$service\", db_client_connection_state=\"used\"}) \
             / sum by (service_name, instance, service_instance_id, db_client_connection_pool_name) (db_client_connection_max{service_name=~\"$service\"})",
            "{{service_name}} {{service_instance_id}} {{instance}} {{db_client_connection_pool_name}}",
        )
        .about("Share of connections in use, of each process.")
        .limits(0.8, 0.95),
        Panel::lines(
            "Cache hits",
            "percentunit",
            "(sum by (service_name, cache) (rate(app_cache_requests_total{service_name=~\"$service\", result=\"hit\"}[10m])) \
             or 0 * sum by (service_name, cache) (rate(app_cache_requests_total{service_name=~\"$service\"}[10m]))) \
             / sum by (service_name, cache) (rate(app_cache_requests_total{service_name=~\"$service\"}[10m]))",
            "{{service_name}} {{cache}}",
        )
        .limits(0.6, 0.4),
        Panel::stack("Homeostat's findings", "short", "sum by (service) (homeostat_alerts_open{service=~\"$service\"})", "{{service}}"),
    ]
}

pub(super) fn machine() -> Vec<Panel> {
    let own = "{job=\"homeostat\", instance=~\"$instance\"}";
    let from = "{instance=~\"$instance\"}";
    let rate = "$__rate_interval";
    vec![
        Panel::lines(
            "Gateway: requests",
            "reqps",
            format!("sum by (http_route, http_response_status_code) (rate(http_server_request_duration_seconds_count{own}[{rate}]))"),
            "{{http_route}} {{http_response_status_code}}",
        ),
        Panel::lines(
            "Gateway: time, p99",
            "s",
            format!("histogram_quantile(0.99, sum by (http_route, le) (rate(http_server_request_duration_seconds_bucket{own}[{rate}])))"),
            "{{http_route}}",
        )
        .limits(0.05, 0.5),
        Panel::lines("Process: memory", "bytes", format!("process_resident_memory_bytes{own}"), "{{instance}}")
            .about("Without its nats-server, if it started one."),
        Panel::lines("Process: processor", "percentunit", format!("rate(process_cpu_seconds_total{own}[{rate}])"), "{{instance}}")
            .about("1 is one core.")
            .open_ended(),
        Panel::lines("Process: open files", "percentunit", format!("process_open_fds{own} / process_max_fds{own}"), "{{instance}}")
            .limits(0.5, 0.8),
        Panel::lines("Process: up", "s", format!("time() - process_start_time_seconds{own}"), "{{instance}}"),
        Panel::lines(
            "Bus: messages",
            "ops",
            format!("rate(homeostat_nats_received_messages_total{from}[{rate}])"),
            "{{instance}} received",
        )
        .and(format!("rate(homeostat_nats_sent_messages_total{from}[{rate}])"), "{{instance}} sent"),
        Panel::lines("Bus: bytes", "Bps", format!("rate(homeostat_nats_received_bytes_total{from}[{rate}])"), "{{instance}} received")
            .and(format!("rate(homeostat_nats_sent_bytes_total{from}[{rate}])"), "{{instance}} sent"),
        Panel::lines("Bus: connections made", "short", format!("increase(homeostat_nats_connects_total{from}[1h])"), "{{instance}}")
            .about("Each beyond the first means that the bus was lost and found again."),
        Panel::lines(
            "Streams: share of what they may hold",
            "percentunit",
            format!("homeostat_stream_size_bytes{from} / homeostat_stream_limit_bytes{from}"),
            "{{instance}} {{stream}}",
        )
        .about("In log and archive the oldest makes room; state, checkpoints and ledger take no more when they are full.")
        .limits(0.8, 0.95),
        Panel::lines(
            "Data directory: disk left",
            "percentunit",
            format!("homeostat_disk_available_bytes{from} / homeostat_disk_size_bytes{from}"),
            "{{instance}}",
        )
        .about("An embedded server keeps everything there: a full disk stops the log. With a bus of your own only keys are there.")
        .limits(0.2, 0.1),
        Panel::lines("Log: messages read", "ops", format!("rate(homeostat_log_messages_total{from}[{rate}])"), "{{instance}}"),
        Panel::lines("States saved", "bytes", format!("homeostat_actor_checkpoint_size_bytes{from}"), "{{actor}}"),
        Panel::lines("Since states were saved", "s", format!("time() - homeostat_actor_checkpoint_timestamp_seconds{from}"), "{{actor}}")
            .limits(300.0, 900.0),
        Panel::stack(
            "API keys shown",
            "ops",
            format!("sum by (result) (rate(homeostat_key_verifications_total{from}[{rate}]))"),
            "{{result}}",
        ),
        Panel::stack("Log-ins at the bus", "ops", format!("sum by (result) (rate(homeostat_callouts_total{from}[{rate}]))"), "{{result}}")
            .about("What nats-server asked about, where log-in by callout is set up."),
        Panel::lines(
            "Machine: processors",
            "percentunit",
            "1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[$__rate_interval]))",
            "{{instance}}",
        )
        .limits(0.85, 0.95),
        Panel::lines(
            "Machine: memory available",
            "percentunit",
            "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
            "{{instance}}",
        )
        .limits(0.25, 0.15),
        Panel::lines(
            "Machine: disk free",
            "percentunit",
            "node_filesystem_avail_bytes{fstype!~\"tmpfs|ramfs|squashfs|iso9660|overlay\"} / node_filesystem_size_bytes{fstype!~\"tmpfs|ramfs|squashfs|iso9660|overlay\"}",
            "{{instance}} {{mountpoint}}",
        )
        .limits(0.2, 0.1),
    ]
}

/// What the exporters beside a compose file say: the NATS exporter of nats-server, cAdvisor of the containers.
pub(super) fn containers() -> Vec<Panel> {
    let rate = "$__rate_interval";
    vec![
        Panel::lines("nats-server: connections", "short", "gnatsd_varz_connections", "{{server_id}}"),
        Panel::lines("nats-server: slow consumers", "short", "gnatsd_varz_slow_consumers", "{{server_id}}").limits(1.0, 10.0),
        Panel::lines("nats-server: messages", "ops", format!("rate(gnatsd_varz_in_msgs[{rate}])"), "{{server_id}} in")
            .and(format!("rate(gnatsd_varz_out_msgs[{rate}])"), "{{server_id}} out"),
        Panel::lines("nats-server: memory", "bytes", "gnatsd_varz_mem", "{{server_id}}"),
        Panel::lines("Streams: bytes", "bytes", "max by (stream_name) (jetstream_stream_total_bytes)", "{{stream_name}}"),
        Panel::lines("Streams: messages", "short", "max by (stream_name) (jetstream_stream_total_messages)", "{{stream_name}}"),
        Panel::lines(
            "Containers: processor",
            "percentunit",
            format!("sum by (name) (rate(container_cpu_usage_seconds_total{{name!=\"\"}}[{rate}]))"),
            "{{name}}",
        )
        .about("1 is one core.")
        .open_ended(),
        Panel::lines("Containers: memory", "bytes", "container_memory_working_set_bytes{name!=\"\"}", "{{name}}"),
    ]
}
