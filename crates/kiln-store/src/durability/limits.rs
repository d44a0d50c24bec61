//! A locked database and a full disk: a clear answer, nothing lost, and on it goes.

use std::time::Duration;

use super::open;
use crate::contract::{hash, new_build, new_image, started};
use crate::{Builds as _, Finish, Queue as _, Scope, StoreErrorKind};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_another_process_holds_is_busy_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let records = open(folder.path()).await;
    let other = open(folder.path()).await;
    let scope = Scope::default_scope();
    started(&records, &scope, "held").await;
    let lease = Duration::from_secs(30);
    let held = records.claim("w", lease).await.unwrap().unwrap().build;
    let mut holder = other.writer.acquire().await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut *holder)
        .await
        .unwrap();
    // Before each call: a connection that failed to begin is replaced.
    let impatient = || sqlx::query("PRAGMA busy_timeout = 50").execute(&records.writer);
    impatient().await.unwrap();
    let error = records
        .begin_build(&scope, &hash("b"), &new_build("b"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Busy, "{error:?}");
    assert!(error.is_retryable());
    impatient().await.unwrap();
    let beat = records.heartbeat(&held.id, held.fence, lease).await;
    impatient().await.unwrap();
    let moved = records.advance(&held.id, held.fence, "BUILDING").await;
    impatient().await.unwrap();
    let claim = records.claim("w", lease).await.map(|claim| claim.is_some());
    for answer in [beat, moved, claim] {
        assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::Busy);
    }
    // What only reads goes on.
    assert_eq!(records.unfinished_builds().await.unwrap().len(), 1);
    sqlx::query("ROLLBACK").execute(&mut *holder).await.unwrap();
    started(&records, &scope, "b").await;
    let beat = records.heartbeat(&held.id, held.fence, lease).await;
    assert!(beat.unwrap(), "its lease outlived the wait");
}

#[tokio::test]
async fn a_full_disk_is_told_and_work_goes_on_when_there_is_space_again() {
    let folder = tempfile::tempdir().unwrap();
    let records = open(folder.path()).await;
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(&records.writer)
        .await
        .unwrap();
    let limit = |pages: i64| sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
    sqlx::query(limit(pages + 2))
        .execute(&records.writer)
        .await
        .unwrap();
    let scope = Scope::default_scope();
    let mut accepted = 0;
    let error = loop {
        let text = format!("{accepted} {}", "x".repeat(3000));
        match records
            .begin_build(&scope, &hash(&text), &new_build(&text))
            .await
        {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), StoreErrorKind::Disk, "{error:?}");
    assert!(error.is_retryable());
    assert_eq!(records.unfinished_builds().await.unwrap().len(), accepted);
    let lease = Duration::from_secs(30);
    let held = records.unfinished_builds().await.unwrap().remove(0).0;
    let mut image = new_image("full");
    image.repository = "r".repeat(20_000);
    // A connection of its own may stand in for the one that failed: the limit is each one's.
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(&records.writer)
        .await
        .unwrap();
    sqlx::query(limit(pages + 2))
        .execute(&records.writer)
        .await
        .unwrap();
    let error = records.finish_ready(&held.id, held.fence, &image).await;
    let kind = error.err().map(|error| error.kind());
    assert_eq!(kind, Some(StoreErrorKind::Disk));
    let unchanged = records.build(&held.id).await.unwrap();
    assert_eq!(unchanged.as_ref(), Some(&held));
    sqlx::query(limit(pages + 1000))
        .execute(&records.writer)
        .await
        .unwrap();
    started(&records, &scope, "again").await;
    let ready = records.finish_ready(&held.id, held.fence, &image).await;
    assert!(matches!(ready.unwrap(), Finish::Done(_)));
    assert!(records.claim("w", lease).await.unwrap().is_some());
    assert_eq!(records.integrity_check().await.unwrap(), "ok");
}
