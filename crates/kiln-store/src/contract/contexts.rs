//! Build contexts.

use kiln_oci::Digest;

use super::Bed;
use crate::{NewContext, Scope};

pub(crate) async fn a_context_is_one_workspaces_own_and_its_blob_is_held(bed: &Bed) {
    let (records, scope) = (bed.records(), Scope::default_scope());
    let other: Scope = "other".parse().unwrap();
    let new = NewContext {
        digest: Digest::of(b"tar"),
        size_bytes: 3,
        files: 1,
        actor: "ada".into(),
        via: "http".into(),
    };
    let (row, is_new) = records.keep_context(&scope, &new).await.unwrap();
    assert!(is_new);
    assert_eq!((row.digest, row.size_bytes, row.files), (new.digest, 3, 1));
    let by_another = NewContext {
        actor: "bob".into(),
        ..new.clone()
    };
    let again = records.keep_context(&scope, &by_another).await.unwrap();
    assert_eq!(again, (row.clone(), false));
    let found = records.context(&scope, &new.digest).await.unwrap();
    assert_eq!(found, Some(row));
    assert_eq!(records.context(&other, &new.digest).await.unwrap(), None);
    let rows = records.blob_rows().await.unwrap();
    assert!(
        rows.iter()
            .any(|row| row.digest == new.digest && row.needed)
    );
}
