//! Work on several threads, stopped by the first failure.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More threads than this only wait for the disk.
const MAX_THREADS: usize = 8;

/// As many threads as the machine runs at once, within reason.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(MAX_THREADS)
}

/// Calls `work` for every item and gives the results in the items' order, or the first failure.
pub fn each<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Result<R, E>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads().min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = work(item);
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    results
                        .lock()
                        .expect("no thread panics here")
                        .push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no thread panics here");
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_and_a_failure_stops_the_rest() {
        let items: Vec<u32> = (0..100).collect();
        let doubled: Result<Vec<u32>, ()> = each(&items, |n| Ok(n * 2));
        assert_eq!(
            doubled.expect("none fails"),
            (0..100).map(|n| n * 2).collect::<Vec<_>>()
        );
        let calls = AtomicUsize::new(0);
        let failed: Result<Vec<u32>, u32> = each(&vec![0; 10_000], |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            Err(7)
        });
        assert_eq!(failed, Err(7));
        assert!(calls.load(Ordering::Relaxed) <= MAX_THREADS * 2);
        let none: Result<Vec<u32>, ()> = each(&Vec::<u32>::new(), |_| Ok(1));
        assert_eq!(none, Ok(Vec::new()));
    }
}
