//! A real Prometheus that scrapes a system once a second, with the configuration and the alerts that operators get.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::System;
use reqwest::Client;
use serde_json::{Value, json};
use stack::{Place, Prometheus, Tools, folder, shared, workspace};

/// Prometheus beside a system.
pub(crate) struct Scraped {
    client: Client,
    prometheus: Prometheus,
}

impl Scraped {
    /// Starts it. `rules` may shorten what the alerts wait for.
    pub(crate) fn start(system: &System, rules: impl Fn(&str) -> String) -> Result<Self> {
        let scratch = shared::scratch("prometheus");
        folder::copy(&workspace().join("grafana/prometheus"), &scratch)?;
        edit(&scratch.join("prometheus.yml"), |text| text.replace(": 5s", ": 1s"))?;
        edit(&scratch.join("rules/write-behind.yml"), rules)?;
        std::fs::create_dir(scratch.join("targets"))?;
        for (job, url) in [("ingest", &system.ingest_admin_url), ("persister", &system.persister_admin_url)] {
            let targets = json!([{ "targets": [url.trim_start_matches("http://")] }]);
            std::fs::write(scratch.join(format!("targets/{job}.json")), targets.to_string())?;
        }
        let place = Place::attached(scratch.join("data"));
        let prometheus = Prometheus::start(&Tools::find(), &place, &scratch.join("prometheus.yml"))?;
        Ok(Self { client: system.client.clone(), prometheus })
    }

    /// The `data` of an answer of its interface.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let url = format!("{}/api/v1/{path}", self.prometheus.url());
        let mut answer: Value = self.client.get(url).query(query).send().await?.json().await?;
        ensure!(answer["status"] == "success", "{path} {query:?}: {answer}");
        Ok(answer["data"].take())
    }

    /// What an expression yields now: a value per series.
    pub(crate) async fn values(&self, expr: &str) -> Result<Vec<f64>> {
        let data = self.get("query", &[("query", expr)]).await?;
        let series = data["result"].as_array().context("a vector")?;
        series.iter().map(|one| Ok(one["value"][1].as_str().context("a value")?.parse()?)).collect()
    }

    /// Every alert rule as Prometheus has read it.
    pub(crate) async fn rules(&self) -> Result<Vec<Value>> {
        let groups = self.get("rules", &[("type", "alert")]).await?;
        let groups = groups["groups"].as_array().context("groups")?.clone();
        Ok(groups
            .into_iter()
            .flat_map(|mut group| group["rules"].as_array_mut().map(std::mem::take))
            .flatten()
            .collect())
    }
}

fn edit(file: &Path, change: impl Fn(&str) -> String) -> Result<()> {
    Ok(std::fs::write(file, change(&std::fs::read_to_string(file)?))?)
}
