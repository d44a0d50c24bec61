//! What the garbage collection may take.

use std::sync::Mutex;
use std::time::Duration;

use kiln_lock::{LOCK_FORMAT_VERSION, Lock, LockedBase, ResolverSettings, Wheel};
use kiln_oci::Digest;

use super::{Bed, hash, new_image, started};
use crate::{BuildRow, Finish, NewImage, Records, Scope};

const HOUR: Duration = Duration::from_hours(1);

/// The digest of the wheel that [`lock`] names so.
pub(crate) fn wheel(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// A lock of wheels.
pub(crate) fn lock(wheels: &[&str]) -> Lock {
    let wheel = |name: &&str| Wheel {
        name: (*name).to_owned(),
        version: "1".into(),
        file_name: format!("{name}-1-py3-none-any.whl"),
        url: format!("https://index.example/{name}"),
        sha256: wheel(name),
        size_bytes: None,
        requested: true,
        built_from: None,
    };
    Lock {
        format_version: LOCK_FORMAT_VERSION,
        platform: "linux/amd64".into(),
        base: Some(LockedBase {
            reference: "registry.example/python:3.11".into(),
            digest: Digest::of(b"base"),
            index_digest: Some(Digest::of(b"index")),
        }),
        python: None,
        conda: Vec::new(),
        pip: wheels.iter().map(wheel).collect(),
        settings: ResolverSettings {
            channel_priority: kiln_lock::ChannelPriority::default(),
            index_strategy: kiln_lock::IndexStrategy::default(),
        },
        notes: Vec::new(),
    }
}

/// Builds a definition from a lock, to READY.
pub(crate) async fn build(records: &dyn Records, scope: &Scope, text: &str, lock: &Lock) {
    let row = started(records, scope, text).await;
    put(records, scope, text, Some(&row), lock).await;
    let image = NewImage {
        lock_hash: lock.hash().to_hex(),
        ..new_image(&format!("{text} {}", lock.hash()))
    };
    let done = records.finish_ready(&row.id, row.fence, &image).await;
    assert!(matches!(done.unwrap(), Finish::Done(_)));
}

/// Keeps a lock for a definition, and for its build where there is one.
pub(crate) async fn put(
    records: &dyn Records,
    scope: &Scope,
    text: &str,
    build: Option<&BuildRow>,
    lock: &Lock,
) {
    let holder = build.map(|row| (row.id.as_str(), row.fence));
    let (lock_hash, json) = (lock.hash().to_hex(), lock.to_json());
    let put = records
        .put_lock(scope, &hash(text), text, holder, &lock_hash, &json)
        .await;
    assert!(put.unwrap());
}

async fn needed(bed: &Bed, name: &str) -> bool {
    let rows = bed.records().blob_rows().await.unwrap();
    let of_name = |row: &&crate::BlobRow| row.digest == wheel(name);
    rows.iter().find(of_name).is_some_and(|row| row.needed)
}

/// Drops these wheels, all of them old, and answers which went.
async fn dropped(bed: &Bed, names: &[&'static str]) -> Vec<&'static str> {
    let digests: Vec<_> = names.iter().map(|name| wheel(name)).collect();
    let before_ms = bed.records().now_ms();
    let taken = Mutex::new(Vec::new());
    let take_away = |digest: &Digest| {
        taken.lock().unwrap().push(*digest);
        Ok(true)
    };
    let gone = bed.records().drop_blobs(&digests, before_ms, &take_away);
    let gone = gone.await.unwrap();
    assert_eq!(gone, *taken.lock().unwrap());
    let went = |name: &&&'static str| gone.contains(&wheel(name));
    names.iter().filter(went).copied().collect()
}

pub(crate) async fn what_a_current_generation_or_a_running_build_needs_stays(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let (first, second) = (lock(&["old", "both"]), lock(&["new", "both"]));
    build(records, &scope, "d", &first).await;
    assert!(needed(bed, "old").await);
    let (row, spec) = (started(records, &scope, "d").await, hash("d"));
    put(records, &scope, "d", Some(&row), &second).await;
    bed.clock.pass(HOUR);
    let all = ["old", "both", "new"];
    assert_eq!(
        dropped(bed, &all).await,
        [""; 0],
        "both generations are in use"
    );
    // The refresh fails: its lock is no longer needed, and would be the next one's again.
    let ended = records.finish_failed(&row.id, row.fence, "FAILED", "{}", None);
    assert!(ended.await.unwrap());
    assert!(!needed(bed, "new").await);
    build(records, &scope, "d", &second).await;
    bed.clock.pass(HOUR);
    assert!(!needed(bed, "old").await && needed(bed, "new").await && needed(bed, "both").await);
    assert!(
        records
            .pin_image(&scope, &spec, 1, "myenv:1")
            .await
            .unwrap()
    );
    assert!(
        records
            .pin_image(&scope, &spec, 1, "myenv:1")
            .await
            .unwrap()
    );
    assert!(
        !records
            .pin_image(&scope, &spec, 9, "myenv:1")
            .await
            .unwrap()
    );
    assert_eq!(
        dropped(bed, &all).await,
        [""; 0],
        "a version keeps its generation"
    );
    assert_eq!(records.unpin_images("myenv:1").await.unwrap(), 1);
    assert_eq!(dropped(bed, &all).await, ["old"]);
    // Back to the first lock: the row knows again what it needs.
    build(records, &scope, "d", &first).await;
    assert!(needed(bed, "old").await && !needed(bed, "new").await);
}

pub(crate) async fn an_image_that_is_lost_keeps_what_it_is_rebuilt_from(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let lock = lock(&["kept"]);
    build(records, &scope, "lost", &lock).await;
    let spec = hash("lost");
    assert!(records.mark_image_lost(&scope, &spec, 1).await.unwrap());
    assert!(!records.mark_image_lost(&scope, &spec, 1).await.unwrap());
    bed.clock.pass(HOUR);
    assert_eq!(dropped(bed, &["kept"]).await, [""; 0]);
    let json = records.lock_of(&scope, &spec).await.unwrap();
    assert_eq!(json, Some(lock.to_json()));
    build(records, &scope, "lost", &lock).await;
    let image = records.current_image(&scope, &spec).await.unwrap().unwrap();
    assert_eq!(
        image.generation, 1,
        "the same bytes are the same generation"
    );
}

pub(crate) async fn what_is_held_or_was_used_lately_stays(bed: &Bed) {
    let records = bed.records();
    let held = [wheel("held"), wheel("also held")];
    records.hold_blobs("layer cache", &held).await.unwrap();
    records.hold_blobs("layer cache", &held[..1]).await.unwrap();
    records.hold_blobs("upload", &held[..1]).await.unwrap();
    records.use_blobs(&[wheel("used")]).await.unwrap();
    bed.clock.pass(HOUR);
    records.use_blobs(&[wheel("used lately")]).await.unwrap();
    let before_ms = records.now_ms() - 1;
    let recent = [wheel("used lately")];
    let gone = records.drop_blobs(&recent, before_ms, &|_| panic!("it was used"));
    assert_eq!(gone.await.unwrap(), []);
    let names = ["held", "also held", "used", "unknown"];
    assert_eq!(dropped(bed, &names).await, ["used", "unknown"]);
    assert_eq!(records.release_blobs("layer cache").await.unwrap(), 2);
    assert_eq!(dropped(bed, &names[..2]).await, ["also held"]);
    assert_eq!(records.release_blobs("upload").await.unwrap(), 1);
    assert_eq!(dropped(bed, &["held"]).await, ["held"]);
}

pub(crate) async fn a_file_that_can_not_be_taken_away_keeps_its_row(bed: &Bed) {
    let records = bed.records();
    records.use_blobs(&[wheel("stuck")]).await.unwrap();
    let now = records.now_ms();
    let stuck = |_: &Digest| Err(crate::StoreError::Integrity("stuck".into()));
    let failed = records.drop_blobs(&[wheel("stuck")], now, &stuck).await;
    assert!(failed.is_err());
    assert_eq!(records.blob_rows().await.unwrap().len(), 1);
}

pub(crate) async fn a_lock_that_nothing_names_goes_after_its_grace(bed: &Bed) {
    let records = bed.records();
    let (scope, spec) = (Scope::default_scope(), hash("locks"));
    for wheels in [["a"], ["b"]] {
        put(records, &scope, "locks", None, &lock(&wheels)).await;
        bed.clock.pass(HOUR);
    }
    let now = records.now_ms();
    let idle = records.idle_locks(now).await.unwrap();
    assert_eq!(idle.len(), 1);
    assert_eq!(idle[0].lock_hash, lock(&["a"]).hash().to_hex());
    assert_eq!(idle[0].size_bytes, lock(&["a"]).to_json().len() as u64);
    let early = now - 3 * 3_600_000;
    assert_eq!(records.idle_locks(early).await.unwrap(), []);
    assert_eq!(records.drop_locks(&idle, early).await.unwrap(), 0);
    let mut both = idle.clone();
    both[0].lock_hash = lock(&["b"]).hash().to_hex();
    both.extend(idle);
    assert_eq!(records.drop_locks(&both, now).await.unwrap(), 1);
    assert_eq!(dropped(bed, &["a"]).await, ["a"]);
    assert!(
        records
            .blob_rows()
            .await
            .unwrap()
            .iter()
            .all(|row| row.digest == wheel("b"))
    );
    let kept = records.lock_of(&scope, &spec).await.unwrap();
    assert_eq!(kept, Some(lock(&["b"]).to_json()));
}

pub(crate) async fn a_lock_that_is_put_again_says_that_its_archives_are_used(bed: &Bed) {
    let records = bed.records();
    let (scope, lock) = (Scope::default_scope(), lock(&["again"]));
    let mut used = Vec::new();
    for _ in 0..2 {
        put(records, &scope, "again", None, &lock).await;
        let rows = records.blob_rows().await.unwrap();
        assert_eq!(rows.len(), 1);
        used.push(rows[0].used_ms);
        bed.clock.pass(HOUR);
    }
    assert!(used[0] < used[1], "{used:?}");
}

pub(crate) async fn what_a_build_holds_stays_until_it_is_over_whatever_ends_it(bed: &Bed) {
    let records = bed.records();
    let scope = Scope::default_scope();
    let (first, second) = (
        started(records, &scope, "first").await,
        started(records, &scope, "second").await,
    );
    for (row, names) in [(&first, ["own", "shared"]), (&second, ["shared", "other"])] {
        let held = names.map(wheel);
        records.hold_for_build(&row.id, &held).await.unwrap();
    }
    bed.clock.pass(HOUR);
    let all = ["own", "shared", "other"];
    assert_eq!(dropped(bed, &all).await, [""; 0]);
    assert!(needed(bed, "own").await);
    assert_eq!(records.prune().await.unwrap(), 0);
    // A worker that crashed lets go of the build, and not of its archives.
    assert!(records.claim("w", HOUR).await.unwrap().is_some());
    assert_eq!(records.reset_other_workers("next").await.unwrap(), 1);
    assert_eq!(dropped(bed, &all).await, [""; 0]);
    let row = records.take_over(&first.id).await.unwrap().unwrap();
    let ended = records.finish_failed(&row.id, row.fence, "CANCELLED", "{}", None);
    assert!(ended.await.unwrap());
    assert!(!needed(bed, "own").await);
    assert_eq!(dropped(bed, &all).await, ["own"]);
    assert_eq!(records.prune().await.unwrap(), 2);
    assert_eq!(
        dropped(bed, &["shared"]).await,
        [""; 0],
        "the other build's"
    );
    let image = new_image("second");
    let ended = records.finish_ready(&second.id, second.fence, &image);
    assert!(matches!(
        ended.await.unwrap(),
        Finish::Done(_) | Finish::Stale
    ));
}
