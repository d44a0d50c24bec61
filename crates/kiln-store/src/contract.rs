//! What every implementation of [`Records`] promises; SQLite is the one there is.

use std::time::Duration;

use kiln_oci::Digest;
use kiln_spec::{CredentialForm, CredentialTarget, InlineCredential, Secret, SpecHash};

use crate::{
    Finish, FoundImage, NewBuild, NewImage, Records, Scope, SqliteRecords, Started, StoreErrorKind,
};

fn hash(text: &str) -> SpecHash {
    SpecHash::of_canonical_json(text)
}

fn new_build(canonical: &str) -> NewBuild {
    NewBuild {
        canonical: canonical.into(),
        repository: "localhost:5000/azureml/x".into(),
        backend: "docker".into(),
        refresh: false,
        actor: "test".into(),
        via: "test".into(),
    }
}

fn new_image(content: &str) -> NewImage {
    NewImage {
        repository: "localhost:5000/azureml/x".into(),
        digest: Digest::of(content.as_bytes()),
        image_key: Digest::of(format!("key {content}").as_bytes()).to_hex(),
        lock_hash: "lock".into(),
        backend: "docker".into(),
        size_bytes: 7,
        generation: None,
    }
}

async fn started(records: &dyn Records, scope: &Scope, text: &str) -> crate::BuildRow {
    match records
        .begin_build(scope, &hash(text), &new_build(text))
        .await
        .unwrap()
    {
        Started::New(row) => row,
        Started::Joined(row) => panic!("a build is active: {row:?}"),
    }
}

