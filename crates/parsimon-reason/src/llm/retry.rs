//! Posting with bounds, retries and back-off.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use parsimon_core::SplitMix64;
use serde_json::Value;

use super::client::ClientConfig;
use crate::error::PolicyError;
use crate::policy::Usage;

/// Waits between attempts; tests count instead.
pub trait Wait: Send + Sync + std::fmt::Debug {
    /// Waits.
    fn wait(&self, millis: u64);
}

/// Sleeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sleep;

impl Wait for Sleep {
    fn wait(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }
}

/// Longest wait between two attempts.
const WAIT_MAX_MS: u64 = 30_000;

/// A connection pool with a limit on requests in flight.
pub(super) struct Poster {
    agent: ureq::Agent,
    free: Mutex<usize>,
    freed: Condvar,
}

/// How one attempt failed.
enum Failure {
    /// Trying again may help; after this many milliseconds, if the server said so.
    Retry { what: String, after: Option<u64>, timeout: bool },
    /// It will not.
    Final(PolicyError),
}

impl Poster {
    pub(super) fn new(config: &ClientConfig) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(config.timeout_ms)))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(config.max_in_flight)
            .max_idle_connections_per_host(config.max_in_flight)
            .build()
            .new_agent();
        Poster { agent, free: Mutex::new(config.max_in_flight.max(1)), freed: Condvar::new() }
    }

    /// Posts JSON and reads JSON, with retries; counts requests and retries.
    pub(super) fn post(
        &self,
        config: &ClientConfig,
        path: &str,
        body: &Value,
        lenient_numbers: bool,
        seed: u64,
        usage: &mut Usage,
    ) -> Result<Value, PolicyError> {
        let url = format!("{}{path}", config.url.trim_end_matches('/'));
        let text = body.to_string();
        let mut rng = SplitMix64::new(seed);
        let mut last = (String::new(), false);
        for attempt in 0..config.max_attempts.max(1) {
            if attempt > 0 {
                usage.retries += 1;
            }
            usage.http_requests += 1;
            let result = {
                let _slot = self.acquire();
                self.attempt(config, &url, &text, lenient_numbers)
            };
            match result {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Retry { what, after, timeout }) => {
                    last = (what, timeout);
                    if attempt + 1 < config.max_attempts {
                        let backoff = 250u64.saturating_mul(1 << attempt.min(12));
                        // Half fixed, half random, so that many clients do not come back together.
                        let jittered = backoff / 2 + rng.below(backoff / 2 + 1);
                        config.wait.wait(after.unwrap_or(jittered).min(WAIT_MAX_MS));
                    }
                }
            }
        }
        let (what, timeout) = last;
        Err(if timeout {
            PolicyError::Timeout { millis: config.timeout_ms }
        } else {
            PolicyError::Unavailable { attempts: config.max_attempts.max(1), last: what }
        })
    }

    fn acquire(&self) -> Slot<'_> {
        let mut free = self.free.lock().expect("no holder of the count panics");
        while *free == 0 {
            free = self.freed.wait(free).expect("no holder of the count panics");
        }
        *free -= 1;
        Slot(self)
    }

    fn attempt(&self, config: &ClientConfig, url: &str, body: &str, lenient_numbers: bool) -> Result<Value, Failure> {
        let mut request = self.agent.post(url).header("content-type", "application/json");
        if let Some(key) = &config.api_key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body).map_err(|error| failure(&error, config))?;
        let status = response.status().as_u16();
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().parse::<u64>().ok())
            .map(|seconds| seconds.saturating_mul(1000));
        let limit = config.max_response_bytes;
        let bytes = response
            .body_mut()
            .with_config()
            .limit(limit as u64 + 1)
            .read_to_vec()
            .map_err(|error| failure(&error, config))?;
        if bytes.len() > limit {
            return Err(Failure::Final(PolicyError::ResponseTooLarge { limit }));
        }
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if status == 429 || status >= 500 {
            let what = format!("status {status}: {}", message_of(&text));
            return Err(Failure::Retry { what, after, timeout: false });
        }
        if status != 200 {
            return Err(Failure::Final(PolicyError::Rejected { status, message: message_of(&text) }));
        }
        if lenient_numbers {
            // Python servers write numbers that JSON does not have; they become null, and null is no score.
            text = text.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null");
        }
        serde_json::from_str(&text).map_err(|error| Failure::Retry {
            what: format!("the reply is no JSON: {error}"),
            after: None,
            timeout: false,
        })
    }
}

/// A place among the requests in flight.
struct Slot<'a>(&'a Poster);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().expect("no holder of the count panics") += 1;
        self.0.freed.notify_one();
    }
}

fn failure(error: &ureq::Error, config: &ClientConfig) -> Failure {
    match error {
        ureq::Error::Timeout(_) => Failure::Retry { what: error.to_string(), after: None, timeout: true },
        ureq::Error::BodyExceedsLimit(_) => {
            Failure::Final(PolicyError::ResponseTooLarge { limit: config.max_response_bytes })
        }
        ureq::Error::BadUri(what) => {
            Failure::Final(PolicyError::BadSpec { backend: config.url.clone(), what: what.clone() })
        }
        other => Failure::Retry { what: other.to_string(), after: None, timeout: false },
    }
}

/// The message of an error body, or its beginning.
fn message_of(text: &str) -> String {
    let message = serde_json::from_str::<Value>(text).ok().and_then(|body| {
        body.pointer("/error/message").or_else(|| body.get("message")).and_then(Value::as_str).map(str::to_owned)
    });
    message.unwrap_or_else(|| text.chars().take(200).collect())
}
