//! Pauses between attempts, and signs of life during long waits.

use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::Acker;
use rand::Rng as _;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// The longest pause.
const LONGEST: Duration = Duration::from_mins(1);

/// How long a sign of life may take: one that comes late is none.
const SIGN: Duration = Duration::from_secs(1);

/// The pause before attempt `attempt`, counted from 1: it doubles from `first` up to a minute, and its upper half is chance,
/// so that what failed together does not come back together.
pub(crate) fn pause(first: Duration, attempt: u32) -> Duration {
    let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let whole = doubled.min(LONGEST);
    whole.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Waits for a future and tells the broker, three times per `ack_wait`, that the message is being dealt with.
pub(crate) async fn with_signs<T>(
    acker: &Acker,
    ack_wait: Duration,
    future: impl Future<Output = T>,
) -> T {
    let every = ack_wait / 3;
    let mut future = pin!(future);
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            output = &mut future => return output,
            _ = ticks.tick() => {
                // Without it the message is delivered again, which is allowed.
                let _ = timeout(SIGN, acker.ack_with(AckKind::Progress)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_stay_there() {
        let first = Duration::from_secs(1);
        for attempt in 0..100 {
            let pause = pause(first, attempt);
            assert!(
                pause >= first / 2 && pause <= LONGEST,
                "{attempt}: {pause:?}"
            );
        }
        assert!(pause(first, 50) >= LONGEST / 2);
        assert!(pause(Duration::MAX, u32::MAX) >= LONGEST / 2);
    }
}
