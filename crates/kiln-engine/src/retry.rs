//! When a failed build is tried again by itself.

use std::time::Duration;

use kiln_api::Failure;
use kiln_store::BuildRow;
use rand::Rng as _;

/// The wait before the second attempt, before jitter.
const FIRST_DELAY: Duration = Duration::from_secs(2);
/// No wait is longer.
const LONGEST_DELAY: Duration = Duration::from_mins(1);

/// The wait before the next attempt; none where trying again is not for kiln to decide: what failed
/// would fail again, or the budget, counted from the first attempt, is spent.
pub(crate) fn delay(
    failure: &Failure,
    build: &BuildRow,
    spent: Duration,
    budget: Duration,
) -> Option<Duration> {
    let left = budget.checked_sub(spent)?;
    if !failure.transient || left.is_zero() {
        return None;
    }
    let doublings = u32::try_from(build.attempt.saturating_sub(1))
        .unwrap_or(0)
        .min(10);
    let ceiling = FIRST_DELAY
        .saturating_mul(1 << doublings)
        .min(LONGEST_DELAY)
        .min(left);
    // Half of it is jitter: builds that failed together don't come back together.
    Some(ceiling.mul_f64(rand::rng().random_range(0.5..=1.0)))
}

#[cfg(test)]
mod tests {
    use kiln_api::FailureClass;
    use proptest::prelude::*;

    use super::*;

    fn build(attempt: i64) -> BuildRow {
        BuildRow {
            attempt,
            ..crate::testing::build_row()
        }
    }

    fn failure(class: FailureClass) -> Failure {
        Failure::new(class, "m", "r")
    }

    #[test]
    fn what_would_fail_again_is_not_tried_again() {
        for class in [
            FailureClass::Invalid,
            FailureClass::Unsatisfiable,
            FailureClass::NotFound,
            FailureClass::Auth,
            FailureClass::Memory,
            FailureClass::Timeout,
            FailureClass::Cancelled,
            FailureClass::Internal,
            FailureClass::Disk,
        ] {
            let delay = delay(&failure(class), &build(1), Duration::ZERO, Duration::MAX);
            assert_eq!(delay, None, "{class}");
        }
    }

    proptest! {
        #[test]
        fn waits_grow_to_a_minute_and_stay_inside_the_budget(attempt in 1i64..1000, spent in 0u64..700) {
            let budget = Duration::from_mins(10);
            let spent = Duration::from_secs(spent);
            let wait = delay(&failure(FailureClass::Registry), &build(attempt), spent, budget);
            match wait {
                None => prop_assert!(spent >= budget),
                Some(wait) => {
                    prop_assert!(spent + wait <= budget);
                    prop_assert!(wait <= LONGEST_DELAY);
                    let doubled = FIRST_DELAY.as_secs_f64() * 2f64.powi(i32::try_from(attempt.min(20)).unwrap() - 1);
                    prop_assert!(wait.as_secs_f64() <= doubled);
                }
            }
        }
    }
}
