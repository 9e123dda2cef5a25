//! One line to ingest, again and again while ingest cannot take it.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use service::Backoff;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::arguments::FileRequest;
use crate::client;
use crate::failed::Refused;

/// Longer than ingest takes to say that it cannot.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const MOST_DELAY: Duration = Duration::from_secs(5);

/// What became of a line.
#[derive(Debug)]
pub(crate) enum Fate {
    /// With the state that ingest answered.
    Written(String),
    /// To send it again as it is would not help.
    Refused(Refused),
    /// Ingest took neither this line nor any other for as long as lines are tried.
    Away(String),
    /// It was told to stop before there was an answer; the line may have been written.
    Stopped,
}

/// What one attempt came to.
enum Attempt {
    Done(Fate),
    Again { why: String, after: Option<Duration> },
}

/// Ingest's route of one entity.
#[derive(Debug)]
pub(crate) struct Ingest {
    client: Client,
    url: String,
    retry_for: Duration,
    stopping: CancellationToken,
    last_written: Cell<Instant>,
    /// How many lines wait to be tried again, and why the last one does.
    waiting: Cell<u64>,
    trouble: RefCell<String>,
}

impl Ingest {
    /// As the command line says.
    ///
    /// # Errors
    /// No client for want of resources.
    pub(crate) fn new(request: &FileRequest) -> anyhow::Result<Self> {
        let FileRequest { ingest_url, entity, access, concurrency: at_once, retry_for, .. } = request;
        let (entity, at_once, retry_for) = (entity.name(), *at_once, *retry_for);
        let client = access.client().timeout(ANSWER_DEADLINE).pool_max_idle_per_host(at_once).build()?;
        let (url, stopping) = (format!("{ingest_url}/{entity}"), CancellationToken::new());
        let (last_written, waiting, trouble) = (Cell::new(Instant::now()), Cell::new(0), RefCell::default());
        Ok(Self { client, url, retry_for, stopping, last_written, waiting, trouble })
    }

    /// Whether there is an ingest that knows the entity.
    ///
    /// # Errors
    /// There is none, with the setting to look at.
    pub(crate) async fn greet(&self) -> anyhow::Result<()> {
        let asked = self.client.request(Method::OPTIONS, &self.url).send().await;
        let answer = asked.with_context(|| format!("ingest does not answer at {} (--ingest-url)", self.url))?;
        let status = answer.status();
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let problem: Value = answer.json().await.unwrap_or_default();
            let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("is --ingest-url that of ingest?");
            bail!("ingest does not take records at {}: {detail}{}", self.url, client::remedy(status));
        }
        Ok(())
    }

    /// What lines wait for, if any does.
    pub(crate) fn trouble(&self) -> Option<String> {
        match self.waiting.get() {
            0 => None,
            waiting => Some(format!("{waiting} wait: {}", self.trouble.borrow())),
        }
    }

    /// From now on nothing is tried again.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
    }

    /// Whether it was told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Writes one record, and says how often it was tried again.
    pub(crate) async fn put(&self, id: &str, body: &Bytes) -> (Fate, u64) {
        let begun = Instant::now();
        let mut backoff = Backoff::new(FIRST_DELAY, MOST_DELAY);
        loop {
            let retries = u64::from(backoff.attempts());
            let (why, after) = match self.attempt(id, body).await {
                Attempt::Done(fate) => {
                    if matches!(fate, Fate::Written(_)) {
                        self.last_written.set(Instant::now());
                    }
                    return (fate, retries);
                }
                Attempt::Again { why, after } => (why, after),
            };
            let left = self.retry_for.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return (self.given_up(why, begun), retries);
            }
            let delay = delay(&mut backoff, after, rand::random()).min(left);
            self.trouble.replace(why);
            self.waiting.update(|waiting| waiting + 1);
            let slept = self.stopping.run_until_cancelled(tokio::time::sleep(delay)).await;
            self.waiting.update(|waiting| waiting - 1);
            if slept.is_none() {
                return (Fate::Stopped, retries);
            }
        }
    }

    /// While others are written the line is at fault, else ingest is.
    fn given_up(&self, why: String, begun: Instant) -> Fate {
        if is_away(begun, self.last_written.get(), self.retry_for) {
            return Fate::Away(why);
        }
        let detail = format!("tried for {} s (--retry-for-s), at last: {why}", self.retry_for.as_secs());
        Fate::Refused(Refused::local(detail))
    }

    async fn attempt(&self, id: &str, body: &Bytes) -> Attempt {
        let request = self.client.put(format!("{}/{id}", self.url)).header(CONTENT_TYPE, "application/json");
        match request.body(body.clone()).send().await {
            Ok(answer) => read(answer).await,
            Err(error) => Attempt::Again { why: format!("{:#}", anyhow::Error::from(error)), after: None },
        }
    }
}

async fn read(answer: Response) -> Attempt {
    let status = answer.status();
    let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body: Value = match answer.bytes().await {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(error) => return Attempt::Again { why: format!("{:#}", anyhow::Error::from(error)), after: None },
    };
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    if is_worth_a_retry(status) {
        let detail = text("detail").unwrap_or_default();
        return Attempt::Again { why: format!("{status}: {detail}"), after: after.map(Duration::from_secs) };
    }
    match text("state") {
        Some(state) if status.is_success() => Attempt::Done(Fate::Written(state)),
        _ => {
            let detail = text("detail").unwrap_or_else(|| "no answer of ingest: is --ingest-url right?".to_owned());
            let errors = body.get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
            Attempt::Done(Fate::Refused(Refused { status: Some(status.as_u16()), detail, errors }))
        }
    }
}

/// Whether the same request may be taken a little later.
fn is_worth_a_retry(status: StatusCode) -> bool {
    matches!(
        status,
        // No line is at fault for them: its key may come back.
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Whether nothing was written in the second half of a line's tries. In the first half may lie the moment at which ingest
/// went away: lines that were under way then are not at fault.
fn is_away(begun: Instant, last_written: Instant, retry_for: Duration) -> bool {
    last_written <= begun + retry_for / 2
}

/// As ingest asks, and never earlier than the backoff says: all that wait came at the same moment.
fn delay(backoff: &mut Backoff, asked: Option<Duration>, random: f64) -> Duration {
    let own = backoff.next(random);
    asked.map_or(own, |asked| asked + own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ingest_asks_for_is_waited_for_and_jitter_comes_on_top() {
        let mut backoff = Backoff::new(FIRST_DELAY, MOST_DELAY);
        let asked = Some(Duration::from_secs(2));
        assert_eq!(delay(&mut backoff, asked, 0.0), Duration::from_millis(2050));
        assert_eq!(delay(&mut backoff, None, 0.0), Duration::from_millis(100));
    }

    #[test]
    fn a_line_is_at_fault_only_if_others_were_written_lately() {
        let (begun, retry_for) = (Instant::now(), Duration::from_secs(60));
        let away = |written_after_s| is_away(begun, begun + Duration::from_secs(written_after_s), retry_for);
        assert!(away(0) && away(30), "ingest went away while the line was under way");
        assert!(!away(31));
    }

    #[test]
    fn a_fault_of_the_line_is_not_tried_again() {
        for status in [400, 404, 405, 413, 415, 422, 500] {
            assert!(!is_worth_a_retry(StatusCode::from_u16(status).unwrap()), "{status}");
        }
        assert!(is_worth_a_retry(StatusCode::SERVICE_UNAVAILABLE) && is_worth_a_retry(StatusCode::GATEWAY_TIMEOUT));
    }
}
