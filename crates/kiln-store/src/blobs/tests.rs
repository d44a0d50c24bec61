use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

fn stream(parts: &[&'static str]) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin {
    let parts: Vec<_> = parts
        .iter()
        .map(|p| Ok(Bytes::from_static(p.as_bytes())))
        .collect();
    futures::stream::iter(parts)
}

#[tokio::test]
async fn bytes_of_the_digest_are_kept_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path().into()).unwrap();
    let digest = Digest::of(b"hello world");
    let wrong = blobs
        .put(&digest, stream(&["hello ", "worlx"]))
        .await
        .unwrap_err();
    assert!(matches!(wrong, PutBlobError::Digest { .. }), "{wrong}");
    assert!(!blobs.contains(&digest));
    blobs
        .put(&digest, stream(&["hello ", "world"]))
        .await
        .unwrap();
    blobs.put(&digest, stream(&["hello world"])).await.unwrap();
    assert_eq!(std::fs::read(blobs.path(&digest)).unwrap(), b"hello world");
    assert_eq!(
        std::fs::read_dir(folder.path().join("tmp"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn a_damaged_blob_is_found_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path().into()).unwrap();
    let digest = Digest::of(b"x");
    blobs.put(&digest, stream(&["x"])).await.unwrap();
    assert!(blobs.verify(&digest).unwrap());
    std::fs::write(blobs.path(&digest), "y").unwrap();
    assert!(!blobs.verify(&digest).unwrap());
    assert!(!blobs.contains(&digest));
}

#[tokio::test]
async fn a_source_longer_or_shorter_than_announced_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path().into()).unwrap();
    let digest = Digest::of(b"hello world");
    for size in [0, 10, 12] {
        let error = blobs
            .put_sized(&digest, size, stream(&["hello ", "world"]))
            .await;
        assert!(matches!(error, Err(PutBlobError::Size { .. })), "{size}");
        assert!(!blobs.contains(&digest));
    }
    blobs
        .put_sized(&digest, 11, stream(&["hello ", "world"]))
        .await
        .unwrap();
    assert!(blobs.open_blob(&digest).unwrap().is_some());
    blobs.remove(&digest).unwrap();
    blobs.remove(&digest).unwrap();
    assert!(blobs.open_blob(&digest).unwrap().is_none());
}

#[tokio::test]
async fn bytes_that_nobody_knows_yet_are_kept_up_to_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path().into()).unwrap();
    let parts = ["hello ", "world"];
    let (digest, size) = blobs.put_new(11, stream(&parts)).await.unwrap();
    assert_eq!((digest, size), (Digest::of(b"hello world"), 11));
    assert!(blobs.verify(&digest).unwrap());
    let error = blobs.put_new(10, stream(&parts)).await.unwrap_err();
    let expected = "the blob has more than 10 bytes";
    assert_eq!(error.to_string(), expected);
    let read = blobs.put_from(5, &b"hello"[..]).unwrap();
    assert_eq!(read, (Digest::of(b"hello"), 5));
    assert!(blobs.verify(&read.0).unwrap());
    assert!(blobs.put_from(4, &b"hello"[..]).is_err());
    let left = std::fs::read_dir(folder.path().join("tmp")).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn what_a_killed_writer_left_is_swept_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path().into()).unwrap();
    let digest = Digest::of(b"x");
    blobs.put(&digest, stream(&["x"])).await.unwrap();
    std::fs::write(folder.path().join("tmp/left"), "half").unwrap();
    let blobs = Blobs::open(folder.path().into()).unwrap();
    assert_eq!(
        std::fs::read_dir(folder.path().join("tmp"))
            .unwrap()
            .count(),
        0
    );
    assert!(blobs.contains(&digest));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two writers of the same blob run at once, in chunks of their own; one may break off.
    #[test]
    fn any_bytes_in_any_chunks_come_back_or_leave_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 0..5000),
        chunks in (1_usize..700, 1_usize..700),
        broken in proptest::option::of(0_usize..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let blobs = Blobs::open(folder.path().into()).unwrap();
            let digest = Digest::of(&bytes);
            let source = |size: usize, broken: Option<usize>| {
                let mut parts: Vec<_> =
                    bytes.chunks(size).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
                if let Some(at) = broken {
                    parts.truncate(at);
                    parts.push(Err(std::io::Error::other("the peer went away")));
                }
                futures::stream::iter(parts)
            };
            let alone = blobs.put(&digest, source(chunks.0, broken)).await;
            assert_eq!(alone.is_ok(), broken.is_none());
            assert_eq!(blobs.contains(&digest), broken.is_none());
            let (one, other) = tokio::join!(
                blobs.put(&digest, source(chunks.0, None)),
                blobs.put_sized(&digest, bytes.len() as u64, source(chunks.1, None)),
            );
            one.unwrap();
            other.unwrap();
            assert_eq!(std::fs::read(blobs.path(&digest)).unwrap(), bytes);
            assert!(blobs.verify(&digest).unwrap());
            let left = std::fs::read_dir(folder.path().join("tmp")).unwrap().count();
            assert_eq!(left, 0);
        });
    }
}
