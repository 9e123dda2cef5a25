//! The dashboard's file: made from its source, and of the form that every Grafana since 10.4 loads and nobody edits by
//! accident.

use serde_json::Value;
use stack::workspace;

fn file(name: &str) -> String {
    std::fs::read_to_string(workspace().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&file("grafana/dashboards/write-lag.json")).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn the_file_is_what_its_source_makes() {
    let same = file("grafana/dashboards/write-lag.json") == e2e::dashboard::text();
    assert!(same, "grafana/dashboards/write-lag.json is not what e2e/src/dashboard makes: run `make dashboard`");
}

#[test]
fn the_dashboard_is_classic_fixed_and_portable() {
    let dashboard = dashboard();
    assert_eq!(dashboard["id"], Value::Null);
    assert_eq!(dashboard["schemaVersion"], 39);
    assert_eq!(dashboard["editable"], false);
    assert_eq!(dashboard["graphTooltip"], 1, "the crosshair is shared");
    assert!(dashboard["uid"].as_str().is_some_and(|uid| (1..=40).contains(&uid.len())), "Grafana's bound of a uid");
    assert!(dashboard.get("__inputs").is_none(), "an export for sharing, which provisioning does not fill in");
    let variables: Vec<_> =
        list(&dashboard["templating"]["list"]).iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(variables, ["datasource", "entity"]);
}

#[test]
fn every_panel_has_unit_description_and_the_chosen_data_source() {
    let chosen = serde_json::json!({ "type": "prometheus", "uid": "${datasource}" });
    let mut ids = Vec::new();
    for panel in list(&dashboard()["panels"]) {
        let title = panel["title"].as_str().expect("a title");
        ids.push(panel["id"].as_u64().expect("an id"));
        if panel["type"] == "row" {
            continue;
        }
        let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        assert!(text(&panel["fieldConfig"]["defaults"]["unit"]), "{title}: no unit");
        assert!(text(&panel["description"]), "{title}: no description");
        assert_eq!(panel["datasource"], chosen, "{title}");
        assert!(!list(&panel["targets"]).is_empty(), "{title}: asks nothing");
        for target in list(&panel["targets"]) {
            assert_eq!(target["datasource"], chosen, "{title}");
            let expr = target["expr"].as_str().expect("an expression");
            let ranges = expr.matches('[').count();
            assert_eq!(ranges, expr.matches("[$__rate_interval]").count(), "{title}: a fixed range in {expr}");
        }
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "ids of panels repeat");
}

#[test]
fn no_two_panels_overlap_and_none_leaves_the_grid() {
    let dashboard = dashboard();
    let mut taken = std::collections::HashMap::new();
    for panel in list(&dashboard["panels"]) {
        let place = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
        assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
        for (x, y) in (place("x")..place("x") + place("w"))
            .flat_map(|x| (place("y")..place("y") + place("h")).map(move |y| (x, y)))
        {
            let other = taken.insert((x, y), &panel["title"]);
            assert!(other.is_none(), "{} lies on {other:?}", panel["title"]);
        }
    }
}

#[test]
fn provisioning_reads_the_folder_and_allows_no_edits() {
    let provider = file("grafana/provisioning/dashboards/write-behind.yml");
    for line in ["type: file", "allowUiUpdates: false", "path: /var/lib/grafana/dashboards"] {
        assert!(provider.lines().any(|found| found.trim() == line), "{line} is missing");
    }
    let datasource = file("grafana/provisioning/datasources/prometheus.yml");
    assert!(datasource.contains("\n    uid: "), "without a fixed uid a dashboard loses its data source");
    let interval = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)).expect("an interval");
        line.trim().to_owned()
    };
    assert_eq!(
        interval(&datasource, "timeInterval:"),
        interval(&file("grafana/prometheus/prometheus.yml"), "scrape_interval:"),
        "$__rate_interval rests on it"
    );
}
