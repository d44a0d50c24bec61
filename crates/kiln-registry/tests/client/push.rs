//! Blobs and manifests on their way out.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Method;
use kiln_oci::{Descriptor, Digest, media_type};
use kiln_registry::{
    BlobPush, BlobSource, ErrorKind, Fault, MountOutcome, OpenBlob, Pushed, Timeouts,
};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};

use crate::fake::{Fake, error, silent, status, with_header};
use crate::images::{builder, client, content, put_image, quick};

const SIZE: usize = 3_000_000;

pub(crate) fn push(bytes: &[u8]) -> BlobPush {
    BlobPush::new(
        Descriptor::of(media_type::OCI_LAYER_GZIP, bytes),
        bytes.to_vec(),
    )
}

#[tokio::test]
async fn a_blob_is_looked_for_then_sent_once_with_its_length() {
    let fake = Fake::start().await;
    let bytes = content(SIZE);
    let sent = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&sent);
    let push = push(&bytes).progress(move |bytes| seen.store(bytes, Ordering::Relaxed));
    let repo = fake.repo("a/b");
    assert_eq!(
        client().push_blob(&repo, push.clone()).await.unwrap(),
        Pushed::Uploaded
    );
    assert_eq!(sent.load(Ordering::Relaxed), SIZE as u64);
    let requests: Vec<_> = fake.seen().iter().map(|seen| seen.method.clone()).collect();
    assert_eq!(requests, [Method::HEAD, Method::POST, Method::PUT]);
    assert_eq!(fake.seen()[2].header("content-length"), SIZE.to_string());
    assert_eq!(
        client().push_blob(&repo, push).await.unwrap(),
        Pushed::Existing
    );
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test]
async fn files_and_other_sources_are_read_from_the_start() {
    let fake = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    let bytes = content(SIZE);
    std::fs::write(&path, &bytes).unwrap();
    let blob = Descriptor::of(media_type::OCI_LAYER_GZIP, &bytes);
    let from_file = BlobPush::new(blob.clone(), path);
    assert_eq!(
        client()
            .push_blob(&fake.repo("a/b"), from_file)
            .await
            .unwrap(),
        Pushed::Uploaded
    );
    let empty = push(b"");
    assert_eq!(
        client().push_blob(&fake.repo("a/b"), empty).await.unwrap(),
        Pushed::Uploaded
    );
    assert!(fake.store().blobs[&("a/b".into(), blob.digest)] == bytes);
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted() {
    let fake = Fake::start().await;
    fake.put_blob("base/image", b"layer");
    let mounting = push(b"layer").mount_from("base/image".parse().unwrap());
    assert_eq!(
        client()
            .push_blob(&fake.repo("a/b"), mounting)
            .await
            .unwrap(),
        Pushed::Mounted
    );
    assert_eq!(fake.count(&Method::PUT, "/"), 0);
    let post = fake
        .seen()
        .into_iter()
        .find(|seen| seen.method == Method::POST)
        .unwrap();
    assert!(post.query.contains("from=base%2Fimage"), "{}", post.query);
}

#[tokio::test]
async fn a_refused_mount_goes_on_as_an_upload_in_the_same_session() {
    let fake = Fake::start().await;
    fake.without_mounts();
    fake.put_blob("base/image", b"layer");
    let from = "base/image".parse().unwrap();
    let mounting = push(b"layer").mount_from("base/image".parse().unwrap());
    assert_eq!(
        client()
            .push_blob(&fake.repo("a/b"), mounting)
            .await
            .unwrap(),
        Pushed::Uploaded
    );
    assert_eq!(fake.count(&Method::POST, "/uploads/"), 1);
    let digest = Digest::of(b"other");
    let outcome = client()
        .mount_or_begin(&fake.repo("a/b"), Some(&from), &digest)
        .await
        .unwrap();
    assert!(matches!(&outcome, MountOutcome::Upload(_)));
    assert!(!format!("{outcome:?}").contains("secret-state"));
}

#[tokio::test]
async fn a_registry_that_refuses_mounts_outright_still_gets_the_upload() {
    let fake = Fake::start().await;
    for refusal in [
        || error(403, "DENIED"),
        || error(404, "NAME_UNKNOWN"),
        || error(405, "UNSUPPORTED"),
    ] {
        fake.fail(1, Method::POST, "mount=", refusal);
        let bytes = content(fake.seen().len());
        let mounting = push(&bytes).mount_from("base/image".parse().unwrap());
        assert_eq!(
            client()
                .push_blob(&fake.repo("a/b"), mounting)
                .await
                .unwrap(),
            Pushed::Uploaded
        );
    }
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_the_registry_has_it() {
    let fake = Fake::start().await;
    let bytes = content(SIZE);
    fake.break_next_upload(1_000_000, 500);
    client()
        .push_blob(&fake.repo("a/b"), push(&bytes))
        .await
        .unwrap();
    let patch = fake
        .seen()
        .into_iter()
        .find(|seen| seen.method == Method::PATCH)
        .unwrap();
    assert_eq!(patch.header("content-range"), "1000000-2999999");
    assert_eq!(patch.header("content-length"), "2000000");
    assert_eq!(fake.count(&Method::POST, "/uploads/"), 1);
}

#[tokio::test]
async fn an_upload_the_registry_forgot_starts_anew() {
    let fake = Fake::start().await;
    let bytes = content(SIZE);
    fake.break_next_upload(1_000_000, 502);
    fake.fail(1, Method::GET, "/uploads/", || {
        error(404, "BLOB_UPLOAD_UNKNOWN")
    });
    client()
        .push_blob(&fake.repo("a/b"), push(&bytes))
        .await
        .unwrap();
    assert_eq!(fake.count(&Method::POST, "/uploads/"), 2);
    assert_eq!(fake.count(&Method::PATCH, "/uploads/"), 0);
}

#[tokio::test]
async fn a_lost_answer_to_a_finished_upload_is_found_out() {
    let fake = Fake::start().await;
    let bytes = content(SIZE);
    let digest = Digest::of(&bytes);
    let mut left = 1;
    fake.rule(move |seen| {
        (seen.is(&Method::PUT, "/uploads/") && std::mem::take(&mut left) == 1).then(silent)
    });
    // The fake keeps silent before it stores; what it stored is put there by hand.
    let at_head = Arc::new(AtomicU64::new(0));
    let heads = Arc::clone(&at_head);
    fake.rule(move |seen| {
        let again = seen.is(&Method::HEAD, "/blobs/") && heads.fetch_add(1, Ordering::Relaxed) == 1;
        again.then(|| with_header(200, "docker-content-digest", &digest.to_string()))
    });
    let timeouts = Timeouts {
        commit: Duration::from_millis(100),
        ..Timeouts::default()
    };
    let client = builder().timeouts(timeouts).build().unwrap();
    assert_eq!(
        client
            .push_blob(&fake.repo("a/b"), push(&bytes))
            .await
            .unwrap(),
        Pushed::Uploaded
    );
    assert_eq!(fake.count(&Method::PUT, "/uploads/"), 1);
}

#[tokio::test]
async fn a_local_file_that_is_short_or_changed_is_the_sources_fault() {
    let fake = Fake::start().await;
    let bytes = content(SIZE);
    let blob = Descriptor::of(media_type::OCI_LAYER_GZIP, &bytes);
    let short = BlobPush::new(blob.clone(), bytes[..SIZE - 1].to_vec());
    let error = client()
        .push_blob(&fake.repo("a/b"), short)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source, "{error}");
    let mut changed = bytes.clone();
    changed[7] ^= 1;
    let error = client()
        .push_blob(&fake.repo("a/b"), BlobPush::new(blob.clone(), changed))
        .await
        .unwrap_err();
    assert!(
        matches!(error.fault(), Fault::SourceDigest { .. }),
        "{error}"
    );
    let missing = std::path::PathBuf::from("/nonexistent/blob");
    let error = client()
        .push_blob(&fake.repo("a/b"), BlobPush::new(blob, missing))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert!(!error.is_retryable());
    assert!(fake.store().blobs.is_empty());
}

/// Gives a piece every 30 ms, 10 in all.
struct Slow;

#[async_trait]
impl OpenBlob for Slow {
    async fn open(&self, _offset: u64) -> std::io::Result<Box<dyn AsyncRead + Send + Unpin>> {
        let (mut writer, reader) = tokio::io::duplex(16);
        tokio::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(30)).await;
                writer.write_all(&[7; 10]).await.unwrap();
            }
        });
        Ok(Box::new(reader))
    }
}

