//! What SQLite's files promise: whole after any crash, and private.

mod limits;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln_oci::Digest;
use kiln_spec::Secret;

use crate::contract::credentials::put_the_canary;
use crate::contract::{Bed, hash, keep_the_contract, new_build, new_image, started};
use crate::{
    Builds as _, Hooks as _, Images as _, ManualClock, NewHook, Queue as _, Scope, SqliteRecords,
    Started, Store, StoreErrorKind,
};

async fn open(folder: &Path) -> SqliteRecords {
    SqliteRecords::open(&folder.join("kiln.db"), &folder.join("secret.key"))
        .await
        .unwrap()
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    keep_the_contract(async || {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let (database, key) = (
            folder.path().join("kiln.db"),
            folder.path().join("secret.key"),
        );
        let records = SqliteRecords::open_with(&database, &key, clock.clone()).await;
        Bed {
            records: Arc::new(records.unwrap()),
            clock,
            _keep: Box::new(folder),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_begin_one_build() {
    let folder = tempfile::tempdir().unwrap();
    let records = Arc::new(open(folder.path()).await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let records = Arc::clone(&records);
        tasks.spawn(async move {
            let scope = Scope::default_scope();
            records
                .begin_build(&scope, &hash("x"), &new_build("x"))
                .await
                .unwrap()
        });
    }
    let mut new = 0;
    let mut ids = Vec::new();
    for started in tasks.join_all().await {
        new += usize::from(matches!(started, Started::New(_)));
        let (Started::New(row) | Started::Joined(row)) = started else {
            panic!("{started:?}");
        };
        ids.push(row.id);
    }
    ids.dedup();
    assert_eq!((new, ids.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_at_once_claim_different_builds() {
    let folder = tempfile::tempdir().unwrap();
    let records = [open(folder.path()).await, open(folder.path()).await];
    let mut begun = Vec::new();
    for n in 0..20 {
        let text = format!("shared {n}");
        begun.push(
            started(&records[0], &Scope::default_scope(), &text)
                .await
                .id,
        );
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (n, records) in records.into_iter().enumerate() {
        tasks.spawn(async move {
            let (worker, mut claimed) = (format!("worker {n}"), Vec::new());
            let lease = Duration::from_secs(30);
            while let Some(next) = records.claim(&worker, lease).await.unwrap() {
                claimed.push(next.build.id);
            }
            claimed
        });
    }
    let mut claimed = tasks.join_all().await.concat();
    claimed.sort();
    assert_eq!(claimed, begun);
}

#[tokio::test]
async fn commits_are_synchronous_and_survive_reopening() {
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
    let row = started(&records, &Scope::default_scope(), "kept").await;
    drop(records);
    let unfinished = open(folder.path()).await.unfinished_builds().await.unwrap();
    let kept: Vec<_> = unfinished
        .iter()
        .map(|(row, text)| (&row.id, text.as_str()))
        .collect();
    assert_eq!(kept, [(&row.id, "kept")]);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[tokio::test]
async fn a_secret_is_in_no_file_of_the_data_folder_nor_in_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    put_the_canary(store.records()).await;
    let hook = NewHook {
        url: "https://receiver.example".into(),
        types: Vec::new(),
        actor: "test".into(),
        secret: Secret::new("canary-7731"),
    };
    let scope = Scope::default_scope();
    store.records().add_hook(&scope, &hook).await.unwrap();
    let looked_at = files(folder.path());
    assert!(
        looked_at.iter().any(|path| path.ends_with("kiln.db-wal")),
        "{looked_at:?}"
    );
    for path in looked_at {
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            !bytes.windows(11).any(|window| window == b"canary-7731"),
            "{path:?}"
        );
    }
    drop(store);
    std::fs::remove_file(folder.path().join("secret.key")).unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let error = store
        .records()
        .credentials(&"vault".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Integrity);
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("restore the key file") && !text.contains("canary"),
        "{text}"
    );
}

/// A build that is READY has its image and the other way round, and the file is whole.
async fn assert_consistent(records: &SqliteRecords) {
    let halves: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM builds b WHERE state = 'READY' AND NOT EXISTS (
                     SELECT 1 FROM images i JOIN definitions d USING (scope, spec_hash)
                     WHERE i.scope = b.scope AND i.spec_hash = b.spec_hash AND i.digest = b.digest
                       AND d.current_generation = i.generation))
              + (SELECT count(*) FROM images i WHERE NOT EXISTS (
                     SELECT 1 FROM builds b WHERE b.id = i.build_id AND b.state = 'READY'))
              + (SELECT count(*) FROM builds b WHERE (state = 'READY') <> EXISTS (
                     SELECT 1 FROM events e WHERE e.build_id = b.id AND e.type = 'ready'))
              + (SELECT count(*) FROM builds b WHERE NOT EXISTS (
                     SELECT 1 FROM events e WHERE e.build_id = b.id AND e.type = 'queued'))
              + (SELECT count(*) FROM events e WHERE NOT EXISTS (
                     SELECT 1 FROM deliveries d WHERE d.event_id = e.id))",
    )
    .fetch_one(&records.reader)
    .await
    .unwrap();
    assert_eq!(halves, 0, "half of a commit is visible");
    assert_eq!(records.integrity_check().await.unwrap(), "ok");
}

/// What a crash now would leave: the file of the last checkpoint, and the log but for its last bytes.
fn crashed(folder: &Path, lost: u64) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["secret.key", "kiln.db", "kiln.db-wal"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    let wal = copy.path().join("kiln.db-wal");
    let wal = std::fs::OpenOptions::new().write(true).open(wal).unwrap();
    let length = wal.metadata().unwrap().len();
    wal.set_len(length.saturating_sub(lost)).unwrap();
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_commits_run_loses_nothing_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let records = Arc::new(open(folder.path()).await);
    let hook = NewHook {
        url: "https://receiver.example".into(),
        types: Vec::new(),
        actor: "test".into(),
        secret: Secret::new("x"),
    };
    let scope = Scope::default_scope();
    records.add_hook(&scope, &hook).await.unwrap();
    // Without checkpoints the log only grows, so copying it is the same as a crash.
    sqlx::query("PRAGMA wal_autocheckpoint = 0")
        .execute(&records.writer)
        .await
        .unwrap();
    let (answered, seen) = tokio::sync::watch::channel(0_usize);
    let writer = Arc::clone(&records);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        for n in 1..=60_usize {
            let row = started(
                writer.as_ref(),
                &Scope::default_scope(),
                &format!("torn {n}"),
            )
            .await;
            writer
                .finish_ready(&row.id, row.fence, &new_image(&n.to_string()))
                .await
                .unwrap();
            answered.send_replace(n);
        }
    });
    let mut crashes = 0;
    while tasks.try_join_next().is_none() {
        let promised = *seen.borrow();
        let copy = crashed(folder.path(), 0);
        let after = open(copy.path()).await;
        assert_consistent(&after).await;
        for n in 1..=promised {
            let hash = hash(&format!("torn {n}"));
            let image = after
                .current_image(&Scope::default_scope(), &hash)
                .await
                .unwrap();
            let digest = image.expect("what was answered is durable").digest;
            assert_eq!(digest, Digest::of(n.to_string().as_bytes()));
        }
        let copy = crashed(folder.path(), crashes * 1777 % 20_000);
        assert_consistent(&open(copy.path()).await).await;
        crashes += 1;
    }
    assert!(crashes > 1, "the copies were too slow to say anything");
}

#[tokio::test]
async fn a_folder_of_a_later_kiln_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("layout"), "2\n").unwrap();
    let error = Store::open(folder.path()).await.err().unwrap();
    assert!(
        error
            .to_string()
            .contains("the layout `2`, this kiln knows 1"),
        "{error}"
    );
    assert!(!folder.path().join("kiln.db").exists());

    std::fs::remove_file(folder.path().join("layout")).unwrap();
    drop(Store::open(folder.path()).await.unwrap());
    let records = open(folder.path()).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99, 'later', 1, x'00', 0)",
    )
    .execute(&records.writer)
    .await
    .unwrap();
    drop(records);
    let error = Store::open(folder.path()).await.err().unwrap();
    assert!(format!("{error:?}").contains("99"), "{error:?}");
}

