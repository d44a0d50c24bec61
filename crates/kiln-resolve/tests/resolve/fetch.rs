//! Fetching what a lock names.

use std::sync::Mutex;

use kiln_conda::Credentials;
use kiln_oci::Digest;
use kiln_resolve::{Archive, ArchiveStore as _, FetchError, FetchProgress, Fetcher};
use tokio_util::sync::CancellationToken;

use crate::bed::Bed;

fn fetcher() -> Fetcher {
    Fetcher {
        client: reqwest::Client::new(),
        credentials: Credentials::default(),
        concurrency: 2,
    }
}

fn archive(bed: &Bed, name: &str, bytes: &[u8]) -> Archive {
    bed.serve(&format!("/files/{name}"), bytes, "application/octet-stream");
    Archive {
        file_name: name.into(),
        url: bed.url(&format!("/files/{name}")),
        sha256: Digest::of(bytes),
        size_bytes: Some(bytes.len() as u64),
    }
}

async fn fetch(bed: &Bed, archives: &[Archive]) -> Result<FetchProgress, FetchError> {
    let last = Mutex::new(FetchProgress::default());
    let report = |state| *last.lock().expect("no panic") = state;
    fetcher()
        .fetch(
            archives,
            bed.store.as_ref(),
            &report,
            &CancellationToken::new(),
        )
        .await?;
    Ok(*last.lock().expect("no panic"))
}

#[tokio::test]
async fn archives_are_fetched_once_and_counted() {
    let bed = Bed::new().await;
    let local = bed.folder.path().join("local.conda");
    fs_err::write(&local, b"local").expect("a file");
    let all = [
        archive(&bed, "a.conda", b"aaaa"),
        archive(&bed, "b.whl", b"bb"),
        Archive {
            file_name: "local.conda".into(),
            url: format!("file://{}", local.display()),
            sha256: Digest::of(b"local"),
            size_bytes: None,
        },
        archive(&bed, "again.conda", b"aaaa"),
    ];
    let state = fetch(&bed, &all).await.expect("all are there");
    assert_eq!((state.archives_done, state.archives_total), (3, 3));
    assert_eq!((state.bytes_done, state.bytes_total), (6, 6));
    for archive in &all {
        assert!(
            bed.store.path_of(&archive.sha256).await.is_some(),
            "{}",
            archive.file_name
        );
    }
    bed.requests.lock().expect("no panic").clear();
    fetch(&bed, &all).await.expect("nothing is left to do");
    assert!(bed.requests.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn other_bytes_are_never_stored() {
    let bed = Bed::new().await;
    let one = archive(&bed, "a.conda", b"right");
    bed.change("/files/a.conda", |file| file.bytes = b"wrong".to_vec());
    let error = fetch(&bed, std::slice::from_ref(&one))
        .await
        .expect_err("they are others");
    assert!(matches!(error, FetchError::Digest { .. }), "{error}");
    assert!(bed.store.path_of(&one.sha256).await.is_none());
    bed.change("/files/a.conda", |file| {
        file.bytes = b"right and more than there should be".to_vec();
    });
    let error = fetch(&bed, std::slice::from_ref(&one))
        .await
        .expect_err("they are too many");
    assert!(matches!(error, FetchError::Network { .. }), "{error}");
    bed.change("/files/a.conda", |file| file.bytes = b"right".to_vec());
    fetch(&bed, &[one]).await.expect("repeating resumes");
}

#[tokio::test]
async fn passing_faults_are_outlived_and_lasting_ones_named() {
    let bed = Bed::new().await;
    let one = archive(&bed, "a.conda", b"a");
    bed.change("/files/a.conda", |file| file.faults = 2);
    fetch(&bed, std::slice::from_ref(&one))
        .await
        .expect("the third try succeeds");
    let gone = Archive {
        url: bed.url("/files/gone"),
        sha256: Digest::of(b"gone"),
        ..one.clone()
    };
    assert!(matches!(
        fetch(&bed, &[gone]).await,
        Err(FetchError::Gone { .. })
    ));
    let secret = archive(&bed, "secret.conda", b"s");
    bed.change("/files/secret.conda", |file| file.wants = Some("Bearer x"));
    assert!(matches!(
        fetch(&bed, &[secret]).await,
        Err(FetchError::Denied { .. })
    ));
    let odd = Archive {
        url: "ftp://localhost/x".into(),
        sha256: Digest::of(b"odd"),
        ..one
    };
    assert!(matches!(
        fetch(&bed, &[odd]).await,
        Err(FetchError::Address { .. })
    ));
}

#[tokio::test]
async fn cancelling_ends_a_fetch() {
    let bed = Bed::new().await;
    let one = archive(&bed, "a.conda", b"a");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let outcome = fetcher()
        .fetch(&[one], bed.store.as_ref(), &|_| {}, &cancel)
        .await;
    assert!(matches!(outcome, Err(FetchError::Cancelled)));
}
