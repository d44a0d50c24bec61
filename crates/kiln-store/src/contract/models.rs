//! Models.

use std::collections::BTreeMap;

use kiln_oci::Digest;

use super::Bed;
use crate::{ModelFile, ModelFilter, ModelNotes, NewModel, Scope};

fn new(name: &str, files: &[(&str, &str)]) -> NewModel {
    let file = |(path, text): &(&str, &str)| ModelFile {
        path: path.parse().unwrap(),
        digest: Digest::of(text.as_bytes()),
        size_bytes: text.len() as u64,
    };
    NewModel {
        name: name.parse().unwrap(),
        files: files.iter().map(file).collect(),
        notes: ModelNotes {
            description: Some("what it is".into()),
            tags: BTreeMap::from([("a".into(), "1".into())]),
            properties: BTreeMap::new(),
        },
        run_id: Some(format!("run of {name}")),
        experiment: None,
        details: r#"{"framework":"Custom"}"#.into(),
        actor: "ada".into(),
        via: "http".into(),
    }
}

fn all() -> ModelFilter {
    ModelFilter {
        limit: 100,
        ..ModelFilter::default()
    }
}

async fn listed(bed: &Bed, scope: &Scope, filter: &ModelFilter) -> Vec<String> {
    let rows = bed.records().models(scope, filter).await.unwrap();
    rows.iter()
        .map(|row| format!("{}:{}", row.name, row.version))
        .collect()
}

pub(crate) async fn versions_count_and_a_deleted_one_is_not_used_again(bed: &Bed) {
    let (records, scope) = (bed.records(), Scope::default_scope());
    let one = new("m", &[("a", "x"), ("d/b", "y")]);
    let row = records.register_model(&scope, &one).await.unwrap();
    assert_eq!((row.version, &row.files), (1, &one.files));
    assert_eq!(row.notes, one.notes);
    assert_eq!(
        records.register_model(&scope, &one).await.unwrap().version,
        2
    );
    let name = one.name.clone();
    assert!(records.delete_model(&scope, &name, 2).await.unwrap());
    assert!(!records.delete_model(&scope, &name, 2).await.unwrap());
    let newest = records.model(&scope, &name, None).await.unwrap().unwrap();
    assert_eq!(newest, row);
    assert!(
        records
            .model(&scope, &name, Some(2))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        records.register_model(&scope, &one).await.unwrap().version,
        3
    );
    let notes = ModelNotes::default();
    assert!(records.note_model(&scope, &name, 3, &notes).await.unwrap());
    assert!(!records.note_model(&scope, &name, 2, &notes).await.unwrap());
    let noted = records.model(&scope, &name, Some(3)).await.unwrap();
    assert_eq!(noted.unwrap().notes, notes);
}

pub(crate) async fn models_belong_to_their_workspace_and_are_listed_in_pages(bed: &Bed) {
    let (records, scope) = (bed.records(), Scope::default_scope());
    let other: Scope = "other".parse().unwrap();
    for name in ["b", "a", "a"] {
        let made = new(name, &[("f", "x")]);
        records.register_model(&scope, &made).await.unwrap();
    }
    assert!(listed(bed, &other, &all()).await.is_empty());
    let name = "a".parse().unwrap();
    assert!(records.model(&other, &name, None).await.unwrap().is_none());
    assert_eq!(listed(bed, &scope, &all()).await, ["a:2", "a:1", "b:1"]);
    let latest = ModelFilter {
        latest: true,
        ..all()
    };
    assert_eq!(listed(bed, &scope, &latest).await, ["a:2", "b:1"]);
    let of_run = ModelFilter {
        run_id: Some("run of b".into()),
        ..all()
    };
    assert_eq!(listed(bed, &scope, &of_run).await, ["b:1"]);
    let page = ModelFilter {
        after: Some((name.clone(), 2)),
        limit: 1,
        ..all()
    };
    assert_eq!(listed(bed, &scope, &page).await, ["a:1"]);
    let of_name = ModelFilter {
        name: Some(name),
        ..all()
    };
    assert_eq!(listed(bed, &scope, &of_name).await, ["a:2", "a:1"]);
}

pub(crate) async fn a_model_holds_its_files_until_it_is_deleted(bed: &Bed) {
    let (records, scope) = (bed.records(), Scope::default_scope());
    for _ in 0..2 {
        let made = new("m", &[("f", "x")]);
        records.register_model(&scope, &made).await.unwrap();
    }
    let digest = Digest::of(b"x");
    let needed = async || {
        let rows = records.blob_rows().await.unwrap();
        rows.iter().any(|row| row.digest == digest && row.needed)
    };
    let name = "m".parse().unwrap();
    records.delete_model(&scope, &name, 1).await.unwrap();
    assert!(needed().await, "the other version has it too");
    records.delete_model(&scope, &name, 2).await.unwrap();
    assert!(!needed().await);
}
