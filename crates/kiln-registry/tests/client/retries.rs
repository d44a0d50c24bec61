//! When requests are repeated, and when not.

use std::time::{Duration, Instant};

use axum::http::Method;
use kiln_registry::{ErrorKind, RetryBudget};

use crate::fake::{Fake, error, status, with_header};
use crate::images::{client, put_image, quick};

#[tokio::test]
async fn five_failures_are_survived_and_a_sixth_is_not() {
    let fake = Fake::start().await;
    put_image(&fake, "a/b", "v1", "linux/amd64");
    fake.fail(5, Method::GET, "/manifests/v1", || status(500));
    client().manifest(&fake.repo("a/b:v1")).await.unwrap();
    assert_eq!(fake.seen().len(), 6);
    fake.fail(6, Method::GET, "/manifests/v1", || {
        error(503, "UNAVAILABLE")
    });
    let error = client().manifest(&fake.repo("a/b:v1")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.attempts()),
        (ErrorKind::Unavailable, 6)
    );
    assert!(
        error
            .to_string()
            .contains("503 Service Unavailable (UNAVAILABLE: as told) (after 6 attempts)"),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_registry_refuses_is_asked_once() {
    let fake = Fake::start().await;
    for code in [400, 403, 404, 405, 413] {
        let mut left = 1;
        fake.rule(move |_| (std::mem::take(&mut left) == 1).then(|| status(code)));
        let before = fake.seen().len();
        let error = client().manifest(&fake.repo("a/b:v1")).await.unwrap_err();
        assert_eq!(error.status(), Some(code));
        assert_eq!(fake.seen().len(), before + 1, "{code}");
    }
}

#[tokio::test]
async fn a_request_timeout_status_is_repeated() {
    let fake = Fake::start().await;
    put_image(&fake, "a/b", "v1", "linux/amd64");
    fake.fail(1, Method::GET, "/manifests/v1", || status(408));
    client().manifest(&fake.repo("a/b:v1")).await.unwrap();
}

#[tokio::test]
async fn retry_after_is_waited_for_by_every_request_to_the_host() {
    let fake = Fake::start().await;
    put_image(&fake, "a/b", "v1", "linux/amd64");
    fake.fail(1, Method::GET, "/manifests/v1", || {
        with_header(429, "retry-after", "1")
    });
    let client = client();
    client.manifest(&fake.repo("a/b:v1")).await.unwrap();
    let seen = fake.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].at - seen[0].at >= Duration::from_millis(990));
    // Another request on the same client finds the gate closed.
    fake.fail(1, Method::GET, "/manifests/v1", || {
        with_header(429, "retry-after", "60")
    });
    let short = client.with_retry(RetryBudget {
        total: Duration::from_secs(5),
        ..quick()
    });
    let start = Instant::now();
    for _ in 0..2 {
        let error = short.manifest(&fake.repo("a/b:v1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test]
async fn a_ping_tells_whether_the_registry_answers() {
    let fake = Fake::start().await;
    client().ping(&fake.host).await.unwrap();
    let host = fake.host.clone();
    drop(fake);
    let error = client().ping(&host).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot reach the registry at {host}: ")),
        "{error}"
    );
}