#[tokio::test]
async fn a_data_folder_is_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("deep").join("data");
    for _ in 0..2 {
        drop(Store::open(&root).await.unwrap());
        for path in [root.clone(), root.join("blobs"), root.join("logs")] {
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{path:?}");
        }
        assert_eq!(std::fs::read_to_string(root.join("layout")).unwrap(), "1\n");
    }
}

/// Prints what a hit costs; time itself is not asserted.
#[tokio::test]
async fn each_of_a_thousand_definitions_hits_its_own_image() {
    let folder = tempfile::tempdir().unwrap();
    let records = open(folder.path()).await;
    let scope = Scope::default_scope();
    sqlx::query("PRAGMA synchronous = OFF")
        .execute(&records.writer)
        .await
        .unwrap();
    for n in 0..1000 {
        let row = started(&records, &scope, &format!("hit {n}")).await;
        records
            .finish_ready(&row.id, row.fence, &new_image(&n.to_string()))
            .await
            .unwrap();
    }
    let began = std::time::Instant::now();
    for n in 0..1000 {
        let image = records
            .current_image(&scope, &hash(&format!("hit {n}")))
            .await
            .unwrap();
        assert_eq!(image.unwrap().digest, Digest::of(n.to_string().as_bytes()));
    }
    println!(
        "a hit in the store takes {:?} in the test profile",
        began.elapsed() / 1000
    );
}
