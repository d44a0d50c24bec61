//! Private wheels.

use kiln_oci::Digest;

use super::Bed;
use crate::{KeptWheel, NewWheel, Scope};

fn new(file_name: &str, bytes: &str, url: Option<&str>) -> NewWheel {
    NewWheel {
        file_name: file_name.into(),
        digest: Digest::of(bytes.as_bytes()),
        size_bytes: bytes.len() as u64,
        name: "a".into(),
        version: "1".into(),
        url: url.map(str::to_owned),
        actor: "ada".into(),
        via: "http".into(),
    }
}

pub(crate) async fn a_name_keeps_its_bytes_and_is_one_workspaces_own(bed: &Bed) {
    let (records, scope) = (bed.records(), Scope::default_scope());
    let other: Scope = "other".parse().unwrap();
    let keep = async |scope: &Scope, new: NewWheel| records.keep_wheel(scope, &new).await.unwrap();
    let KeptWheel::New(first) = keep(&scope, new("a-1.whl", "x", None)).await else {
        panic!("it is new");
    };
    assert!(
        matches!(keep(&scope, new("a-1.whl", "y", None)).await, KeptWheel::Taken(row) if row == first)
    );
    let url = "https://host.example/a-1.whl";
    let KeptWheel::Same(again) = keep(&scope, new("a-1.whl", "x", Some(url))).await else {
        panic!("it is there");
    };
    assert_eq!(
        (again.digest, again.url.as_deref()),
        (first.digest, Some(url))
    );
    let kept = keep(&scope, new("a-1.whl", "x", None)).await;
    assert_eq!(kept, KeptWheel::Same(again.clone()), "the address stays");

    assert_eq!(
        records.wheel_by_url(&scope, url).await.unwrap(),
        Some(again.clone())
    );
    let found = records
        .wheel_by_digest(&scope, &first.digest)
        .await
        .unwrap();
    assert_eq!(found, Some(again.clone()));
    assert_eq!(records.wheel(&scope, "a-1.whl").await.unwrap(), Some(again));
    assert_eq!(records.wheel(&other, "a-1.whl").await.unwrap(), None);
    assert_eq!(
        records
            .wheel_by_digest(&other, &first.digest)
            .await
            .unwrap(),
        None
    );
    assert_eq!(records.wheel_by_url(&other, url).await.unwrap(), None);
    let strangers = [Digest::of(b"z"), first.digest];
    assert!(records.has_wheel_of(&scope, &strangers).await.unwrap());
    assert!(!records.has_wheel_of(&scope, &strangers[..1]).await.unwrap());
    assert!(!records.has_wheel_of(&other, &strangers).await.unwrap());

    keep(&scope, new("b-1.whl", "x", None)).await;
    let page = records.wheels(&scope, "a-1.whl", 10).await.unwrap();
    let names: Vec<_> = page.iter().map(|row| row.file_name.as_str()).collect();
    assert_eq!(names, ["b-1.whl"]);
    let rows = records.blob_rows().await.unwrap();
    assert!(
        rows.iter()
            .any(|row| row.digest == first.digest && row.needed)
    );
}
