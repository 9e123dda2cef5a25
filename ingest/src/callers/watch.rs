//! Keys change while ingest runs: the file is looked at every second.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use record::Catalog;
use service::{Metrics, Pulse, Supervisor};
use tokio_util::sync::CancellationToken;

use super::{Callers, Keys, load};

const EVERY: Duration = Duration::from_secs(1);

/// The file of keys, as it was last seen.
struct Watch {
    path: PathBuf,
    catalog: Arc<Catalog>,
    callers: Arc<Callers>,
    text: String,
    /// The fault that was told last: each is told once.
    told: Option<String>,
    keys: IntGauge,
    faulty: IntGauge,
}

/// Loads the keys and goes on looking at their file. What is wrong with it later changes nothing: the keys stay.
///
/// # Errors
/// The file is at fault now.
pub(crate) fn supervise(
    path: PathBuf,
    catalog: &Arc<Catalog>,
    metrics: &Metrics,
    supervisor: &Supervisor,
) -> anyhow::Result<Arc<Callers>> {
    let (keys, text) = load(&path, catalog)?;
    let watch = Watch {
        path,
        catalog: Arc::clone(catalog),
        callers: Arc::new(Callers::Keyed(Keys::default().into())),
        text,
        told: None,
        keys: metrics.gauge("api_keys", "Keys that open the HTTP port (--api-keys)"),
        faulty: metrics
            .gauge("api_keys_file_faulty", "1 while the file of keys is at fault, and those from before count"),
    };
    watch.take(keys);
    let callers = Arc::clone(&watch.callers);
    supervisor.spawn("api-keys", watch.run(supervisor.stopping(), supervisor.pulse("api-keys")));
    Ok(callers)
}

impl Watch {
    async fn run(mut self, stopping: CancellationToken, pulse: Pulse) {
        while stopping.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            pulse.beat();
            self.look();
            pulse.rest();
        }
    }

    fn look(&mut self) {
        match load(&self.path, &self.catalog) {
            Ok((keys, text)) => {
                self.faulty.set(0);
                self.told = None;
                if text != self.text {
                    self.text = text;
                    tracing::info!(keys = ?keys.names(), "other API keys are in force");
                    self.take(keys);
                }
            }
            Err(fault) => {
                self.faulty.set(1);
                let fault = fault.to_string();
                if self.told.as_ref() != Some(&fault) {
                    tracing::error!("{fault}: the keys from before stay in force");
                    self.told = Some(fault);
                }
            }
        }
    }

    fn take(&self, keys: Keys) {
        self.keys.set(keys.0.len().try_into().unwrap_or(i64::MAX));
        self.callers.replace(keys);
    }
}
