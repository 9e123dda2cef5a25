//! What the dashboard shows, from the answer at a glance down to the processes. A query yields 0 rather than nothing
//! while all is well, so that an empty panel means that nobody exports the metric.

use super::panel::{Panel, Queries, Show};

/// A row of panels under a heading.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The heading.
    pub title: &'static str,
    /// From left to right.
    pub panels: &'static [Panel],
}

/// From top to bottom.
pub const ROWS: &[Row] = &[
    Row { title: "The answer at a glance", panels: GLANCE },
    Row { title: "Lag: how late is MySQL?", panels: LAG },
    Row { title: "Persist: from the topic into MySQL", panels: PERSIST },
    Row { title: "Ingest: from HTTP into Redis and the topic", panels: INGEST },
    Row { title: "Processes", panels: PROCESSES },
];

const fn stat(
    title: &'static str,
    unit: &'static str,
    steps: &'static [(f64, &'static str)],
    queries: &'static [(&'static str, &'static str)],
    description: &'static str,
) -> Panel {
    Panel { title, description, unit, show: Show::Stat(steps), queries: Queries::Given(queries) }
}

const fn lines(
    title: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
    description: &'static str,
) -> Panel {
    Panel { title, description, unit, show: Show::Lines, queries: Queries::Given(queries) }
}

const fn quantiles(title: &'static str, unit: &'static str, buckets: &'static str, description: &'static str) -> Panel {
    Panel { title, description, unit, show: Show::Lines, queries: Queries::Quantiles(buckets) }
}

