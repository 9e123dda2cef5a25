//! The dashboard of `grafana/dashboards/write-lag.json`: what it shows stands in [`ROWS`], a line per query; this makes
//! Grafana's classic model of it, so that all panels are alike. `make dashboard` writes the file, a test compares.

mod panel;
mod rows;

use serde_json::{Value, json};

pub use panel::{Panel, Queries, Show};
pub use rows::{ROWS, Row};

/// Grafana's grid has so many columns.
const COLUMNS: u64 = 24;

/// The data source that the reader has chosen.
fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// The dashboard as its file holds it.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", document())
}

fn document() -> Value {
    json!({
        "id": null,
        "uid": "write-behind-lag",
        "title": "write-behind: write lag",
        "description": "Is anything lost or late, since when, whose fault is it, and what is to be done? \
                        docs/OBSERVABILITY.md says what each metric means.",
        "tags": ["write-behind"],
        "schemaVersion": 39,
        "version": 1,
        "editable": false,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": { "from": "now-30m", "to": "now" },
        "timepicker": {},
        "timezone": "browser",
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "links": [],
        "templating": { "list": variables() },
        "annotations": { "list": [restarts()] },
        "panels": panels(),
    })
}

fn variables() -> Value {
    json!([
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "regex": "",
            "hide": 0,
            "includeAll": false,
            "multi": false,
            "refresh": 1,
        },
        {
            "name": "entity",
            "label": "Entity",
            "type": "query",
            "datasource": datasource(),
            "definition": "label_values(write_behind_lag_events, entity)",
            "query": { "query": "label_values(write_behind_lag_events, entity)", "refId": "entity" },
            "regex": "",
            "hide": 0,
            "includeAll": true,
            "allValue": ".*",
            "multi": true,
            "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
            "refresh": 2,
            "sort": 1,
        },
    ])
}

fn restarts() -> Value {
    json!({
        "name": "Restarts",
        "datasource": datasource(),
        "enable": true,
        "hide": false,
        "iconColor": "blue",
        "expr": "changes(process_start_time_seconds{job=~\"ingest|persister\"}[$__rate_interval]) > 0",
        "titleFormat": "{{job}} was started again",
        "textFormat": "{{instance}}",
        "step": "",
        "useValueForTime": false,
    })
}

/// Rows from top to bottom, their panels from left to right.
fn panels() -> Vec<Value> {
    let mut made = Vec::new();
    let mut y = 0;
    for row in ROWS {
        let id = made.len() + 1;
        made.push(json!({
            "id": id,
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "gridPos": { "h": 1, "w": COLUMNS, "x": 0, "y": y },
            "panels": [],
        }));
        y += 1;
        let (mut x, mut tallest) = (0, 0);
        for panel in row.panels {
            let (width, height) = panel.size();
            if x + width > COLUMNS {
                (x, y, tallest) = (0, y + tallest, 0);
            }
            let place = json!({ "h": height, "w": width, "x": x, "y": y });
            made.push(panel.model(made.len() + 1, &place, &datasource()));
            (x, tallest) = (x + width, tallest.max(height));
        }
        y += tallest;
    }
    made
}
