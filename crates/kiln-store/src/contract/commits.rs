//! What is pushed and tagged.

use std::time::Duration;

use super::{Bed, hash, new_image, started};
use crate::{Finish, Scope};

const LEASE: Duration = Duration::from_secs(45);

pub(crate) async fn what_was_about_to_be_pushed_is_told_with_the_next_claim(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let row = started(records, &scope, "a").await;
    let first = records.claim("w", LEASE).await.unwrap().unwrap();
    assert_eq!(first.pushed, None);
    let image = new_image("content");
    assert!(
        !records
            .note_pushed(&row.id, first.build.fence - 1, &image)
            .await
            .unwrap()
    );
    assert!(
        records
            .note_pushed(&row.id, first.build.fence, &image)
            .await
            .unwrap()
    );
    bed.clock.pass(LEASE * 2);
    let second = records.claim("w2", LEASE).await.unwrap().unwrap();
    assert_eq!(second.pushed, Some(image));
}

pub(crate) async fn an_image_is_untagged_until_its_tags_are_set(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let row = started(records, &scope, "a").await;
    let claimed = records.claim("w", LEASE).await.unwrap().unwrap();
    let image = new_image("content");
    let done = records
        .finish_ready(&row.id, claimed.build.fence, &image)
        .await;
    assert!(matches!(done.unwrap(), Finish::Done(_)));
    let untagged = records.untagged_images(10).await.unwrap();
    assert_eq!(untagged.len(), 1);
    assert_eq!(untagged[0].image.digest, image.digest);
    assert_eq!(
        (&untagged[0].scope, untagged[0].spec_hash),
        (&scope, hash("a"))
    );
    records.mark_tagged(&scope, &hash("a"), 1).await.unwrap();
    assert!(records.untagged_images(10).await.unwrap().is_empty());
}

pub(crate) async fn an_image_is_found_by_its_place_until_it_is_lost(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let row = started(records, &scope, "a").await;
    let claimed = records.claim("w", LEASE).await.unwrap().unwrap();
    let image = new_image("content");
    let done = records
        .finish_ready(&row.id, claimed.build.fence, &image)
        .await;
    assert!(matches!(done.unwrap(), Finish::Done(_)));
    let at = async |repository: &str| {
        let found = records.images_at(repository, &image.digest).await.unwrap();
        found
            .into_iter()
            .map(|known| known.spec_hash)
            .collect::<Vec<_>>()
    };
    assert_eq!(at(&image.repository).await, [hash("a")]);
    assert!(at("localhost:5000/azureml/other").await.is_empty());
    let canonical = records.canonical(&scope, &hash("a")).await.unwrap();
    assert_eq!(canonical.as_deref(), Some("a"));
    assert_eq!(records.canonical(&scope, &hash("b")).await.unwrap(), None);
    assert!(
        records
            .mark_image_lost(&scope, &hash("a"), 1)
            .await
            .unwrap()
    );
    assert!(at(&image.repository).await.is_empty());
}
