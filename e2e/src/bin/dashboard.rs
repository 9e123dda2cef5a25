//! `make dashboard`: writes `grafana/dashboards/write-lag.json`.

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let file = stack::workspace().join("grafana/dashboards/write-lag.json");
    std::fs::write(&file, e2e::dashboard::text()).with_context(|| file.display().to_string())
}
