//! Layers of packages.

use kiln_oci::Digest;

use super::Bed;
use crate::LayerRow;

fn row(key: &str, content: &str) -> LayerRow {
    LayerRow {
        key: key.into(),
        digest: Digest::of(content.as_bytes()),
        diff_id: Digest::of(b"plain"),
        size_bytes: 500,
        segment_offset: 100,
        segment_bytes: 380,
        directories: vec!["opt".into(), "opt/kiln".into()],
    }
}

pub(crate) async fn a_layer_is_found_by_its_key_until_its_blob_is_damaged(bed: &Bed) {
    let records = bed.records();
    for kept in [row("a", "one"), row("b", "two"), row("c", "two")] {
        records.keep_layer(&kept).await.unwrap();
    }
    let find = async |keys: [&str; 3]| records.layers(&keys.map(str::to_owned)).await.unwrap();
    assert_eq!(
        find(["b", "a", "none"]).await,
        [row("a", "one"), row("b", "two")]
    );
    records.keep_layer(&row("a", "again")).await.unwrap();
    assert_eq!(find(["a", "x", "y"]).await, [row("a", "again")]);
    records.drop_layer(&Digest::of(b"two")).await.unwrap();
    assert_eq!(find(["a", "b", "c"]).await, [row("a", "again")]);
    assert_eq!(records.layers(&[]).await.unwrap(), []);
}

pub(crate) async fn a_registrys_layers_are_where_they_came_last(bed: &Bed) {
    let records = bed.records();
    let [one, two] = [Digest::of(b"one"), Digest::of(b"two")];
    records
        .note_layers("host:5000", "a", &[one, two])
        .await
        .unwrap();
    records.note_layers("host:5000", "b", &[two]).await.unwrap();
    records.note_layers("other", "c", &[]).await.unwrap();
    let mut places = records
        .layer_places("host:5000", &[two, one])
        .await
        .unwrap();
    places.sort();
    let mut expected = [(one, "a".to_owned()), (two, "b".to_owned())];
    expected.sort();
    assert_eq!(places, expected);
    assert_eq!(
        records.layer_places("other", &[one, two]).await.unwrap(),
        []
    );
}
