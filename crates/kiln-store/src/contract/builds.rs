//! Builds: accepted once, moved on by their holder, ended once.

use kiln_oci::Digest;

use super::{Bed, hash, new_build, new_image, started};
use crate::{Finish, RequestKey, Scope, Started, StoreErrorKind};

pub(crate) async fn one_active_build_per_definition_and_scope(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let other: Scope = "other".parse().unwrap();
    let row = started(records, &scope, "one").await;
    let again = records
        .begin_build(&scope, &hash("one"), &new_build("one"))
        .await
        .unwrap();
    assert!(matches!(again, Started::Joined(joined) if joined.id == row.id));
    started(records, &other, "one").await;
    assert!(
        records
            .finish_failed(&row.id, row.fence, "FAILED", "{}", None)
            .await
            .unwrap()
    );
    started(records, &scope, "one").await;
}

pub(crate) async fn a_stale_fence_changes_nothing(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let row = started(records, &scope, "fence").await;
    assert!(
        records
            .advance(&row.id, row.fence, "BUILDING")
            .await
            .unwrap()
    );
    let taken = records.take_over(&row.id).await.unwrap().unwrap();
    assert_eq!((taken.state.as_str(), taken.attempt), ("QUEUED", 2));
    assert!(
        !records
            .advance(&row.id, row.fence, "PUSHING")
            .await
            .unwrap()
    );
    assert!(
        !records
            .finish_failed(&row.id, row.fence, "FAILED", "{}", None)
            .await
            .unwrap()
    );
    let late = records
        .finish_ready(&row.id, row.fence, &new_image("late"))
        .await
        .unwrap();
    assert!(matches!(late, Finish::Stale));
    let done = records
        .finish_ready(&row.id, taken.fence, &new_image("right"))
        .await
        .unwrap();
    assert!(matches!(done, Finish::Done(_)));
    assert!(
        !records
            .advance(&row.id, taken.fence, "BUILDING")
            .await
            .unwrap(),
        "it is over"
    );
    let current = records
        .current_image(&scope, &hash("fence"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(current.digest, Digest::of(b"right"));
}

pub(crate) async fn equal_hashes_with_other_texts_are_refused(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    records
        .begin_build(&scope, &hash("text"), &new_build("text"))
        .await
        .unwrap();
    let error = records
        .begin_build(&scope, &hash("text"), &new_build("other"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Integrity);
}

pub(crate) async fn a_build_moves_forward_alone_and_only_to_states_there_are(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let row = started(records, &scope, "forward").await;
    for (state, moved) in [
        ("RESOLVING", true),
        ("PUSHING", true),
        ("PUSHING", true),
        ("BUILDING", false),
    ] {
        assert_eq!(
            records.advance(&row.id, row.fence, state).await.unwrap(),
            moved,
            "{state}"
        );
    }
    for state in ["READY", "PUSHED", ""] {
        assert!(
            records.advance(&row.id, row.fence, state).await.is_err(),
            "{state}"
        );
    }
    assert!(
        records
            .finish_failed(&row.id, row.fence, "READY", "{}", None)
            .await
            .is_err()
    );
    assert!(
        records
            .finish_failed(&row.id, row.fence, "CANCELLED", "{}", None)
            .await
            .unwrap()
    );
    assert!(
        !records
            .finish_failed(&row.id, row.fence, "FAILED", "{}", None)
            .await
            .unwrap()
    );
    let over = records.build(&row.id).await.unwrap().unwrap();
    assert_eq!(over.state, "CANCELLED");
    assert!(
        records.take_over(&row.id).await.unwrap().is_none(),
        "it is over"
    );
}

pub(crate) async fn builds_are_listed_newest_first_in_pages(bed: &Bed) {
    let records = bed.records();
    let scope: Scope = "pages".parse().unwrap();
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(started(records, &scope, &format!("page {n}")).await.id);
    }
    ids.reverse();
    let mut listed = Vec::new();
    loop {
        let before = listed.last().cloned();
        let page = records
            .list_builds(&scope, 2, before.as_deref())
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        listed.extend(page.into_iter().map(|row| row.id));
    }
    assert_eq!(listed, ids);
}

pub(crate) async fn above_its_bounds_the_queue_takes_no_more_and_joins_still(bed: &Bed) {
    let records = bed.records();
    let (a, b): (Scope, Scope) = ("a".parse().unwrap(), "b".parse().unwrap());
    let begin = async |scope: &Scope, text: &str| {
        let mut new = new_build(text);
        (new.terms.queue_bound, new.terms.scope_bound) = (Some(3), Some(2));
        let key = RequestKey::idempotency(scope, text, Digest::of(text.as_bytes()));
        new.terms.request = Some(key);
        records.begin_build(scope, &hash(text), &new).await.unwrap()
    };
    assert!(matches!(begin(&a, "1").await, Started::New(_)));
    assert!(matches!(begin(&a, "2").await, Started::New(_)));
    let full = begin(&a, "3").await;
    let own = matches!(
        full,
        Started::Full {
            queued: 2,
            in_scope: true
        }
    );
    assert!(own, "{full:?}");
    assert!(matches!(begin(&b, "1").await, Started::New(_)));
    let full = begin(&b, "2").await;
    let all = matches!(
        full,
        Started::Full {
            queued: 3,
            in_scope: false
        }
    );
    assert!(all, "{full:?}");
    let joined = records.begin_build(&b, &hash("1"), &new_build("1")).await;
    assert!(matches!(joined.unwrap(), Started::Joined(_)));
    assert_eq!(records.list_builds(&b, 10, None).await.unwrap().len(), 1);
    // What a worker has waits no more; what was refused left no key behind.
    let lease = std::time::Duration::from_secs(9);
    records.claim("worker", lease).await.unwrap().unwrap();
    assert!(matches!(begin(&b, "2").await, Started::New(_)));
}