#[tokio::test]
async fn a_slow_upload_that_moves_is_not_given_up_and_one_that_stands_is() {
    let fake = Fake::start().await;
    let timeouts = Timeouts {
        idle: Duration::from_millis(200),
        ..Timeouts::default()
    };
    let client = builder().timeouts(timeouts).build().unwrap();
    let blob = Descriptor::of(media_type::OCI_LAYER, &[7; 100]);
    let source = BlobSource::Other(Arc::new(Slow));
    let pushed = client
        .push_blob(&fake.repo("a/b"), BlobPush::new(blob, source))
        .await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    fake.rule(|seen| seen.is(&Method::POST, "/uploads/").then(silent));
    let error = client
        .with_retry(kiln_registry::RetryBudget::once(Duration::from_secs(5)))
        .push_blob(&fake.repo("a/b"), push(b"x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

/// Counts the readers that are open at a time.
#[derive(Default)]
struct Counted {
    open: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
}

struct OpenReader(Box<dyn AsyncRead + Send + Unpin>, Arc<AtomicU64>);

impl Drop for OpenReader {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for OpenReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

#[async_trait]
impl OpenBlob for Counted {
    async fn open(&self, offset: u64) -> std::io::Result<Box<dyn AsyncRead + Send + Unpin>> {
        let now = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Ok(Box::new(OpenReader(
            Slow.open(offset).await?,
            Arc::clone(&self.open),
        )))
    }
}

#[tokio::test]
async fn uploads_wait_for_their_turn_without_losing_their_budget() {
    let fake = Fake::start().await;
    let budget = kiln_registry::RetryBudget {
        total: Duration::from_millis(500),
        ..quick()
    };
    let client = builder().concurrency(8, 2).retry(budget).build().unwrap();
    let source = Arc::new(Counted::default());
    let repos: Vec<_> = (0..6).map(|n| fake.repo(&format!("a/b{n}"))).collect();
    let pushes = repos.iter().map(|repo| {
        let blob = Descriptor::of(media_type::OCI_LAYER, &[7; 100]);
        client.push_blob(repo, BlobPush::new(blob, BlobSource::Other(source.clone())))
    });
    let pushed = futures::future::try_join_all(pushes).await.unwrap();
    assert_eq!(pushed, [Pushed::Uploaded; 6]);
    assert_eq!(source.most.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_manifest_is_asked_for_after_it_was_taken() {
    let fake = Fake::start().await;
    let image = put_image(&fake, "x/y", "v1", "linux/amd64");
    let bytes = fake.store().manifests[&("x/y".into(), "v1".into())]
        .1
        .clone();
    let to = fake.repo("a/b").with_digest(image.digest);
    let push = async || {
        client()
            .push_manifest(&to, bytes.clone(), media_type::OCI_MANIFEST)
            .await
    };
    assert_eq!(push().await.unwrap(), image.digest);
    assert_eq!(fake.seen().last().unwrap().method, Method::HEAD);
    // It says 201 and does not keep it.
    fake.rule(|seen| (seen.is(&Method::HEAD, "/manifests/")).then(|| status(404)));
    let error = push().await.unwrap_err();
    assert!(matches!(error.fault(), Fault::Vanished), "{error}");
    assert_eq!(fake.count(&Method::PUT, "/manifests/"), 1 + 3);
}

#[tokio::test]
async fn a_step_that_was_answered_is_not_repeated_with_the_one_that_fails() {
    let fake = Fake::start().await;
    let image = put_image(&fake, "x/y", "v1", "linux/amd64");
    let bytes = fake.store().manifests[&("x/y".into(), "v1".into())]
        .1
        .clone();
    fake.fail(4, Method::HEAD, "/manifests/", || status(500));
    client()
        .push_manifest(
            &fake.repo("a/b").with_digest(image.digest),
            bytes,
            media_type::OCI_MANIFEST,
        )
        .await
        .unwrap();
    assert_eq!(fake.count(&Method::PUT, "/manifests/"), 1);
    // Each step alone is as patient as all of them were.
    fake.fail(4, Method::POST, "/uploads/", || status(500));
    fake.fail(4, Method::PUT, "/uploads/", || status(500));
    client()
        .push_blob(&fake.repo("a/b"), push(b"layer"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_registry_that_names_another_digest_is_not_believed() {
    let fake = Fake::start().await;
    fake.rule(|seen| {
        let other = Digest::of(b"other").to_string();
        (seen.method == Method::PUT).then(|| with_header(201, "docker-content-digest", &other))
    });
    let error = client()
        .push_manifest(&fake.repo("a/b:v1"), "{}".into(), "x/y")
        .await
        .unwrap_err();
    assert!(matches!(error.fault(), Fault::Digest { .. }));
    let error = client()
        .push_blob(&fake.repo("a/b"), push(b"layer"))
        .await
        .unwrap_err();
    assert!(matches!(error.fault(), Fault::Digest { .. }));
}

#[tokio::test]
async fn a_manifest_under_a_foreign_digest_is_not_sent() {
    let fake = Fake::start().await;
    let to = fake.repo("a/b").with_digest(Digest::of(b"other"));
    let error = client()
        .push_manifest(&to, "{}".into(), media_type::OCI_MANIFEST)
        .await
        .unwrap_err();
    assert!(matches!(error.fault(), Fault::SourceDigest { .. }));
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_manifest_whose_blobs_are_missing_is_an_integrity_failure() {
    let fake = Fake::start().await;
    fake.rule(|seen| {
        seen.is(&Method::PUT, "/manifests/")
            .then(|| error(404, "MANIFEST_BLOB_UNKNOWN"))
    });
    let error = client()
        .push_manifest(&fake.repo("a/b:v1"), "{}".into(), "x/y")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(error.has_code("MANIFEST_BLOB_UNKNOWN"));
}

#[tokio::test]
async fn a_full_registry_is_a_disk_failure() {
    let fake = Fake::start().await;
    fake.rule(|seen| seen.is(&Method::POST, "/uploads/").then(|| status(507)));
    let error = client()
        .push_blob(&fake.repo("a/b"), push(b"layer"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disk);
    assert!(error.remedy().contains("free space"));
}