const GLANCE: &[Panel] = &[
    stat(
        "Oldest unpersisted",
        "s",
        &[(30.0, "orange"), (300.0, "red")],
        &[("", r#"max(write_behind_oldest_unpersisted_seconds{entity=~"$entity"})"#)],
        "Age of the oldest write that MySQL does not have. It grows by a second a second while nothing is persisted, \
         also when every persister is dead.",
    ),
    stat(
        "Events behind",
        "short",
        &[],
        &[("", r#"sum(max by (entity, partition) (write_behind_lag_events{entity=~"$entity"}))"#)],
        "Events between the committed offset and the end of the topic. Large and shrinking is a burst; growing is a \
         persister that does not keep up.",
    ),
    stat(
        "Only in Redis",
        "short",
        &[(1000.0, "orange")],
        &[("", "max(write_behind_outbox_entries)")],
        "Writes that the topic has not acknowledged: they rest on Redis alone until the relay has brought them there. \
         Growing: Kafka is away.",
    ),
    stat(
        "Accepted",
        "wps",
        &[],
        &[("", r#"sum(rate(write_behind_accepted_total{entity=~"$entity"}[$__rate_interval]))"#)],
        "Writes answered with 2xx, a second.",
    ),
    stat(
        "Applied",
        "wps",
        &[],
        &[("", r#"sum(rate(write_behind_fates_total{entity=~"$entity",fate="applied"}[$__rate_interval]))"#)],
        "Events whose version MySQL holds since, a second. Below the accepted ones for long: look at the row Persist.",
    ),
    stat(
        "Refused by our fault",
        "wps",
        &[(0.01, "red")],
        &[(
            "",
            r#"sum(rate(write_behind_rejected_total{entity=~"$entity",reason=~"full|busy|bodies-full|cache-away|no-instance-slot|stores-away|clocks-disagree|outcome-unknown"}[$__rate_interval]))"#,
        )],
        "Writes answered with 503 or 504, a second. `Refused, by reason` below says why.",
    ),
    stat(
        "Stores away",
        "short",
        &[(1.0, "red")],
        &[("", "sum(1 - min by (job, dependency) (write_behind_dependency_up))")],
        "How many stores a service does not reach, counted once a service. `Who is away` names them.",
    ),
    stat(
        "Alerts",
        "short",
        &[(1.0, "red")],
        &[("", r#"count(ALERTS{alertname=~"WriteBehind.+",alertstate="firing"}) or vector(0)"#)],
        "Alerts that fire. docs/OBSERVABILITY.md has a heading for each: what it means and what to do.",
    ),
    Panel {
        title: "Who is away",
        description: "Since when a service does not answer Prometheus, or does not reach a store. The first bar that \
                      turned red is the one to mend.",
        unit: "bool_on_off",
        show: Show::Timeline([("there", "green"), ("away", "red")]),
        queries: Queries::Given(&[
            ("{{job}}", r#"max by (job) (up{job=~"ingest|persister"})"#),
            ("{{job}} → {{dependency}}", "min by (job, dependency) (write_behind_dependency_up)"),
        ]),
    },
    Panel {
        title: "Alerts over time",
        description: "Which alert fired when.",
        unit: "bool_on_off",
        show: Show::Timeline([("fires", "red"), ("none", "green")]),
        queries: Queries::Given(&[(
            "{{alertname}}",
            r#"max by (alertname) (ALERTS{alertname=~"WriteBehind.+",alertstate="firing"}) or on () label_replace(vector(0), "alertname", "none fires", "", "")"#,
        )]),
    },
];

const LAG: &[Panel] = &[
    lines(
        "Oldest unpersisted, by partition",
        "s",
        &[(
            "{{entity}} {{partition}}",
            r#"max by (entity, partition) (write_behind_oldest_unpersisted_seconds{entity=~"$entity"})"#,
        )],
        "One partition alone: its lane holds. All together: persister or MySQL. An outbox that waits shows in every \
         partition of its entity.",
    ),
    quantiles(
        "Write lag",
        "s",
        r#"write_behind_write_lag_seconds_bucket{entity=~"$entity"}"#,
        "From a version's birth in Redis to its commit in MySQL, of what is persisted at the moment. What is not \
         persisted yet does not show here, but in the oldest unpersisted.",
    ),
    Panel {
        title: "Write lag, all of it",
        description: "How many versions had which write lag. A second band is a second kind of write: a relay after an \
                      outage, a partition that was held.",
        unit: "s",
        show: Show::Heatmap,
        queries: Queries::Given(&[(
            "{{le}}",
            r#"sum by (le) (increase(write_behind_write_lag_seconds_bucket{entity=~"$entity"}[$__rate_interval]))"#,
        )]),
    },
    lines(
        "Events behind, by partition",
        "short",
        &[("{{entity}} {{partition}}", r#"max by (entity, partition) (write_behind_lag_events{entity=~"$entity"})"#)],
        "Offsets between the group's commit and the end of the partition: kafka_consumergroup_lag under our name.",
    ),
    lines(
        "Time to drain",
        "s",
        &[(
            "to go",
            r#"sum(max by (entity, partition) (write_behind_lag_events{entity=~"$entity"})) / clamp_min(sum(rate(write_behind_fates_total{entity=~"$entity"}[$__rate_interval])), 0.001)"#,
        )],
        "Events behind, divided by the events that get their fate in a second. Beyond all bounds: nothing is applied.",
    ),
    lines(
        "Accepted against applied",
        "wps",
        &[
            ("accepted", r#"sum(rate(write_behind_accepted_total{entity=~"$entity"}[$__rate_interval]))"#),
            ("applied or superseded", r#"sum(rate(write_behind_fates_total{entity=~"$entity"}[$__rate_interval]))"#),
        ],
        "Two lines on each other: all is well. The lower line is the one that cannot follow.",
    ),
];

const PERSIST: &[Panel] = &[
    lines(
        "Events, by fate",
        "wps",
        &[("{{fate}}", r#"sum by (fate) (rate(write_behind_fates_total{entity=~"$entity"}[$__rate_interval]))"#)],
        "Applied: the table holds this version. Superseded: it lost to a newer one, which is no error.",
    ),
    lines(
        "Superseded, of all",
        "percentunit",
        &[(
            "superseded",
            r#"sum(rate(write_behind_fates_total{entity=~"$entity",fate="superseded"}[$__rate_interval])) / clamp_min(sum(rate(write_behind_fates_total{entity=~"$entity"}[$__rate_interval])), 0.001)"#,
        )],
        "Many: the same records are written again and again, or a backlog is read once more.",
    ),
    lines(
        "Re-asserted",
        "wps",
        &[(
            "{{entity}}",
            r#"sum by (entity) (rate(write_behind_reasserted_total{entity=~"$entity"}[$__rate_interval]))"#,
        )],
        "Rows produced again because an older event stood behind their own. Now and then is normal.",
    ),
    lines(
        "Transactions",
        "ops",
        &[("{{instance}}", "sum by (instance) (rate(write_behind_apply_seconds_count[$__rate_interval]))")],
        "Batches that came into MySQL, a second.",
    ),
    quantiles(
        "Time of a transaction",
        "s",
        "write_behind_apply_seconds_bucket",
        "From its begin to its commit. Slow while batches are small: MySQL.",
    ),
    lines(
        "Events in a transaction",
        "short",
        &[
            ("p99", "histogram_quantile(0.99, sum by (le) (rate(write_behind_batch_rows_bucket[$__rate_interval])))"),
            (
                "mean",
                "sum(rate(write_behind_batch_rows_sum[$__rate_interval])) / sum(rate(write_behind_batch_rows_count[$__rate_interval]))",
            ),
        ],
        "At the upper bound (--batch-rows-most) for long: the persister works as fast as it can.",
    ),
    lines(
        "Lanes held",
        "short",
        &[("{{class}}", "sum by (class) (write_behind_lane_held)")],
        "Partitions that wait, by class. transient and saturated pass by themselves; of every other the persister's log \
         says what stands in the way.",
    ),
    lines(
        "Commits failed",
        "ops",
        &[("{{reason}}", "sum by (reason) (rate(write_behind_commit_failures_total[$__rate_interval]))")],
        "Commits of offsets that Kafka did not take; they are tried again.",
    ),
    lines(
        "Rebalances",
        "short",
        &[("{{kind}}", "sum by (kind) (increase(write_behind_rebalances_total[$__rate_interval]))")],
        "Partitions coming and going. Without a start or a stop: a member that does not poll in time.",
    ),
    lines(
        "Settles given up",
        "ops",
        &[("given up", "sum(rate(write_behind_settles_dropped_total[$__rate_interval]))")],
        "What Redis did not take in time. These records stay in the cache as unsettled.",
    ),
];

const INGEST: &[Panel] = &[
    lines(
        "Requests, by route",
        "reqps",
        &[("{{method}} {{route}}", "sum by (method, route) (rate(http_requests_total[$__rate_interval]))")],
        "All requests, whatever their answer.",
    ),
    lines(
        "Errors, by route",
        "percentunit",
        &[(
            "{{route}}",
            r#"(sum by (route) (rate(http_requests_total{status=~"5.."}[$__rate_interval])) or 0 * sum by (route) (rate(http_requests_total[$__rate_interval]))) / clamp_min(sum by (route) (rate(http_requests_total[$__rate_interval])), 0.001)"#,
        )],
        "Share of requests answered with 5xx.",
    ),
    lines(
        "Duration, by route, p99",
        "s",
        &[(
            "{{method}} {{route}}",
            "histogram_quantile(0.99, sum by (method, route, le) (rate(http_request_duration_seconds_bucket[$__rate_interval])))",
        )],
        "From a request's head to its answer's. The next two panels say whether Redis or Kafka takes the time.",
    ),
    quantiles(
        "Redis: a write's script",
        "s",
        "write_behind_store_seconds_bucket",
        "From a write's place in the queue to the script's answer.",
    ),
    quantiles(
        "Kafka: an acknowledgement",
        "s",
        "write_behind_acknowledge_seconds_bucket",
        "From handing an event to the producer to the brokers' acknowledgement (acks=all).",
    ),
    lines(
        "In flight",
        "short",
        &[
            ("requests", "sum(http_requests_in_flight)"),
            ("events in the producer", "sum(write_behind_producer_events)"),
        ],
        "What waits for an answer at the moment. Both high: Kafka. Requests alone: Redis.",
    ),
    lines(
        "Accepted, by what the answer rests on",
        "wps",
        &[("{{state}}", r#"sum by (state) (rate(write_behind_accepted_total{entity=~"$entity"}[$__rate_interval]))"#)],
        "logged: Kafka has it. cached: Redis alone has it, since Kafka is away or slow.",
    ),
    lines(
        "Refused, by reason",
        "wps",
        &[(
            "{{reason}}",
            r#"sum by (reason) (rate(write_behind_rejected_total{entity=~"$entity|unknown"}[$__rate_interval]))"#,
        )],
        "full, busy, cache-away, clocks-disagree and outcome-unknown are ours; all others are the client's.",
    ),
    lines(
        "Waiting in Redis",
        "short",
        &[("outbox", "max(write_behind_outbox_entries)"), ("unsettled", "max(write_behind_unsettled_entries)")],
        "outbox: the topic has not acknowledged it. unsettled: the topic has, MySQL has not. Past --outbox-most and \
         --unsettled-most writes are refused.",
    ),
    lines(
        "Oldest in the outbox",
        "s",
        &[("oldest", "max(write_behind_outbox_oldest_seconds)")],
        "The relay takes what is older than --relay-after-ms. Much older: Kafka does not take it. A record that is written \
         again counts from then on.",
    ),
    lines(
        "Relayed",
        "wps",
        &[("{{outcome}}", "sum by (outcome) (rate(write_behind_relayed_total[$__rate_interval]))")],
        "Outbox entries that the relay has brought to the topic, or could not.",
    ),
    lines(
        "Acknowledgements lost",
        "ops",
        &[("lost", "sum(rate(write_behind_acknowledgements_dropped_total[$__rate_interval]))")],
        "Acknowledgements that Redis did not learn of: the relay sends their events once more, which is harmless.",
    ),
    lines(
        "Version lead",
        "s",
        &[("ahead", "max(write_behind_version_lead_seconds)")],
        "How far the newest version is ahead of the clock. Well above zero: a clock was ahead, or was set back.",
    ),
];

const PROCESSES: &[Panel] = &[
    lines(
        "Processor",
        "percentunit",
        &[("{{job}} {{instance}}", r#"rate(process_cpu_seconds_total{job=~"ingest|persister"}[$__rate_interval])"#)],
        "100 % is one core.",
    ),
    lines(
        "Memory",
        "bytes",
        &[("{{job}} {{instance}}", r#"process_resident_memory_bytes{job=~"ingest|persister"}"#)],
        "Resident set. All queues are bounded: it levels off.",
    ),
    lines(
        "Descriptors",
        "percentunit",
        &[(
            "{{job}} {{instance}}",
            r#"process_open_fds{job=~"ingest|persister"} / process_max_fds{job=~"ingest|persister"}"#,
        )],
        "Open files and connections, of those allowed.",
    ),
    lines(
        "Running for",
        "s",
        &[("{{job}} {{instance}}", r#"time() - process_start_time_seconds{job=~"ingest|persister"}"#)],
        "A line that falls to zero is a restart.",
    ),
];
