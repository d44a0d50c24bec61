//! Generations, locks, lost and found images.

use std::time::Duration;

use kiln_oci::Digest;

use super::collection::{self, lock};
use super::{Bed, hash, new_image, started};
use crate::{BaseName, EventType, Finish, FoundImage, Scope};

pub(crate) async fn generations_count_and_a_refresh_may_go_back(bed: &Bed) {
    let records = bed.records();
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

pub(crate) async fn a_lost_image_is_not_current_and_keeps_its_lock(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let row = started(records, &scope, "lost").await;
    records
        .put_lock(
            &scope,
            &hash("lost"),
            "lost",
            Some((&row.id, row.fence)),
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

pub(crate) async fn an_adopted_image_is_current_and_numbering_goes_on_after_it(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let found = FoundImage {
        repository: "localhost:5000/azureml/x".into(),
        digest: Digest::of(b"found"),
        generation: 4,
        backend: "docker".into(),
        size_bytes: 1,
        base: None,
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

pub(crate) async fn an_image_that_comes_back_keeps_its_generation(bed: &Bed) {
    let records = bed.records();
    let scope: Scope = "never/seen/before".parse().unwrap();
    let found = |content: &str, generation| FoundImage {
        repository: "localhost:5000/azureml/x".into(),
        digest: Digest::of(content.as_bytes()),
        generation,
        backend: "docker".into(),
        size_bytes: 1,
        base: None,
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

pub(crate) async fn a_lock_is_kept_for_the_holder_of_the_build_alone(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let row = started(records, &scope, "locked").await;
    let put = async |build, lock: &str| {
        let json = format!("{{\"of\":\"{lock}\"}}");
        let put = records
            .put_lock(&scope, &hash("locked"), "locked", build, lock, &json)
            .await;
        put.unwrap()
    };
    assert!(put(None, "by hand").await);
    assert!(put(Some((row.id.as_str(), row.fence)), "held").await);
    assert!(!put(Some((row.id.as_str(), row.fence - 1)), "stale").await);
    assert!(!put(Some(("no build", 1)), "none").await);
    let lock = records.lock_of(&scope, &hash("locked")).await.unwrap();
    assert_eq!(lock.as_deref(), Some("{\"of\":\"held\"}"));
    let row = records.build(&row.id).await.unwrap().unwrap();
    assert_eq!(row.lock_hash.as_deref(), Some("held"));
}

pub(crate) async fn images_are_found_by_their_base_and_noted_as_outdated_once(bed: &Bed) {
    let records = bed.records();
    let (a, b) = (Scope::default_scope(), "last".parse().unwrap());
    let lock = lock(&["x"]);
    for (scope, text) in [(&a, "1"), (&a, "2"), (&b, "1")] {
        collection::build(records, scope, text, &lock).await;
    }
    let names = [
        BaseName::Reference("registry.example/python:3.11".into()),
        BaseName::Digest(Digest::of(b"base")),
        BaseName::Digest(Digest::of(b"index")),
    ];
    for name in &names {
        let first = records.images_on_base(name, 2, None).await.unwrap();
        let rest = records.images_on_base(name, 2, first.last()).await.unwrap();
        assert_eq!((first.len(), rest.len()), (2, 1), "{name:?}");
        let found = first[0].base.as_ref().unwrap();
        assert_eq!(found.manifest, Digest::of(b"base"));
        assert_eq!(found.index, Some(Digest::of(b"index")));
        assert_eq!(rest[0].scope, b);
    }
    let other = BaseName::Reference("registry.example/python".into());
    let none = records.images_on_base(&other, 9, None).await.unwrap();
    assert_eq!(none, []);

    let spec = hash("1");
    let mark = || records.mark_image_outdated(&a, &spec, 1, "its base has moved");
    assert!(mark().await.unwrap());
    assert!(!mark().await.unwrap());
    let image = records.current_image(&a, &spec).await.unwrap().unwrap();
    assert_eq!(image.outdated.as_deref(), Some("its base has moved"));
    let told = records.events(&a, 99, None).await.unwrap();
    let told: Vec<_> = told
        .iter()
        .filter(|event| event.kind == EventType::Outdated)
        .collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].payload.contains("its base has moved"));
    // A refresh that makes the same image says that it is up to date.
    collection::build(records, &a, "1", &lock).await;
    let image = records.current_image(&a, &spec).await.unwrap().unwrap();
    assert_eq!((image.generation, image.outdated), (1, None));
    // One that makes another image leaves the old one behind.
    let lock = collection::lock(&["y"]);
    collection::build(records, &a, "1", &lock).await;
    let all = records.images_on_base(&names[0], 9, None).await.unwrap();
    let generations: Vec<_> = all.iter().map(|known| known.image.generation).collect();
    assert_eq!(generations.iter().sum::<u64>(), 4, "{generations:?}");
}

pub(crate) async fn images_come_up_for_verification_the_longest_unverified_first(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let minutes = |n| Duration::from_mins(n);
    for text in ["a", "b", "c"] {
        collection::build(records, &scope, text, &lock(&["x"])).await;
        bed.clock.pass(minutes(1));
    }
    let due = async |limit| {
        let due = records.images_to_verify(minutes(5), limit, None).await;
        let due = due.unwrap();
        due.iter().map(|known| known.spec_hash).collect::<Vec<_>>()
    };
    assert_eq!(due(9).await, []);
    bed.clock.pass(minutes(3));
    assert_eq!(due(9).await, [hash("a"), hash("b")]);
    assert_eq!(due(1).await, [hash("a")]);
    let first = records.images_to_verify(minutes(5), 1, None).await.unwrap();
    let next = records.images_to_verify(minutes(5), 9, first.last()).await;
    let next = next.unwrap();
    assert_eq!(next.len(), 1, "pages don't overlap");
    assert_eq!(next[0].spec_hash, hash("b"));
    let (a, b) = (hash("a"), hash("b"));
    records.mark_image_verified(&scope, &a, 1).await.unwrap();
    assert!(records.mark_image_lost(&scope, &b, 1).await.unwrap());
    assert_eq!(due(9).await, []);
    bed.clock.pass(minutes(1));
    assert_eq!(due(9).await, [hash("c")], "a lost one is known to be lost");
    let told = records.events(&scope, 99, None).await.unwrap();
    let told = told
        .iter()
        .filter(|event| event.kind == EventType::Outdated);
    let told: Vec<_> = told.map(|event| event.payload.clone()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("the registry has lost it"), "{told:?}");
    // Of a definition's generations the current one is looked at alone.
    collection::build(records, &scope, "c", &lock(&["y"])).await;
    bed.clock.pass(minutes(6));
    let due = records.images_to_verify(minutes(5), 9, None).await.unwrap();
    let generations: Vec<_> = due
        .iter()
        .filter(|known| known.spec_hash == hash("c"))
        .map(|known| known.image.generation)
        .collect();
    assert_eq!(generations, [2]);
}
