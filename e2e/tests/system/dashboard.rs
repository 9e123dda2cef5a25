//! The dashboard against a running system: every query yields something under load, and every metric, label and value that
//! dashboard, alerts and `docs/OBSERVABILITY.md` name is one that the services show.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use e2e::{Load, Servers, System};
use reqwest::Method;
use serde_json::{Value, json};
use stack::workspace;

use crate::promql::{Names, names};
use crate::scraped::Scraped;

/// Title and expression of every query, the variables filled in as Grafana does.
fn queries() -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(workspace().join("grafana/dashboards/write-lag.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for panel in list(&dashboard["panels"]) {
        for target in list(&panel["targets"]) {
            found.push((panel["title"].clone(), target["expr"].clone()));
        }
    }
    found.extend(list(&dashboard["annotations"]["list"]).iter().map(|one| (one["name"].clone(), one["expr"].clone())));
    let filled = |expr: &str| expr.replace("$__rate_interval", "1m").replace("$entity", ".*");
    let text = |(title, expr): (Value, Value)| {
        Ok((title.as_str().context("a title")?.to_owned(), filled(expr.as_str().context("an expression")?)))
    };
    found.into_iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_the_dashboard_yields_something_under_load() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?.with("SESSION_TIMEOUT_MS", "6000").up().await?;
    let scraped = Scraped::start(&system, str::to_owned)?;
    let load = Load::start(&system.ingest_url, 4, 50, 7);
    // Readers and clients at fault belong to a normal day; a restart, for what marks restarts, to some days.
    system.call(Method::GET, "/users/1", None).await?;
    system.call(Method::PUT, "/users/1", Some(&json!({ "age": "old" }))).await?;
    let scraped_once = async || Ok(!scraped.values("write_behind_fates_total").await?.is_empty());
    system.eventually("the persister is scraped", scraped_once).await?;
    system.persister.take().context("persister")?.kill()?;
    system.start_persister().await?;
    let mut waiting = queries()?;
    ensure!(waiting.len() > 50, "only {} queries", waiting.len());
    let done = system
        .eventually("every query yields something", async || {
            let mut empty = Vec::new();
            for (title, expr) in waiting.drain(..) {
                if !scraped.values(&expr).await?.iter().any(|value| value.is_finite()) {
                    empty.push((title, expr));
                }
            }
            waiting = empty;
            Ok(waiting.is_empty())
        })
        .await;
    load.finish().await?;
    let entities = scraped.get("label/entity/values", &[("match[]", "write_behind_lag_events")]).await?;
    assert_eq!(entities, json!(["users"]), "what the variable offers");
    done.with_context(|| format!("without a value: {waiting:#?}"))
}

/// What the services show: by metric its labels with their values, and the jobs that show it.
#[derive(Debug, Default)]
struct Shown {
    labels: BTreeMap<String, BTreeSet<String>>,
    jobs: BTreeSet<&'static str>,
}

async fn shown(system: &System) -> Result<BTreeMap<String, Shown>> {
    let mut found: BTreeMap<String, Shown> = BTreeMap::new();
    for (job, url) in [("ingest", &system.ingest_admin_url), ("persister", &system.persister_admin_url)] {
        let text = system.metrics(url).await?;
        let mut family = String::new();
        for line in text.lines() {
            if let Some(typed) = line.strip_prefix("# TYPE ") {
                typed.split(' ').next().unwrap_or_default().clone_into(&mut family);
                found.entry(family.clone()).or_default().jobs.insert(job);
            } else if !line.starts_with('#') {
                let shown = found.entry(family.clone()).or_default();
                for (label, value) in names(line).selectors.into_iter().flat_map(|(_, matchers)| matchers) {
                    shown.labels.entry(label).or_default().insert(value);
                }
            }
        }
    }
    Ok(found)
}

