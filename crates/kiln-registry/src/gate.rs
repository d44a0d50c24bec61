//! How many requests run at one host at a time, and when it wants none.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How many answers in a row give one withheld place back.
const CALM: u32 = 16;
/// How long the gate stays closed after a 429 that tells nothing; it doubles with each in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// The gate of one host.
///
/// A 429 halves the places and closes the gate for the time the host names, or for a short one that grows
/// while nothing else comes; good answers open the places again, one by one.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed_until: Option<Instant>,
    withheld: usize,
    calm: u32,
    /// 429s since the last good answer.
    in_a_row: u32,
}

impl Gate {
    pub(crate) fn new(limit: usize, uploads: usize) -> Self {
        let places = Arc::new(Semaphore::new(limit));
        let uploads = Arc::new(Semaphore::new(uploads));
        Self {
            places,
            uploads,
            limit,
            state: Mutex::default(),
        }
    }

    /// Waits for a place and for the gate to be open. `Err` is the time the gate stays closed, when that
    /// is beyond `deadline`.
    pub(crate) async fn enter(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Duration> {
        loop {
            self.open(deadline).await?;
            let place = tokio::time::timeout_at(deadline, Arc::clone(&self.places).acquire_owned());
            let Ok(place) = place.await else {
                return Err(Duration::ZERO);
            };
            let place = place.expect("a gate's semaphore is never closed");
            // It may have closed while this request waited for its place.
            if self
                .state()
                .closed_until
                .is_none_or(|until| until <= Instant::now())
            {
                return Ok(place);
            }
        }
    }

    /// Waits for the turn of an upload, for as long as those before it take.
    pub(crate) async fn upload_turn(&self) -> OwnedSemaphorePermit {
        let turn = Arc::clone(&self.uploads).acquire_owned().await;
        turn.expect("a gate's semaphore is never closed")
    }

    /// Waits for the gate to be open, without taking a place: an upload has its turn already. `Err` is
    /// the time it stays closed, when that is beyond `deadline`.
    pub(crate) async fn open(&self, deadline: Instant) -> Result<(), Duration> {
        loop {
            let (closed_until, now) = (self.state().closed_until, Instant::now());
            match closed_until.filter(|until| *until > now) {
                None => return Ok(()),
                Some(until) if until > deadline => return Err(until - now),
                Some(until) => tokio::time::sleep_until(until).await,
            }
        }
    }

    /// The host answered 429, and may have asked for a pause.
    pub(crate) fn limited(&self, asked: Option<Duration>, longest: Duration) {
        let mut state = self.state();
        let now = Instant::now();
        let grown = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(state.in_a_row));
        let until = now + asked.unwrap_or(grown).min(longest);
        let closed = state.closed_until.filter(|until| *until > now);
        state.closed_until = Some(closed.map_or(until, |old| old.max(until)));
        state.calm = 0;
        if closed.is_some() {
            // It was under way when the gate closed: no news.
            return;
        }
        state.in_a_row = state.in_a_row.saturating_add(1);
        let half = (self.limit - state.withheld) / 2;
        // Places in use are not taken away; the next 429 finds them free.
        state.withheld += self.places.forget_permits(half);
    }

    /// The host answered as it should.
    pub(crate) fn answered(&self) {
        let mut state = self.state();
        state.in_a_row = 0;
        if state.withheld == 0 {
            return;
        }
        state.calm += 1;
        if state.calm >= CALM {
            state.calm = 0;
            state.withheld -= 1;
            self.places.add_permits(1);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_429_closes_the_gate_and_halves_the_places() {
        let gate = Gate::new(8, 1);
        let start = Instant::now();
        let longest = Duration::from_secs(9);
        gate.limited(Some(Duration::from_millis(70)), longest);
        assert_eq!(gate.places.available_permits(), 4);
        gate.limited(None, longest);
        assert_eq!(gate.places.available_permits(), 4, "the same burst");
        let early = gate.enter(start + Duration::from_millis(20)).await;
        assert!(early.unwrap_err() > Duration::from_millis(20));
        let _place = gate.enter(start + Duration::from_secs(9)).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(70));
        for _ in 0..CALM * 4 {
            gate.answered();
        }
        assert_eq!(gate.places.available_permits(), 7);
    }

    #[test]
    fn pauses_that_nobody_asked_for_grow_until_a_good_answer() {
        let gate = Gate::new(8, 1);
        let mut pauses = Vec::new();
        for good in [false, false, false, true, false] {
            let before = Instant::now();
            gate.limited(None, Duration::from_millis(75));
            // As if it were over.
            let until = gate.state().closed_until.take().unwrap();
            pauses.push((until - before).as_millis() / 25 * 25);
            if good {
                gate.answered();
            }
        }
        assert_eq!(pauses, [25, 50, 75, 75, 25]);
    }

    #[tokio::test]
    async fn a_full_gate_is_left_at_the_deadline() {
        let gate = Gate::new(1, 1);
        let deadline = Instant::now() + Duration::from_millis(5);
        let _place = gate.enter(deadline).await.unwrap();
        assert_eq!(gate.enter(deadline).await.unwrap_err(), Duration::ZERO);
    }
}
