//! Leases, crashes and delays.

use std::sync::Arc;
use std::time::Duration;

use super::{Bed, hash, new_image, started};
use crate::{ClaimedBuild, Finish, Scope};

const LEASE: Duration = Duration::from_secs(30);

async fn claim(bed: &Bed, worker: &str) -> Option<ClaimedBuild> {
    bed.records().claim(worker, LEASE).await.unwrap()
}

async fn begin(bed: &Bed, texts: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for text in texts {
        let row = started(bed.records(), &Scope::default_scope(), text).await;
        ids.push(row.id);
    }
    ids
}

pub(crate) async fn the_oldest_is_claimed_first_and_by_one_worker(bed: &Bed) {
    let records = bed.records();
    let ids = begin(bed, &["a", "b", "c"]).await;
    assert_eq!(records.waiting_builds().await.unwrap(), 3);
    let first = claim(bed, "one").await.unwrap();
    assert_eq!(
        (first.build.id.as_str(), first.canonical.as_str()),
        (ids[0].as_str(), "a")
    );
    assert_eq!((first.build.attempt, first.build.crashes), (1, 0));
    assert_eq!(first.build.fence, 2, "a claim is a new fence");
    let by_id = |id: usize| records.claim_build(&ids[id], "two", LEASE);
    assert_eq!(by_id(0).await.unwrap(), None, "another worker has it");
    assert_eq!(by_id(2).await.unwrap().unwrap().build.id, ids[2]);
    assert_eq!(claim(bed, "one").await.unwrap().build.id, ids[1]);
    assert_eq!(claim(bed, "one").await, None);
    assert_eq!(records.waiting_builds().await.unwrap(), 0);
    assert_eq!(records.next_due().await.unwrap(), Some(LEASE));
}

pub(crate) async fn two_claims_at_once_get_different_builds(bed: &Bed) {
    let texts: Vec<_> = (0..20).map(|n| format!("at once {n}")).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let ids = begin(bed, &texts).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..30 {
        let records = Arc::clone(&bed.records);
        tasks.spawn(async move { records.claim(&format!("worker {n}"), LEASE).await.unwrap() });
    }
    let claimed = tasks.join_all().await.into_iter().flatten();
    let mut claimed: Vec<_> = claimed.map(|claimed| claimed.build.id).collect();
    claimed.sort();
    assert_eq!(claimed, ids);
}

pub(crate) async fn a_small_workspace_does_not_wait_behind_a_large_one(bed: &Bed) {
    let (large, small): (Scope, Scope) = ("large".parse().unwrap(), "small".parse().unwrap());
    for n in 0..20 {
        started(bed.records(), &large, &format!("large {n}")).await;
    }
    for n in 0..3 {
        started(bed.records(), &small, &format!("small {n}")).await;
    }
    let mut served = Vec::new();
    for _ in 0..6 {
        let claimed = claim(bed, "worker").await.unwrap().build;
        // One place to work in: the build is over before the next is claimed.
        let done = bed
            .records()
            .finish_failed(&claimed.id, claimed.fence, "FAILED", "{}", None);
        assert!(done.await.unwrap());
        served.push(claimed.scope.to_string());
    }
    assert_eq!(
        served.iter().filter(|scope| *scope == "small").count(),
        3,
        "{served:?}"
    );
    // With many places, the workspace with the fewest in work is next.
    started(bed.records(), &small, "small late").await;
    let first = claim(bed, "worker").await.unwrap().build.scope;
    let second = claim(bed, "worker").await.unwrap().build.scope;
    assert_ne!(first, second);
}

pub(crate) async fn a_lease_lasts_as_long_as_its_heartbeat(bed: &Bed) {
    let records = bed.records();
    begin(bed, &["lease"]).await;
    let held = claim(bed, "one").await.unwrap().build;
    for _ in 0..5 {
        bed.clock.pass(LEASE / 2);
        assert!(
            records
                .heartbeat(&held.id, held.fence, LEASE)
                .await
                .unwrap()
        );
        assert_eq!(claim(bed, "two").await, None);
    }
    bed.clock.pass(Duration::from_millis(29_999));
    assert_eq!(claim(bed, "two").await, None);
    assert_eq!(
        records.next_due().await.unwrap(),
        Some(Duration::from_millis(1))
    );
    bed.clock.pass(Duration::from_millis(1));
    let taken = claim(bed, "two").await.unwrap();
    assert_eq!(taken.build.id, held.id);
    assert_eq!(taken.build.crashes, 0, "it was not in work yet");
    assert_eq!(taken.spent, LEASE / 2 * 5 + LEASE);
    assert!(
        !records
            .heartbeat(&held.id, held.fence, LEASE)
            .await
            .unwrap()
    );
}