/// A system in which every metric has a series.
async fn system() -> Result<System> {
    let system = System::start().await?;
    system.put("users", "1", &json!({ "name": "Jane", "age": 1 })).await?;
    system.call(Method::PUT, "/users/1", Some(&json!({ "age": "old" }))).await?;
    system.call(Method::PUT, "/nobody/1", Some(&json!({}))).await?;
    system
        .eventually("both services show the lag", async || {
            let shown = shown(&system).await?;
            Ok(shown.get("write_behind_lag_events").is_some_and(|lag| lag.jobs.len() == 2)
                && shown.contains_key("write_behind_lane_held"))
        })
        .await?;
    Ok(system)
}

/// What is wrong with an expression: a metric, label or value that nobody shows.
fn unknown(expr: &str, shown: &BTreeMap<String, Shown>) -> Vec<String> {
    let Names { selectors, grouped } = names(expr);
    let mut wrong = Vec::new();
    // Every series gets these from Prometheus.
    let mut known = BTreeSet::from(["job", "instance"]);
    for (metric, matchers) in &selectors {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end));
        if metric == "ALERTS" {
            known.extend(["alertname", "alertstate"]);
        } else if let Some(family) = shown.get(metric).or_else(|| shown.get(family?)) {
            known.extend(family.labels.keys().map(String::as_str));
            for (label, value) in matchers.iter().filter(|(label, _)| label != "job") {
                let Some(values) = family.labels.get(label) else {
                    wrong.push(format!("{metric} has no label {label}"));
                    continue;
                };
                let plain = value.split('|').filter(|one| one.chars().all(|c| c.is_ascii_alphabetic() || c == '-'));
                wrong.extend(
                    plain.filter(|one| !values.contains(*one)).map(|one| format!("{metric}: {label} is never {one}")),
                );
            }
        } else if metric != "up" {
            wrong.push(format!("nobody shows {metric}"));
        }
    }
    wrong.extend(
        grouped
            .iter()
            .filter(|label| !known.contains(label.as_str()))
            .map(|label| format!("no metric there has the label {label}")),
    );
    wrong
}

#[tokio::test]
async fn every_metric_that_dashboard_and_alerts_name_is_shown_by_a_service() -> Result<()> {
    let system = system().await?;
    let shown = shown(&system).await?;
    let scraped = Scraped::start(&system, str::to_owned)?;
    let mut asked = queries()?;
    for rule in scraped.rules().await? {
        let text = |field: &str| rule[field].as_str().map(str::to_owned).context("an alert");
        asked.push((text("name")?, text("query")?));
    }
    let wrong: Vec<_> = asked
        .iter()
        .flat_map(|(title, expr)| {
            unknown(expr, &shown).into_iter().map(move |wrong| format!("{title}: {wrong}: {expr}"))
        })
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn the_page_on_metrics_lists_what_the_services_show_and_nothing_else() -> Result<()> {
    let shown = shown(&system().await?).await?;
    let row = |(metric, Shown { labels, jobs }): (&String, &Shown)| {
        let quoted: Vec<_> = labels.keys().filter(|label| *label != "le").map(|label| format!("`{label}`")).collect();
        let jobs: Vec<_> = jobs.iter().copied().collect();
        format!("| `{metric}` | {} | {} |", quoted.join(", "), jobs.join(", "))
    };
    let live: BTreeSet<_> = shown.iter().filter(|(metric, _)| !metric.starts_with("process_")).map(row).collect();
    let page = std::fs::read_to_string(workspace().join("docs/OBSERVABILITY.md"))?;
    let table = page.split("## Metrics").nth(1).and_then(|rest| rest.split("\n## ").next()).context("## Metrics")?;
    let cells = |line: &str| line.split('|').take(4).map(str::to_owned).collect::<Vec<_>>().join("|") + "|";
    let listed: BTreeSet<_> = table.lines().filter(|line| line.starts_with("| `")).map(cells).collect();
    let (missing, dead): (Vec<_>, Vec<_>) = (live.difference(&listed).collect(), listed.difference(&live).collect());
    ensure!(missing.is_empty() && dead.is_empty(), "docs/OBSERVABILITY.md lacks {missing:#?}\nand has {dead:#?}");
    Ok(())
}
