//! Registries that lie, flood, lead astray.

use axum::body::Body;
use axum::http::{Method, Response};
use kiln_oci::{Descriptor, Digest, ImageManifest, Platform, media_type};
use kiln_registry::{Credentials, ErrorKind, Fault, MANIFEST_LIMIT, StaticCredentials};

use crate::fake::{Fake, Guard, status, with_header};
use crate::images::{builder, client, client_as, put_image, put_index};

#[tokio::test]
async fn a_manifest_of_more_than_four_mebibytes_is_not_read() {
    let fake = Fake::start().await;
    fake.put_manifest(
        "a/b",
        "v1",
        media_type::OCI_MANIFEST,
        &vec![b' '; MANIFEST_LIMIT + 1],
    );
    let error = client().manifest(&fake.repo("a/b:v1")).await.unwrap_err();
    assert!(matches!(error.fault(), Fault::TooLarge { .. }), "{error}");
    // Without an announced length the reading stops at the limit.
    fake.rule(|seen| {
        let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 65536]));
        seen.path
            .ends_with("/v2")
            .then(|| Response::new(Body::from_stream(endless)))
    });
    let error = client().manifest(&fake.repo("a/b:v2")).await.unwrap_err();
    assert!(matches!(error.fault(), Fault::TooLarge { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_manifest_with_another_digest_is_fetched_three_times_and_refused() {
    let fake = Fake::start().await;
    let descriptor = put_image(&fake, "a/b", "v1", "linux/amd64");
    let other = ImageManifest::new(Descriptor::of(media_type::OCI_CONFIG, b"x"), Vec::new());
    let entry = (media_type::OCI_MANIFEST.to_owned(), other.to_bytes().into());
    fake.store()
        .manifests
        .insert(("a/b".into(), descriptor.digest.to_string()), entry);
    let pinned = fake.repo("a/b").with_digest(descriptor.digest);
    let error = client().manifest(&pinned).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert_eq!(fake.count(&Method::GET, "/manifests/"), 3);
}

#[tokio::test]
async fn a_digest_header_that_disagrees_with_the_bytes_is_refused() {
    let fake = Fake::start().await;
    fake.rule(|seen| {
        seen.path.contains("/manifests/").then(|| {
            Response::builder()
                .header("docker-content-digest", Digest::of(b"other").to_string())
                .body("{}".into())
                .unwrap()
        })
    });
    let error = client().manifest(&fake.repo("a/b:v1")).await.unwrap_err();
    assert!(matches!(error.fault(), Fault::Digest { .. }), "{error}");
}

#[tokio::test]
async fn indexes_may_be_nested_two_deep_and_no_deeper() {
    let fake = Fake::start().await;
    let image = put_image(&fake, "a/b", "image", "linux/amd64");
    let mut entry = image.clone();
    for depth in 1..=3 {
        let platform = image.platform.clone();
        entry = put_index(&fake, "a/b", &format!("index{depth}"), vec![entry]);
        entry.platform = platform;
    }
    let resolve = async |tag: &str| {
        let reference = fake.repo(&format!("a/b:{tag}"));
        client()
            .resolve_platform(&reference, &Platform::default())
            .await
    };
    let resolved = resolve("index2").await.unwrap();
    assert_eq!(resolved.manifest_digest, image.digest);
    assert!(resolved.index_digest.is_some());
    let error = resolve("index3").await.unwrap_err();
    assert!(matches!(error.fault(), Fault::Depth(2)), "{error}");
}

#[tokio::test]
async fn an_entry_of_another_size_is_refused() {
    let fake = Fake::start().await;
    let mut entry = put_image(&fake, "a/b", "image", "linux/amd64");
    entry.size += 1;
    put_index(&fake, "a/b", "v1", vec![entry.clone()]);
    let resolve = async |tag: &str| {
        let reference = fake.repo(&format!("a/b:{tag}"));
        client()
            .resolve_platform(&reference, &Platform::default())
            .await
            .unwrap_err()
    };
    assert!(matches!(resolve("v1").await.fault(), Fault::Size { .. }));
    entry.size = u64::MAX;
    put_index(&fake, "a/b", "v2", vec![entry]);
    assert!(matches!(
        resolve("v2").await.fault(),
        Fault::TooLarge { .. }
    ));
}

#[tokio::test]
async fn what_is_no_image_for_the_platform_is_invalid_with_a_remedy() {
    let fake = Fake::start().await;
    put_image(&fake, "a/b", "arm", "linux/arm64");
    let entry = put_image(&fake, "a/b", "arm2", "linux/arm64");
    put_index(&fake, "a/b", "index", vec![entry]);
    let config = Descriptor::of("application/vnd.cncf.helm.config.v1+json", b"{}");
    let chart = ImageManifest::new(config, Vec::new()).to_bytes();
    fake.put_manifest("a/b", "chart", media_type::OCI_MANIFEST, &chart);
    fake.put_manifest(
        "a/b",
        "old",
        media_type::DOCKER_SCHEMA1_SIGNED,
        b"{\"schemaVersion\":1}",
    );
    for (tag, words) in [
        ("arm", "for linux/arm64, not for linux/amd64"),
        ("index", "it has linux/arm64"),
        ("chart", "no container image"),
        ("old", "schema 1"),
    ] {
        let reference = fake.repo(&format!("a/b:{tag}"));
        let resolved = client()
            .resolve_platform(&reference, &Platform::default())
            .await;
        let error = resolved.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(!error.remedy().is_empty() && !error.is_retryable());
    }
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let (fake, storage) = (Fake::start().await, Fake::start().await);
    fake.guard(Guard::Basic {
        user: "user".into(),
        password: "hunter2".into(),
    });
    let digest = storage.put_blob("a/b", b"content");
    let host = storage.host.replace("localhost", "127.0.0.1");
    let target = format!("http://{host}/v2/a/b/blobs/{digest}?sig=x");
    fake.rule(move |seen| {
        let signed_in = !seen.header("authorization").is_empty();
        (signed_in && seen.path.contains("/blobs/")).then(|| with_header(307, "location", &target))
    });
    let source = StaticCredentials::new().with(&fake.host, Credentials::basic("user", "hunter2"));
    let blob = Descriptor::of(media_type::OCI_LAYER, b"content");
    let bytes = client_as(source)
        .blob_bytes(&fake.repo("a/b"), &blob, 100)
        .await
        .unwrap();
    assert_eq!(&bytes[..], b"content");
    let seen = storage.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].headers.get("authorization").is_none());
    assert!(seen[0].headers.get("referer").is_none());
}

#[tokio::test]
async fn redirects_end_after_three_and_writing_requests_follow_none() {
    let fake = Fake::start().await;
    fake.rule(|seen| {
        seen.is(&Method::GET, "/blobs/")
            .then(|| with_header(302, "location", &seen.path))
    });
    let blob = Descriptor::of(media_type::OCI_LAYER, b"content");
    let error = client()
        .blob_bytes(&fake.repo("a/b"), &blob, 100)
        .await
        .unwrap_err();
    assert!(matches!(error.fault(), Fault::Redirect { .. }), "{error}");
    assert_eq!(fake.count(&Method::GET, "/blobs/"), 4);
    fake.fail(1, Method::PUT, "/manifests/", || {
        with_header(307, "location", "/elsewhere")
    });
    let pushed = client()
        .push_manifest(&fake.repo("a/b:v1"), "{}".into(), "x/y")
        .await;
    assert!(matches!(
        pushed.unwrap_err().fault(),
        Fault::Redirect { .. }
    ));
}

#[tokio::test]
async fn a_login_service_of_another_domain_gets_nothing() {
    let fake = Fake::start().await;
    for realm in [
        "https://evil.example/token",
        "http://evil.example/token",
        "file:///etc/passwd",
        "x",
    ] {
        let (login, refresh) = (None, None);
        fake.guard(Guard::Bearer {
            realm: realm.into(),
            login,
            refresh,
            life: 60,
        });
        let source =
            StaticCredentials::new().with(&fake.host, Credentials::basic("user", "hunter2"));
        let error = client_as(source)
            .manifest(&fake.repo("a/b:v1"))
            .await
            .unwrap_err();
        assert!(matches!(error.fault(), Fault::Realm { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Auth);
    }
    assert!(
        fake.seen()
            .iter()
            .all(|seen| seen.headers.get("authorization").is_none())
    );
}

#[tokio::test]
async fn urls_of_foreign_layers_are_not_followed() {
    let (fake, canary) = (Fake::start().await, Fake::start().await);
    let mut blob = Descriptor::of(media_type::DOCKER_FOREIGN_LAYER, b"content");
    blob.urls = vec![format!(
        "http://{}/v2/a/b/blobs/{}",
        canary.host, blob.digest
    )];
    canary.put_blob("a/b", b"content");
    let error = client()
        .blob_bytes(&fake.repo("a/b"), &blob, 100)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(canary.seen().is_empty());
}

#[tokio::test]
async fn an_upload_location_on_another_host_gets_no_credentials() {
    let (fake, storage) = (Fake::start().await, Fake::start().await);
    fake.guard(Guard::Basic {
        user: "user".into(),
        password: "hunter2".into(),
    });
    let location = format!(
        "http://{}/v2/a/b/blobs/uploads/x?sig=1",
        storage.host.replace("localhost", "127.0.0.1")
    );
    fake.rule(move |seen| {
        let post = seen.is(&Method::POST, "/uploads/") && !seen.header("authorization").is_empty();
        post.then(|| with_header(202, "location", &location))
    });
    storage.rule(|seen| seen.is(&Method::PUT, "/uploads/x").then(|| status(201)));
    let source = StaticCredentials::new().with(&fake.host, Credentials::basic("user", "hunter2"));
    let push = kiln_registry::BlobPush::new(
        Descriptor::of(media_type::OCI_LAYER, b"content"),
        b"content".to_vec(),
    );
    client_as(source)
        .push_blob(&fake.repo("a/b"), push)
        .await
        .unwrap();
    let seen = storage.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].headers.get("authorization").is_none());
    assert!(seen[0].query.contains("sig=1&digest=sha256"));
}

#[tokio::test]
async fn an_endless_error_body_and_a_silent_registry_do_not_hold_kiln_up() {
    let fake = Fake::start().await;
    fake.rule(|seen| {
        let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 65536]));
        let answer = Response::builder()
            .status(400)
            .body(Body::from_stream(endless))
            .unwrap();
        seen.path.ends_with("/flood").then_some(answer)
    });
    let error = client()
        .manifest(&fake.repo("a/b:flood"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.status(), error.kind()),
        (Some(400), ErrorKind::Invalid)
    );
}

#[test]
fn a_bundle_without_a_certificate_is_refused() {
    assert!(builder().extra_ca("no pem").build().is_err());
}