async fn one_active_build_per_definition_and_scope(records: &dyn Records) {
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

async fn a_stale_fence_changes_nothing(records: &dyn Records) {
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

async fn generations_count_and_a_refresh_may_go_back(records: &dyn Records) {
    let scope = Scope::default_scope();
    let mut generations = Vec::new();
    for content in ["a", "b", "a"] {
        let row = started(records, &scope, "generations").await;
        match records
            .finish_ready(&row.id, row.fence, &new_image(content))
            .await
            .unwrap()
        {
            Finish::Done(image) => generations.push(image.generation),
            Finish::Stale => panic!("nobody took it over"),
        }
        let current = records
            .current_image(&scope, &hash("generations"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(current.digest, Digest::of(content.as_bytes()));
    }
    assert_eq!(generations, [1, 2, 1]);
}

async fn a_lost_image_is_not_current_and_keeps_its_lock(records: &dyn Records) {
    let scope = Scope::default_scope();
    let row = started(records, &scope, "lost").await;
    records
        .put_lock(&scope, &hash("lost"), "lost", Some(&row.id), "lock", "{\"a\":1}")
        .await
        .unwrap();
    let image = new_image("lost");
    records
        .finish_ready(&row.id, row.fence, &image)
        .await
        .unwrap();
    assert!(
        records
            .image_by_key(&scope, &image.image_key)
            .await
            .unwrap()
            .is_some()
    );
    records
        .mark_image_lost(&scope, &hash("lost"), 1)
        .await
        .unwrap();
    assert!(
        records
            .current_image(&scope, &hash("lost"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        records
            .image_by_key(&scope, &image.image_key)
            .await
            .unwrap()
            .is_none()
    );
    let lock = records.lock_of(&scope, &hash("lost")).await.unwrap();
    assert_eq!(lock.as_deref(), Some("{\"a\":1}"));
    let row = started(records, &scope, "lost").await;
    let again = records
        .finish_ready(&row.id, row.fence, &new_image("other bytes"))
        .await
        .unwrap();
    assert!(matches!(again, Finish::Done(image) if image.generation == 2));
}

async fn an_adopted_image_is_current_and_numbering_goes_on_after_it(records: &dyn Records) {
    let scope = Scope::default_scope();
    let found = FoundImage {
        repository: "localhost:5000/azureml/x".into(),
        digest: Digest::of(b"found"),
        generation: 4,
        backend: "docker".into(),
        size_bytes: 1,
    };
    records
        .adopt_image(&scope, &hash("found"), "found", &found)
        .await
        .unwrap();
    let current = records
        .current_image(&scope, &hash("found"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((current.generation, current.build_id), (4, None));
    let row = started(records, &scope, "found").await;
    let next = records
        .finish_ready(&row.id, row.fence, &new_image("new"))
        .await
        .unwrap();
    assert!(matches!(next, Finish::Done(image) if image.generation == 5));
}

async fn failures_are_remembered_for_a_time_and_for_their_settings(records: &dyn Records) {
    let scope = Scope::default_scope();
    let row = started(records, &scope, "failing").await;
    let remember = Some(("settings".to_owned(), Duration::from_secs(60)));
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

async fn equal_hashes_with_other_texts_are_refused(records: &dyn Records) {
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

async fn credentials_come_back_in_their_scope_alone(records: &dyn Records) {
    let scope: Scope = "vault".parse().unwrap();
    let credential = InlineCredential {
        target: CredentialTarget::Index("https://h/simple".into()),
        form: CredentialForm::Basic,
        username: Some("me".into()),
        secret: Secret::new("canary-7731"),
    };
    records
        .put_inline_credential(&scope, &credential)
        .await
        .unwrap();
    records
        .put_inline_credential(&scope, &credential)
        .await
        .unwrap();
    let found = records.credentials(&scope).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].secret.expose(), "canary-7731");
    assert!(
        records
            .credentials(&Scope::default_scope())
            .await
            .unwrap()
            .is_empty()
    );
}

async fn open(folder: &std::path::Path) -> SqliteRecords {
    SqliteRecords::open(&folder.join("kiln.db"), &folder.join("secret.key"))
        .await
        .unwrap()
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let records = open(folder.path()).await;
    one_active_build_per_definition_and_scope(&records).await;
    a_stale_fence_changes_nothing(&records).await;
    generations_count_and_a_refresh_may_go_back(&records).await;
    a_lost_image_is_not_current_and_keeps_its_lock(&records).await;
    an_adopted_image_is_current_and_numbering_goes_on_after_it(&records).await;
    failures_are_remembered_for_a_time_and_for_their_settings(&records).await;
    equal_hashes_with_other_texts_are_refused(&records).await;
    credentials_come_back_in_their_scope_alone(&records).await;
    assert_eq!(records.integrity_check().await.unwrap(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_begin_one_build() {
    let folder = tempfile::tempdir().unwrap();
    let records = open(folder.path()).await;
    let scope = Scope::default_scope();
    let all = (0..100).map(|_| async {
        let started = records
            .begin_build(&scope, &hash("x"), &new_build("x"))
            .await
            .unwrap();
        matches!(started, Started::New(_))
    });
    let started = futures::future::join_all(all)
        .await
        .into_iter()
        .filter(|new| *new)
        .count();
    assert_eq!(started, 1);
}

#[tokio::test]
async fn commits_are_synchronous_and_survive_reopening_and_secrets_are_in_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let records = open(folder.path()).await;
    let level: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&records.writer)
        .await
        .unwrap();
    assert_eq!(level, 2, "FULL");
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&records.writer)
        .await
        .unwrap();
    assert_eq!(mode, "wal");
    credentials_come_back_in_their_scope_alone(&records).await;
    let row = started(&records, &Scope::default_scope(), "kept").await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|window| window == b"canary-7731"));
    }
    drop(records);
    let again = open(folder.path()).await;
    let unfinished = again.unfinished_builds().await.unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!(
        (unfinished[0].0.id.as_str(), unfinished[0].1.as_str()),
        (row.id.as_str(), "kept")
    );
}

#[tokio::test]
async fn copies_of_the_files_at_any_moment_open_and_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let records = open(folder.path()).await;
    let scope = Scope::default_scope();
    for n in 0..40 {
        let row = started(&records, &scope, &format!("torn {n}")).await;
        records
            .finish_ready(&row.id, row.fence, &new_image(&n.to_string()))
            .await
            .unwrap();
        if n % 8 != 0 {
            continue;
        }
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        // A write that was cut off in the middle of the log.
        let wal = copy.path().join("kiln.db-wal");
        let length = std::fs::metadata(&wal).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&wal).unwrap();
        file.set_len(length.saturating_sub(1000)).unwrap();
        let torn = open(copy.path()).await;
        assert_eq!(torn.integrity_check().await.unwrap(), "ok");
        assert!(torn.unfinished_builds().await.unwrap().len() <= 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_another_process_holds_is_busy_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let records = open(folder.path()).await;
    let other = open(folder.path()).await;
    let mut holder = other.writer.acquire().await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut *holder)
        .await
        .unwrap();
    sqlx::query("PRAGMA busy_timeout = 50")
        .execute(&records.writer)
        .await
        .unwrap();
    let scope = Scope::default_scope();
    let error = records
        .begin_build(&scope, &hash("b"), &new_build("b"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Busy, "{error:?}");
    assert!(error.is_retryable());
    sqlx::query("ROLLBACK").execute(&mut *holder).await.unwrap();
    started(&records, &scope, "b").await;
}
