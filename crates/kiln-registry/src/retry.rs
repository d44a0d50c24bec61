//! When to try again, and for how long.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use rand::Rng as _;
use tokio::time::Instant;

use crate::error::{ErrorKind, RegistryError};

/// How many times bytes with a wrong digest are fetched or sent again.
const INTEGRITY_ATTEMPTS: u32 = 3;
/// How much must move before a transfer counts as alive and its budget starts again, in bytes.
const PROGRESS: u64 = 1 << 20;

/// How long and how often an operation is tried: exponential backoff with full jitter, and `Retry-After`
/// where the registry gives one.
///
/// For a blob the budget starts again with every MiB that has arrived for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// The time of all attempts and pauses together. No pause starts that would end beyond it.
    pub total: Duration,
    /// The number of attempts, at least 1.
    pub attempts: u32,
    /// The longest pause after the first attempt; it doubles with each.
    pub base_delay: Duration,
    /// The longest pause of all, `Retry-After` aside.
    pub max_delay: Duration,
    /// The longest `Retry-After` that is kept to; a longer one is cut to it.
    pub max_retry_after: Duration,
}

impl Default for RetryBudget {
    /// 16 attempts in 10 minutes, pauses from 20 ms to 30 s, `Retry-After` up to 5 minutes. What fails by
    /// chance is soon repeated; a registry that is down is asked less and less.
    fn default() -> Self {
        Self {
            total: Duration::from_mins(10),
            attempts: 16,
            base_delay: Duration::from_millis(20),
            max_delay: Duration::from_secs(30),
            max_retry_after: Duration::from_mins(5),
        }
    }
}

impl RetryBudget {
    /// One attempt, for at most `total`.
    pub fn once(total: Duration) -> Self {
        Self {
            total,
            attempts: 1,
            ..Self::default()
        }
    }

    /// The longest pause after attempt `made` (1 is the first).
    fn ceiling(&self, made: u32) -> Duration {
        let doubled = self
            .base_delay
            .saturating_mul(2u32.saturating_pow(made.saturating_sub(1)));
        doubled.min(self.max_delay)
    }

    /// The pause after attempt `made`: a random part of its ceiling, but not less than `Retry-After`.
    fn pause(&self, made: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let jittered = self.ceiling(made).mul_f64(random);
        jittered.max(retry_after.unwrap_or_default().min(self.max_retry_after))
    }
}

/// The attempts of one operation.
#[derive(Debug)]
pub(crate) struct Attempts {
    budget: RetryBudget,
    deadline: Instant,
    made: u32,
    integrity: u32,
    moved: u64,
}

impl Attempts {
    pub(crate) fn new(budget: RetryBudget) -> Self {
        let deadline = Instant::now() + budget.total;
        Self {
            budget,
            deadline,
            made: 1,
            integrity: 1,
            moved: 0,
        }
    }

    /// When the operation must be over.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits until the next attempt.
    ///
    /// # Errors
    /// Gives the error back when it can't pass by waiting, or the budget is spent.
    pub(crate) async fn pause(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        let retryable = error.is_retryable();
        self.pause_if(retryable, error).await
    }

    /// The same, with the caller's word on whether another attempt can help.
    pub(crate) async fn pause_if(
        &mut self,
        retryable: bool,
        error: RegistryError,
    ) -> Result<(), RegistryError> {
        let integrity = error.kind() == ErrorKind::Integrity;
        if !retryable
            || self.made >= self.budget.attempts
            || (integrity && self.integrity >= INTEGRITY_ATTEMPTS)
        {
            return Err(error.after(self.made));
        }
        let random = rand::rng().random_range(0.0..=1.0);
        let pause = self.budget.pause(self.made, error.retry_after(), random);
        if Instant::now() + pause > self.deadline {
            return Err(error.after(self.made));
        }
        tracing::warn!(
            error = %error,
            attempt = self.made,
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "registry request failed, trying again"
        );
        self.made += 1;
        self.integrity += u32::from(integrity);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Tells that bytes have moved for good; enough of them start the budget again.
    pub(crate) fn progress(&mut self, bytes: u64) {
        self.moved += bytes;
        if self.moved >= PROGRESS {
            self.moved = 0;
            self.made = 1;
            self.deadline = Instant::now() + self.budget.total;
        }
    }
}

/// Reads `Retry-After`, RFC 9110 section 10.2.3: seconds or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let budget = RetryBudget::default();
        let ceilings: Vec<_> = (1..=12)
            .map(|made| budget.ceiling(made).as_millis())
            .collect();
        assert_eq!(
            ceilings,
            [
                20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_240, 20_480, 30_000
            ]
        );
        assert_eq!(budget.ceiling(u32::MAX), budget.max_delay);
        assert_eq!(budget.pause(3, None, 0.0), Duration::ZERO);
        assert_eq!(budget.pause(3, None, 0.5), Duration::from_millis(40));
    }

    #[test]
    fn retry_after_is_the_least_pause_and_is_cut_at_five_minutes() {
        let budget = RetryBudget::default();
        let seven = Some(Duration::from_secs(7));
        assert_eq!(budget.pause(1, seven, 1.0), Duration::from_secs(7));
        let hour = Some(Duration::from_hours(1));
        assert_eq!(budget.pause(1, hour, 1.0), Duration::from_mins(5));
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_mins(1))
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            read("Thu, 01 Jan 1970 00:01:10 GMT"),
            Some(Duration::from_secs(10))
        );
        assert_eq!(read("Thu, 01 Jan 1970 00:00:10 GMT"), Some(Duration::ZERO));
        assert_eq!(read("-1"), None);
        assert_eq!(read("soon"), None);
    }
}
