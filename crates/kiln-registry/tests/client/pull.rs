//! Blobs on their way in.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Response};
use futures::{StreamExt as _, TryStreamExt as _};
use kiln_oci::{Descriptor, media_type};
use kiln_registry::{ErrorKind, Fault, Timeouts};
use tokio::io::AsyncReadExt as _;

use crate::fake::{Fake, broken};
use crate::images::{builder, client, content};

const SIZE: usize = 3_000_000;

fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor::of(media_type::OCI_LAYER_GZIP, bytes)
}

/// Breaks the first `times` transfers of a blob, each half a megabyte further on.
fn break_transfers(fake: &Fake, bytes: &[u8], times: usize) {
    let (bytes, mut left) = (bytes.to_vec(), times);
    fake.rule(move |seen| {
        if left == 0 || !seen.is(&Method::GET, "/blobs/") {
            return None;
        }
        left -= 1;
        let range = seen
            .header("range")
            .trim_start_matches("bytes=")
            .trim_end_matches('-');
        let start: usize = range.parse().unwrap_or_default();
        let end = (start + 500_000).min(bytes.len());
        let mut answer = broken(bytes.len() - start, &bytes[start..end]);
        if start > 0 {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            answer
                .headers_mut()
                .insert("content-range", range.parse().unwrap());
            *answer.status_mut() = axum::http::StatusCode::PARTIAL_CONTENT;
        }
        Some(answer)
    });
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_broke() {
    let fake = Fake::start().await;
    let bytes = content(SIZE);
    fake.put_blob("a/b", &bytes);
    break_transfers(&fake, &bytes, 3);
    let stream = client()
        .blob_stream(&fake.repo("a/b"), &layer(&bytes))
        .await
        .unwrap();
    let mut read = Vec::new();
    stream
        .into_async_read()
        .read_to_end(&mut read)
        .await
        .unwrap();
    assert!(read == bytes);
    let ranges: Vec<_> = fake
        .seen()
        .iter()
        .map(|seen| seen.header("range").to_owned())
        .collect();
    assert_eq!(
        ranges,
        ["", "bytes=500000-", "bytes=1000000-", "bytes=1500000-"]
    );
}

#[tokio::test]
async fn without_ranges_the_known_bytes_are_passed_over() {
    let fake = Fake::start().await;
    fake.without_ranges();
    let bytes = content(SIZE);
    fake.put_blob("a/b", &bytes);
    break_transfers(&fake, &bytes, 1);
    let read = client()
        .blob_bytes(&fake.repo("a/b"), &layer(&bytes), u64::MAX)
        .await
        .unwrap();
    assert!(read == bytes);
}

#[tokio::test]
async fn a_damaged_blob_ends_a_stream_with_an_error_and_is_fetched_three_times_whole() {
    let fake = Fake::start().await;
    let good = content(1000);
    let mut bad = good.clone();
    bad[500] ^= 1;
    let blob = layer(&good);
    fake.store()
        .blobs
        .insert(("a/b".into(), blob.digest), Bytes::from(bad));
    let stream = client()
        .blob_stream(&fake.repo("a/b"), &blob)
        .await
        .unwrap();
    let error = stream.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    let error = client()
        .blob_bytes(&fake.repo("a/b"), &blob, 1000)
        .await
        .unwrap_err();
    assert!(matches!(error.fault(), Fault::Digest { .. }));
    assert_eq!(fake.count(&Method::GET, "/blobs/"), 1 + 3);
}

#[tokio::test]
async fn more_or_fewer_bytes_than_described_are_refused() {
    let fake = Fake::start().await;
    let bytes = content(1000);
    fake.put_blob("a/b", &bytes);
    for size in [999, 1001] {
        let blob = Descriptor {
            size,
            ..layer(&bytes)
        };
        let error = client()
            .blob_bytes(&fake.repo("a/b"), &blob, 2000)
            .await
            .unwrap_err();
        assert!(matches!(error.fault(), Fault::Size { .. }), "{error}");
    }
    // Without an announced length it shows on the way.
    let long = bytes.clone();
    fake.rule(move |seen| {
        let pieces = [Ok::<_, std::io::Error>(long.clone()), Ok(vec![0])];
        let body = Body::from_stream(futures::stream::iter(pieces));
        seen.is(&Method::GET, "/blobs/")
            .then(|| Response::new(body))
    });
    let stream = client()
        .blob_stream(&fake.repo("a/b"), &layer(&bytes))
        .await
        .unwrap();
    let parts: Vec<_> = stream.collect().await;
    assert!(parts.last().unwrap().is_err());
    let error = client()
        .blob_bytes(&fake.repo("a/b"), &layer(&bytes), 999)
        .await
        .unwrap_err();
    assert!(matches!(error.fault(), Fault::TooLarge { limit: 999 }));
}

#[tokio::test]
async fn a_transfer_that_stands_still_is_taken_up_again() {
    let fake = Fake::start().await;
    let bytes = content(1000);
    fake.put_blob("a/b", &bytes);
    let part = bytes[..10].to_vec();
    let mut left = 1;
    fake.rule(move |seen| {
        if !seen.is(&Method::GET, "/blobs/") || std::mem::take(&mut left) == 0 {
            return None;
        }
        let first = futures::stream::iter([Ok::<_, std::io::Error>(part.clone())]);
        let body = Body::from_stream(first.chain(futures::stream::pending()));
        Some(
            Response::builder()
                .header("content-length", 1000)
                .body(body)
                .unwrap(),
        )
    });
    let timeouts = Timeouts {
        idle: Duration::from_millis(100),
        ..Timeouts::default()
    };
    let client = builder().timeouts(timeouts).build().unwrap();
    let read = client
        .blob_bytes(&fake.repo("a/b"), &layer(&bytes), 1000)
        .await
        .unwrap();
    assert!(read == bytes);
    assert_eq!(fake.seen()[1].header("range"), "bytes=10-");
}

#[tokio::test]
async fn bytes_that_call_themselves_encoded_arrive_as_they_are() {
    let fake = Fake::start().await;
    let bytes = content(1000);
    let copy = bytes.clone();
    fake.rule(move |seen| {
        let answer = Response::builder().header("content-encoding", "gzip");
        seen.is(&Method::GET, "/blobs/")
            .then(|| answer.body(copy.clone().into()).unwrap())
    });
    let read = client()
        .blob_bytes(&fake.repo("a/b"), &layer(&bytes), 1000)
        .await
        .unwrap();
    assert!(read == bytes);
    assert_eq!(fake.seen()[0].header("accept-encoding"), "");
}

#[tokio::test]
async fn an_empty_blob_and_a_missing_one_are_told_apart() {
    let fake = Fake::start().await;
    fake.put_blob("a/b", b"");
    let repo = fake.repo("a/b");
    assert!(
        client()
            .blob_exists(&repo, &layer(b"").digest)
            .await
            .unwrap()
    );
    assert_eq!(
        client()
            .blob_bytes(&repo, &layer(b""), 0)
            .await
            .unwrap()
            .len(),
        0
    );
    assert!(
        !client()
            .blob_exists(&repo, &layer(b"x").digest)
            .await
            .unwrap()
    );
    let error = client().blob_stream(&repo, &layer(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.has_code("BLOB_UNKNOWN"));
}
