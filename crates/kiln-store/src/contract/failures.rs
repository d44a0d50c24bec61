//! Remembered failures.

use std::time::Duration;

use super::{Bed, hash, started};
use crate::{Remember, Scope};

pub(crate) async fn failures_are_remembered_for_a_time_and_for_their_settings(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let row = started(records, &scope, "failing").await;
    let remember = Some(Remember {
        settings: "settings".to_owned(),
        class: "unsatisfiable".to_owned(),
        lasts: Duration::from_mins(1),
    });
    records
        .finish_failed(&row.id, row.fence, "FAILED", "{\"why\":1}", remember)
        .await
        .unwrap();
    let found = records
        .remembered_failure(&scope, &hash("failing"), "settings")
        .await
        .unwrap();
    assert_eq!(found.unwrap().failure_json, "{\"why\":1}");
    assert!(
        records
            .remembered_failure(&scope, &hash("failing"), "others")
            .await
            .unwrap()
            .is_none()
    );
    records
        .forget_failure(&scope, &hash("failing"))
        .await
        .unwrap();
    assert!(
        records
            .remembered_failure(&scope, &hash("failing"), "settings")
            .await
            .unwrap()
            .is_none()
    );
}

pub(crate) async fn failures_of_a_class_are_forgotten_together(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    for (text, class) in [("a", "auth"), ("b", "auth"), ("c", "unsatisfiable")] {
        let row = started(records, &scope, text).await;
        let remember = Remember {
            settings: "s".to_owned(),
            class: class.to_owned(),
            lasts: Duration::from_hours(1),
        };
        let ended = records.finish_failed(&row.id, row.fence, "FAILED", "{}", Some(remember));
        assert!(ended.await.unwrap());
    }
    let other: Scope = "other".parse().unwrap();
    assert_eq!(records.forget_failures_of(&other, "auth").await.unwrap(), 0);
    assert_eq!(records.forget_failures_of(&scope, "auth").await.unwrap(), 2);
    for (text, remembered) in [("a", false), ("c", true)] {
        let found = records.remembered_failure(&scope, &hash(text), "s").await;
        assert_eq!(found.unwrap().is_some(), remembered, "{text}");
    }
    bed.clock.pass(Duration::from_hours(1));
    let found = records.remembered_failure(&scope, &hash("c"), "s").await;
    assert_eq!(found.unwrap(), None);
    assert_eq!(records.prune().await.unwrap(), 1);
}
