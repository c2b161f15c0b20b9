//! Rules over what Homeostat says of itself.

use super::PromRule;

/// The rules by which Homeostat itself is watched.
pub(super) const HOMEOSTAT: &[PromRule] = &[
    PromRule {
        alert: "HomeostatNotAtWork",
        // Who stands by says 0, so the sum is what counts. Where nobody says anything there is no series to add up.
        expr: "sum by (job) (homeostat_active) != 1 or (vector(0) unless on () homeostat_active)",
        hold: "30s",
        severity: "critical",
        summary: "{{ $value }} processes carry the actors",
        description: "Exactly one process works; the others stand by.",
    },
    PromRule {
        alert: "HomeostatActorRestarting",
        expr: grew!("homeostat_actor_restarts_total", "10m", "3"),
        hold: "0s",
        severity: "warning",
        summary: "Actor {{ $labels.actor }} was restarted {{ $value | humanize }} times in ten minutes",
        description: "A mind fails again and again and is rebuilt from its checkpoint.",
    },
    PromRule {
        alert: "HomeostatLogLag",
        expr: "homeostat_actor_lag_messages > 10000",
        hold: "2m",
        severity: "warning",
        summary: "Actor {{ $labels.actor }} is {{ $value | humanize }} messages behind",
        description: "An actor does not keep up with what comes in; alerts come late.",
    },
    PromRule {
        alert: "HomeostatLogOvertaken",
        expr: grew!("homeostat_log_overtaken_total", "1h"),
        hold: "0s",
        severity: "critical",
        summary: "Telemetry was removed before it was read",
        description: "The log is too short for how far behind an actor was.",
    },
    PromRule {
        alert: "HomeostatCheckpointOld",
        expr: "time() - homeostat_actor_checkpoint_timestamp_seconds > 900 and on (instance, job) homeostat_active == 1",
        hold: "5m",
        severity: "warning",
        summary: "The last checkpoint of actor {{ $labels.actor }} is {{ $value | humanizeDuration }} old",
        description: "States are saved every few seconds while there is work; a restart would take long now.",
    },
    PromRule {
        alert: "HomeostatDeadMessages",
        expr: grew!("homeostat_dead_total", "10m"),
        hold: "0s",
        severity: "warning",
        summary: "{{ $value | humanize }} messages or events were set aside in ten minutes",
        description: "A publisher sends what cannot be understood; `homeostat.v1.dead.>` holds it with position and reason.",
    },
    PromRule {
        alert: "HomeostatPoisonMessage",
        expr: grew!("homeostat_actor_poison_total", "1h"),
        hold: "0s",
        severity: "critical",
        summary: "Actor {{ $labels.actor }} failed on a message again and again",
        description: "A mind has a fault; the message was set aside so that the rest goes on.",
    },
    PromRule {
        alert: "HomeostatBrokenPromise",
        expr: grew!("homeostat_actor_broken_promises_total", "1h"),
        hold: "0s",
        severity: "critical",
        summary: "A promise of actor {{ $labels.actor }} does not hold",
        description: "A mind's state is not what its page promises: a fault worth a report.",
    },
    PromRule {
        alert: "HomeostatFencedOutputs",
        expr: grew!("homeostat_actor_fenced_total", "10m", "3"),
        hold: "0s",
        severity: "warning",
        summary: "Actor {{ $labels.actor }} was refused {{ $value | humanize }} times because another process owned it",
        description: "Two processes keep taking the work from each other. Nothing is said twice, but time is lost.",
    },
    PromRule {
        alert: "HomeostatIntakeUnavailable",
        expr: concat!("sum by (intake) (", grew!("homeostat_intake_total{result=\"unavailable\"}", "5m"), ")"),
        hold: "2m",
        severity: "warning",
        summary: "The intake {{ $labels.intake }} cannot store what it is sent",
        description: "Senders are answered 503 and keep what they have; the bus is away, full, or too slow.",
    },
];
