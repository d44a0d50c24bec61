//! A hundred thousand builds: what is asked often looks up an index and reads no table.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::contract::{hash, new_build};
use crate::sqlite::plans;
use crate::{Builds as _, Images as _, Queue as _, Scope, SqliteRecords};

/// 99,900 builds that are over and 100 that wait, each of its own definition with an image.
async fn fill(records: &SqliteRecords) {
    for sql in [
        "PRAGMA synchronous = OFF",
        "CREATE TEMP TABLE numbers AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
         WHERE i < 100000) SELECT i, printf('%064x', i) AS hash FROM n",
        "INSERT INTO definitions (scope, spec_hash, canonical, current_generation, created_ms)
         SELECT 'default', hash, '{}', 1, 0 FROM numbers",
        "INSERT INTO images (scope, spec_hash, generation, repository, digest, image_key, lock_hash,
         backend, size_bytes, created_ms)
         SELECT 'default', hash, 1, 'r', hash, hash, hash, 'docker', 1, 0 FROM numbers",
        "INSERT INTO builds (id, scope, spec_hash, state, fence, attempt, repository, backend, refresh,
         actor, via, created_ms) SELECT printf('%09d', i), 'default', hash,
         CASE WHEN i % 1000 = 0 THEN 'QUEUED' ELSE 'READY' END, 1, 1, 'r', 'docker', 0, 'a', 'v', 0
         FROM numbers",
        "ANALYZE",
    ] {
        sqlx::query(sql).execute(&records.writer).await.unwrap();
    }
}

async fn open(folder: &Path) -> SqliteRecords {
    let (database, key) = (folder.join("kiln.db"), folder.join("secret.key"));
    SqliteRecords::open(&database, &key).await.unwrap()
}

#[tokio::test]
async fn with_many_builds_opening_claiming_and_hits_look_up_indexes() {
    let folder = tempfile::tempdir().unwrap();
    fill(&open(folder.path()).await).await;
    let mut opened = Duration::MAX;
    // The best of three: the machine may have other work.
    for _ in 0..3 {
        let began = Instant::now();
        let records = open(folder.path()).await;
        let unfinished = records.unfinished_builds().await.unwrap();
        opened = opened.min(began.elapsed());
        assert_eq!(unfinished.len(), 100);
    }
    assert!(opened < Duration::from_millis(500), "{opened:?}");
    let records = open(folder.path()).await;
    for (sql, steps) in plans(&records).await {
        for step in steps {
            // Workspaces are few, and so are the rows of these partial indexes.
            let few = [
                "SCAN w",
                "builds_waiting",
                "builds_leased",
                "builds_active",
                "SCAN CONSTANT ROW",
                "SCAN (subquery",
            ];
            let scans = step.starts_with("SCAN") && !few.iter().any(|few| step.contains(few));
            assert!(!scans, "{step}: {sql}");
        }
    }
    sqlx::query("PRAGMA synchronous = OFF")
        .execute(&records.writer)
        .await
        .unwrap();
    let scope = Scope::default_scope();
    let began = Instant::now();
    for n in 0..50 {
        let text = format!("new {n}");
        let mut new = new_build(&text);
        new.terms.queue_bound = Some(1000);
        records
            .begin_build(&scope, &hash(&text), &new)
            .await
            .unwrap();
    }
    let begun = began.elapsed() / 50;
    let began = Instant::now();
    for _ in 0..50 {
        let claimed = records.claim("worker", Duration::from_mins(1)).await;
        assert!(claimed.unwrap().is_some());
    }
    let claimed = began.elapsed() / 50;
    let began = Instant::now();
    for n in 1..=50 {
        let hash = format!("{n:064x}").parse().unwrap();
        let image = records.current_image(&scope, &hash).await.unwrap();
        assert!(image.is_some());
    }
    let hit = began.elapsed() / 50;
    println!("of 100,000 builds: open {opened:?}, begin {begun:?}, claim {claimed:?}, hit {hit:?}");
    for time in [begun, claimed, hit] {
        assert!(time < Duration::from_millis(20), "{time:?}");
    }
}