pub(crate) async fn a_stale_fence_holds_nothing_and_writes_nothing(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    begin(bed, &["stale"]).await;
    let old = claim(bed, "one").await.unwrap().build;
    assert!(
        records
            .advance(&old.id, old.fence, "PUSHING")
            .await
            .unwrap()
    );
    bed.clock.pass(LEASE);
    let new = claim(bed, "two").await.unwrap().build;
    assert_eq!(
        (new.state.as_str(), new.crashes, new.attempt),
        ("QUEUED", 1, 2)
    );
    let before = records.build(&old.id).await.unwrap();
    let (id, fence) = (old.id.as_str(), old.fence);
    assert!(!records.advance(id, fence, "PUSHING").await.unwrap());
    assert!(!records.heartbeat(id, fence, LEASE).await.unwrap());
    assert!(!records.release(id, fence).await.unwrap());
    assert!(!records.retry_at(id, fence, LEASE, "{}").await.unwrap());
    let failed = records.finish_failed(id, fence, "FAILED", "{}", None);
    assert!(!failed.await.unwrap());
    let ready = records.finish_ready(id, fence, &new_image("late")).await;
    assert!(matches!(ready.unwrap(), Finish::Stale));
    let lock = records
        .put_lock(
            &scope,
            &hash("stale"),
            "stale",
            Some((id, fence)),
            "l",
            "{}",
        )
        .await;
    assert!(!lock.unwrap());
    assert_eq!(records.lock_of(&scope, &hash("stale")).await.unwrap(), None);
    assert_eq!(records.build(id).await.unwrap(), before);
    let done = records
        .finish_ready(id, new.fence, &new_image("right"))
        .await;
    assert!(matches!(done.unwrap(), Finish::Done(_)));
    assert!(!records.heartbeat(id, new.fence, LEASE).await.unwrap());
    assert!(!records.release(id, new.fence).await.unwrap());
    assert_eq!(records.next_due().await.unwrap(), None);
}

pub(crate) async fn a_reboot_ends_every_lease_and_every_delay(bed: &Bed) {
    let records = bed.records();
    let ids = begin(bed, &["reboot", "delayed"]).await;
    let held = claim(bed, "one").await.unwrap().build;
    let other = claim(bed, "one").await.unwrap().build;
    let hour = Duration::from_hours(1);
    let retried = records.retry_at(&other.id, other.fence, hour, "{}");
    assert!(retried.await.unwrap());
    assert_eq!(claim(bed, "two").await, None);
    bed.clock.reboot();
    assert_eq!(records.next_due().await.unwrap(), Some(Duration::ZERO));
    let mut claimed = Vec::new();
    while let Some(next) = claim(bed, "two").await {
        assert_eq!(next.spent, Duration::ZERO);
        claimed.push(next.build.id);
    }
    assert_eq!(claimed, ids);
    let late = records.heartbeat(&held.id, held.fence, LEASE);
    assert!(!late.await.unwrap());
}

pub(crate) async fn a_build_that_is_released_waits_and_did_not_crash(bed: &Bed) {
    let records = bed.records();
    begin(bed, &["drain"]).await;
    for round in 0..5 {
        let held = claim(bed, "one").await.unwrap().build;
        assert_eq!((held.crashes, held.attempt), (0, 1), "round {round}");
        let moved = records.advance(&held.id, held.fence, "BUILDING");
        assert!(moved.await.unwrap());
        assert!(records.release(&held.id, held.fence).await.unwrap());
        let late = records.advance(&held.id, held.fence, "PUSHING");
        assert!(!late.await.unwrap(), "its fence went with it");
        let row = records.build(&held.id).await.unwrap().unwrap();
        assert_eq!(row.state, "QUEUED");
    }
}

pub(crate) async fn a_build_that_is_tried_again_waits_its_delay_and_keeps_its_budget(bed: &Bed) {
    let records = bed.records();
    begin(bed, &["again"]).await;
    let minute = Duration::from_mins(1);
    let mut spent = Duration::ZERO;
    for attempt in 1..=4 {
        let held = claim(bed, "one").await.unwrap();
        assert_eq!((held.build.attempt, held.spent), (attempt, spent));
        let (id, fence) = (&held.build.id, held.build.fence);
        assert!(records.advance(id, fence, "PUSHING").await.unwrap());
        let why = format!("{{\"attempt\":{attempt}}}");
        assert!(records.retry_at(id, fence, minute, &why).await.unwrap());
        assert_eq!(claim(bed, "one").await, None);
        assert_eq!(records.claim_build(id, "one", LEASE).await.unwrap(), None);
        assert_eq!(records.next_due().await.unwrap(), Some(minute));
        let row = records.build(id).await.unwrap().unwrap();
        assert_eq!(row.failure_json.as_deref(), Some(why.as_str()));
        bed.clock.pass(minute);
        spent += minute;
    }
    let held = claim(bed, "one").await.unwrap().build;
    let done = records
        .finish_ready(&held.id, held.fence, &new_image("again"))
        .await;
    assert!(matches!(done.unwrap(), Finish::Done(_)));
    let row = records.build(&held.id).await.unwrap().unwrap();
    assert_eq!((row.failure_json, row.crashes), (None, 0));
}

