//! The three answers of a probe.

use axum::http::Method;
use kiln_oci::{Digest, media_type};
use kiln_registry::{ErrorKind, Probe, RegistryClient};

use crate::fake::{Fake, error, silent, status, with_header};
use crate::images::{builder, client, put_image, quick};

async fn unknown(client: &RegistryClient, fake: &Fake) -> ErrorKind {
    match client.probe(&fake.repo("a/b:v1")).await {
        Probe::Unknown(error) => error.kind(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_there_is_present_with_digest_type_and_size() {
    let fake = Fake::start().await;
    let descriptor = put_image(&fake, "a/b", "v1", "linux/amd64");
    let by_digest = fake.repo("a/b").with_digest(descriptor.digest);
    for reference in [fake.repo("a/b:v1"), by_digest] {
        let Probe::Present {
            digest,
            media_type,
            size,
        } = client().probe(&reference).await
        else {
            panic!("present");
        };
        assert_eq!((digest, size), (descriptor.digest, descriptor.size));
        assert_eq!(media_type, media_type::OCI_MANIFEST);
    }
    assert_eq!(fake.count(&Method::GET, "/"), 0);
}

#[tokio::test]
async fn only_a_404_is_absent_and_it_is_asked_once() {
    let fake = Fake::start().await;
    assert!(matches!(
        client().probe(&fake.repo("a/b:v1")).await,
        Probe::Absent
    ));
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn errors_refusals_and_silence_are_unknown() {
    let fake = Fake::start().await;
    fake.fail(6, Method::HEAD, "/a/b/", || status(500));
    assert_eq!(unknown(&client(), &fake).await, ErrorKind::Unavailable);
    fake.fail(6, Method::HEAD, "/a/b/", || {
        with_header(429, "retry-after", "0")
    });
    assert_eq!(unknown(&client(), &fake).await, ErrorKind::RateLimited);
    fake.fail(1, Method::HEAD, "/a/b/", || error(403, "DENIED"));
    assert_eq!(unknown(&client(), &fake).await, ErrorKind::Auth);
    fake.fail(1, Method::HEAD, "/a/b/", || status(401));
    assert_eq!(unknown(&client(), &fake).await, ErrorKind::Auth);
    fake.fail(9, Method::HEAD, "/a/b/", silent);
    let mut budget = quick();
    budget.total = std::time::Duration::from_millis(50);
    assert_eq!(
        unknown(&client().with_retry(budget), &fake).await,
        ErrorKind::Timeout
    );
}

#[tokio::test]
async fn a_registry_that_is_not_up_is_unknown() {
    let fake = Fake::start().await;
    let gone = fake.repo("a/b:v1");
    drop(fake);
    let client = builder().build().unwrap();
    let Probe::Unknown(error) = client.probe(&gone).await else {
        panic!("unknown")
    };
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.is_retryable());
    assert!(
        error.remedy().contains(gone.registry()),
        "{}",
        error.remedy()
    );
}

#[tokio::test]
async fn a_404_of_the_storage_behind_a_redirect_is_unknown() {
    let (fake, storage) = (Fake::start().await, Fake::start().await);
    let target = format!("http://{}/gone", storage.host);
    fake.rule(move |seen| {
        seen.path
            .contains("/manifests/")
            .then(|| with_header(307, "location", &target))
    });
    assert_eq!(unknown(&client(), &fake).await, ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_registry_without_head_or_digest_header_is_asked_by_get() {
    let fake = Fake::start().await;
    let descriptor = put_image(&fake, "a/b", "v1", "linux/amd64");
    fake.fail(1, Method::HEAD, "/manifests/", || status(405));
    fake.fail(1, Method::HEAD, "/manifests/", || status(200));
    for _ in 0..2 {
        let Probe::Present { digest, .. } = client().probe(&fake.repo("a/b:v1")).await else {
            panic!("present");
        };
        assert_eq!(digest, descriptor.digest);
    }
    assert_eq!(fake.count(&Method::GET, "/manifests/"), 2);
}

#[tokio::test]
async fn another_digest_than_the_one_asked_for_is_unknown() {
    let fake = Fake::start().await;
    let descriptor = put_image(&fake, "a/b", "v1", "linux/amd64");
    let asked = fake.repo("a/b").with_digest(Digest::of(b"other"));
    let (kind, bytes) = fake.store().manifests[&("a/b".into(), "v1".into())].clone();
    fake.store()
        .manifests
        .insert(("a/b".into(), asked.identifier()), (kind, bytes));
    let Probe::Unknown(error) = client().probe(&asked).await else {
        panic!("unknown")
    };
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(error.to_string().contains(&descriptor.digest.to_string()));
    assert_eq!(fake.count(&Method::HEAD, "/manifests/"), 3);
}
