//! What every implementation of [`Records`] promises: [`keep_the_contract`] is called with each.

use std::time::Duration;

use kiln_oci::Digest;
use kiln_spec::{CredentialForm, CredentialTarget, InlineCredential, Secret, SpecHash};

use crate::{Finish, FoundImage, NewBuild, NewImage, Records, Scope, Started, StoreErrorKind};

pub(crate) fn hash(text: &str) -> SpecHash {
    SpecHash::of_canonical_json(text)
}

pub(crate) fn new_build(canonical: &str) -> NewBuild {
    NewBuild {
        canonical: canonical.into(),
        repository: "localhost:5000/azureml/x".into(),
        backend: "docker".into(),
        refresh: false,
        actor: "test".into(),
        via: "test".into(),
    }
}

pub(crate) fn new_image(content: &str) -> NewImage {
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

pub(crate) async fn started(records: &dyn Records, scope: &Scope, text: &str) -> crate::BuildRow {
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
        .put_lock(
            &scope,
            &hash("lost"),
            "lost",
            Some(&row.id),
            "lock",
            "{\"a\":1}",
        )
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
    let remember = Some(("settings".to_owned(), Duration::from_mins(1)));
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

pub(crate) async fn credentials_come_back_in_their_scope_alone(records: &dyn Records) {
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

async fn an_image_that_comes_back_keeps_its_generation(records: &dyn Records) {
    let scope: Scope = "never/seen/before".parse().unwrap();
    let found = |content: &str, generation| FoundImage {
        repository: "localhost:5000/azureml/x".into(),
        digest: Digest::of(content.as_bytes()),
        generation,
        backend: "docker".into(),
        size_bytes: 1,
    };
    let adopt = async |content: &str, generation| {
        let found = found(content, generation);
        records
            .adopt_image(&scope, &hash("back"), "back", &found)
            .await
            .unwrap()
            .generation
    };
    assert_eq!(adopt("a", 1).await, 1);
    records
        .mark_image_lost(&scope, &hash("back"), 1)
        .await
        .unwrap();
    assert_eq!(adopt("a", 1).await, 1, "it is there again");
    records
        .mark_image_lost(&scope, &hash("back"), 1)
        .await
        .unwrap();
    assert_eq!(
        adopt("b", 1).await,
        2,
        "another image can't have its number"
    );
    assert_eq!(adopt("c", u64::MAX).await, 3, "no tag counts that far");
    assert_eq!(adopt("d", 0).await, 4, "generations count from 1");
    let current = records
        .current_image(&scope, &hash("back"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(current.digest, Digest::of(b"d"));
}

async fn a_build_moves_forward_alone_and_only_to_states_there_are(records: &dyn Records) {
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

async fn builds_are_listed_newest_first_in_pages(records: &dyn Records) {
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

async fn credentials_are_found_by_exact_use_and_can_be_removed(records: &dyn Records) {
    let scope: Scope = "keys".parse().unwrap();
    let registry = CredentialTarget::Registry("registry.example:5000".into());
    let index = CredentialTarget::Index("registry.example:5000".into());
    for (target, secret) in [(&registry, "of-the-registry"), (&index, "of-the-index")] {
        let credential = InlineCredential {
            target: target.clone(),
            form: CredentialForm::Basic,
            username: None,
            secret: Secret::new(secret),
        };
        records
            .put_inline_credential(&scope, &credential)
            .await
            .unwrap();
    }
    let found = records.credentials_for(&scope, &registry).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].secret.expose(), "of-the-registry");
    let other_host = CredentialTarget::Registry("registry.example".into());
    assert!(
        records
            .credentials_for(&scope, &other_host)
            .await
            .unwrap()
            .is_empty()
    );
    let listed = records.list_credentials(&scope).await.unwrap();
    assert!(!format!("{listed:?}").contains("of-the"), "{listed:?}");
    assert_eq!(listed.len(), 2);
    assert!(records.delete_credentials(&scope, &registry).await.unwrap());
    assert!(!records.delete_credentials(&scope, &registry).await.unwrap());
    let left = records.list_credentials(&scope).await.unwrap();
    assert_eq!(
        left.into_iter().map(|row| row.target).collect::<Vec<_>>(),
        [index]
    );
}

/// Runs the whole suite on records that are empty.
pub(crate) async fn keep_the_contract(records: &dyn Records) {
    one_active_build_per_definition_and_scope(records).await;
    a_stale_fence_changes_nothing(records).await;
    generations_count_and_a_refresh_may_go_back(records).await;
    a_lost_image_is_not_current_and_keeps_its_lock(records).await;
    an_adopted_image_is_current_and_numbering_goes_on_after_it(records).await;
    failures_are_remembered_for_a_time_and_for_their_settings(records).await;
    equal_hashes_with_other_texts_are_refused(records).await;
    credentials_come_back_in_their_scope_alone(records).await;
    an_image_that_comes_back_keeps_its_generation(records).await;
    a_build_moves_forward_alone_and_only_to_states_there_are(records).await;
    builds_are_listed_newest_first_in_pages(records).await;
    credentials_are_found_by_exact_use_and_can_be_removed(records).await;
}
