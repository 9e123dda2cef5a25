//! One panel: how its queries look in Grafana's model.

use serde_json::{Value, json};

/// A panel of the dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// Its heading.
    pub title: &'static str,
    /// What it means, and what to do about it.
    pub description: &'static str,
    /// Grafana's name of the unit.
    pub unit: &'static str,
    /// How it is drawn.
    pub show: Show,
    /// What it asks.
    pub queries: Queries,
}

/// How a panel is drawn.
#[derive(Clone, Copy, Debug)]
pub enum Show {
    /// One number, coloured from the given values on.
    Stat(&'static [(f64, &'static str)]),
    /// Lines over time.
    Lines,
    /// What was true when: a bar per series, 1 and 0 said in words, each with its colour.
    Timeline([(&'static str, &'static str); 2]),
    /// A histogram over time.
    Heatmap,
}

/// What a panel asks.
#[derive(Clone, Copy, Debug)]
pub enum Queries {
    /// Legend and expression.
    Given(&'static [(&'static str, &'static str)]),
    /// p50, p95 and p99 of the buckets that this selects.
    Quantiles(&'static str),
}

impl Panel {
    /// Columns and lines of the grid.
    pub(super) fn size(&self) -> (u64, u64) {
        match self.show {
            Show::Stat(_) => (3, 4),
            Show::Timeline(_) => (12, 8),
            Show::Lines | Show::Heatmap => (8, 8),
        }
    }

    fn asked(&self) -> Vec<(String, String)> {
        match self.queries {
            Queries::Given(given) => {
                given.iter().map(|(legend, expr)| ((*legend).to_owned(), (*expr).to_owned())).collect()
            }
            Queries::Quantiles(buckets) => [("p99", "0.99"), ("p95", "0.95"), ("p50", "0.5")]
                .map(|(legend, share)| {
                    let rates = format!("rate({buckets}[$__rate_interval])");
                    (legend.to_owned(), format!("histogram_quantile({share}, sum by (le) ({rates}))"))
                })
                .into(),
        }
    }

    pub(super) fn model(&self, id: usize, place: &Value, datasource: &Value) -> Value {
        let format = if matches!(self.show, Show::Heatmap) { "heatmap" } else { "time_series" };
        let target = |(number, (legend, expr)): (u8, (String, String))| {
            json!({
                "refId": char::from(b'A' + number).to_string(),
                "datasource": datasource,
                "editorMode": "code",
                "expr": expr,
                "legendFormat": legend,
                "format": format,
                "range": true,
                "instant": false,
            })
        };
        let targets: Vec<_> = (0..).zip(self.asked()).map(target).collect();
        let (kind, defaults, options) = match self.show {
            Show::Stat(steps) => ("stat", self.stat(steps), stat_options()),
            Show::Lines => ("timeseries", self.lines(), lines_options()),
            Show::Timeline(words) => ("state-timeline", self.timeline(words), timeline_options()),
            Show::Heatmap => ("heatmap", json!({ "unit": self.unit, "custom": {} }), heatmap_options(self.unit)),
        };
        json!({
            "id": id,
            "type": kind,
            "title": self.title,
            "description": self.description,
            "gridPos": place,
            "datasource": datasource,
            "targets": targets,
            "fieldConfig": { "defaults": defaults, "overrides": [] },
            "options": options,
        })
    }

    fn stat(&self, steps: &[(f64, &str)]) -> Value {
        json!({
            "unit": self.unit,
            "color": { "mode": "thresholds" },
            "mappings": [],
            "thresholds": thresholds(steps),
        })
    }

    fn lines(&self) -> Value {
        json!({
            "unit": self.unit,
            "color": { "mode": "palette-classic" },
            "mappings": [],
            "thresholds": thresholds(&[]),
            "custom": {
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": 10,
                "showPoints": "auto",
                "spanNulls": false,
                "axisSoftMin": 0,
            },
        })
    }

    fn timeline(&self, words: [(&str, &str); 2]) -> Value {
        let said = |(text, color)| json!({ "text": text, "color": color });
        let [yes, no] = words.map(said);
        json!({
            "unit": self.unit,
            "color": { "mode": "thresholds" },
            "mappings": [{ "type": "value", "options": { "0": no, "1": yes } }],
            "thresholds": thresholds(&[]),
            "custom": { "fillOpacity": 80, "lineWidth": 0 },
        })
    }
}

fn thresholds(steps: &[(f64, &str)]) -> Value {
    let first = json!({ "color": "green", "value": null });
    let others = steps.iter().map(|(value, color)| json!({ "color": color, "value": value }));
    json!({ "mode": "absolute", "steps": std::iter::once(first).chain(others).collect::<Vec<_>>() })
}

fn stat_options() -> Value {
    json!({
        "colorMode": "background",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "value",
        "wideLayout": true,
        "showPercentChange": false,
        "percentChangeColorMode": "standard",
        "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
    })
}

fn lines_options() -> Value {
    json!({
        "legend": { "showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": [] },
        "tooltip": { "mode": "multi", "sort": "desc" },
    })
}

fn timeline_options() -> Value {
    json!({
        "alignValue": "left",
        "mergeValues": true,
        "rowHeight": 0.9,
        "showValue": "auto",
        "legend": { "showLegend": false, "displayMode": "list", "placement": "bottom", "calcs": [] },
        "tooltip": { "mode": "single", "sort": "none" },
    })
}

fn heatmap_options(unit: &str) -> Value {
    json!({
        "calculate": false,
        "cellGap": 1,
        "cellValues": { "unit": "short" },
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "scale": "exponential",
            "exponent": 0.5,
            "fill": "dark-orange",
            "reverse": false,
            "steps": 64,
        },
        "exemplars": { "color": "rgba(255,0,255,0.7)" },
        "filterValues": { "le": 1e-9 },
        "legend": { "show": true },
        "rowsFrame": { "layout": "auto" },
        "showValue": "never",
        "tooltip": { "mode": "single", "yHistogram": false, "showColorScale": false },
        "yAxis": { "axisPlacement": "left", "reverse": false, "unit": unit },
    })
}