/// Claims, gets to work and dies, three times.
async fn crash_three_times(bed: &Bed, id: &str) {
    let records = bed.records();
    for crashes in 0..3 {
        let held = claim(bed, "one").await.unwrap().build;
        assert_eq!((held.id.as_str(), held.crashes), (id, crashes));
        let moved = records.advance(&held.id, held.fence, "RESOLVING");
        assert!(moved.await.unwrap());
        bed.clock.pass(LEASE);
    }
}

pub(crate) async fn at_the_third_crash_a_build_is_quarantined_until_it_is_forgotten(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let ids = begin(bed, &["poison"]).await;
    crash_three_times(bed, &ids[0]).await;
    let neighbour = begin(bed, &["neighbour"]).await;
    let next = claim(bed, "one").await.unwrap().build;
    assert_eq!(
        [next.id],
        *neighbour,
        "a neighbour goes on in the same claim"
    );
    let row = records.build(&ids[0]).await.unwrap().unwrap();
    assert_eq!((row.state.as_str(), row.crashes), ("FAILED", 3));
    let failure: serde_json::Value = serde_json::from_str(&row.failure_json.unwrap()).unwrap();
    assert_eq!(failure["class"], "internal");
    assert_eq!(failure["retryable"], false);
    let message = failure["message"].as_str().unwrap();
    assert!(message.starts_with("quarantined: "), "{message}");
    bed.clock.pass(Duration::from_hours(10_000));
    for settings in ["one", "two"] {
        let found = records
            .remembered_failure(&scope, &hash("poison"), settings)
            .await;
        let found = found.unwrap().unwrap();
        assert_eq!(
            (found.class.as_str(), found.build_id),
            ("internal", Some(ids[0].clone()))
        );
    }
    records
        .forget_failure(&scope, &hash("poison"))
        .await
        .unwrap();
    let found = records
        .remembered_failure(&scope, &hash("poison"), "one")
        .await;
    assert_eq!(found.unwrap(), None);
    let again = started(records, &scope, "poison").await;
    assert_eq!(again.crashes, 0);
    let by_id = records.claim_build(&again.id, "one", LEASE).await.unwrap();
    assert_eq!(by_id.unwrap().build.id, again.id);
}

pub(crate) async fn a_worker_that_is_reset_lets_go_of_all_it_had(bed: &Bed) {
    let records = bed.records();
    let ids = begin(bed, &["a", "b", "c"]).await;
    let a = claim(bed, "one").await.unwrap().build;
    claim(bed, "one").await.unwrap();
    let c = claim(bed, "two").await.unwrap().build;
    assert!(records.advance(&a.id, a.fence, "BUILDING").await.unwrap());
    assert_eq!(records.reset_worker("nobody").await.unwrap(), 0);
    assert_eq!(records.reset_worker("one").await.unwrap(), 2);
    let zombie = records.heartbeat(&a.id, a.fence, LEASE);
    assert!(!zombie.await.unwrap(), "its fence is stale at once");
    let again = claim(bed, "one").await.unwrap().build;
    assert_eq!((again.id.as_str(), again.crashes), (ids[0].as_str(), 1));
    let again = claim(bed, "one").await.unwrap().build;
    assert_eq!((again.id.as_str(), again.crashes), (ids[1].as_str(), 0));
    assert_eq!(claim(bed, "one").await, None);
    assert_eq!(records.reset_other_workers("one").await.unwrap(), 1);
    assert_eq!(claim(bed, "one").await.unwrap().build.id, c.id);
}

pub(crate) async fn a_wall_clock_that_is_set_changes_no_lease(bed: &Bed) {
    let records = bed.records();
    begin(bed, &["clock"]).await;
    let held = claim(bed, "one").await.unwrap().build;
    for ms in [0, 4_000_000_000_000] {
        bed.clock.set_wall_ms(ms);
        assert_eq!(claim(bed, "two").await, None);
        let beat = records.heartbeat(&held.id, held.fence, LEASE);
        assert!(beat.await.unwrap());
        assert_eq!(records.next_due().await.unwrap(), Some(LEASE));
    }
}
