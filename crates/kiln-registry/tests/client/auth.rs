//! Logging in: what is asked for, by whom, and what never shows.

use axum::http::Method;
use futures::future::try_join_all;
use kiln_registry::{
    BlobPush, Credentials, ErrorKind, Probe, Pushed, RegistryClient, Secret, StaticCredentials,
};

use crate::fake::{Fake, Guard, base64, status};
use crate::images::{client, client_as, put_image};

fn bearer(life: u64) -> Guard {
    Guard::Bearer {
        realm: String::new(),
        login: None,
        refresh: None,
        life,
    }
}

fn with_login(life: u64) -> Guard {
    let login = Some(("user".into(), "hunter2".into()));
    Guard::Bearer {
        realm: String::new(),
        login,
        refresh: None,
        life,
    }
}

fn user(fake: &Fake, password: &str) -> RegistryClient {
    client_as(StaticCredentials::new().with(&fake.host, Credentials::basic("user", password)))
}

fn tokens(fake: &Fake) -> usize {
    fake.count(&Method::GET, "/token") + fake.count(&Method::POST, "/token")
}

#[tokio::test]
async fn basic_credentials_are_sent_only_after_the_registry_asked() {
    let fake = Fake::start().await;
    put_image(&fake, "a/b", "v1", "linux/amd64");
    fake.guard(Guard::Basic {
        user: "user".into(),
        password: "hunter2".into(),
    });
    let client = user(&fake, "hunter2");
    client.manifest(&fake.repo("a/b:v1")).await.unwrap();
    client.manifest(&fake.repo("a/b:v1")).await.unwrap();
    let sent: Vec<_> = fake
        .seen()
        .iter()
        .map(|s| s.header("authorization").to_owned())
        .collect();
    let basic = format!("Basic {}", base64("user:hunter2"));
    assert_eq!(sent, [String::new(), basic.clone(), basic]);
}

#[tokio::test]
async fn a_wrong_password_and_none_fail_at_once_without_showing_it() {
    let fake = Fake::start().await;
    for guard in [
        Guard::Basic {
            user: "user".into(),
            password: "right".into(),
        },
        {
            let login = Some(("user".into(), "right".into()));
            Guard::Bearer {
                realm: String::new(),
                login,
                refresh: None,
                life: 60,
            }
        },
    ] {
        fake.guard(guard);
        for client in [user(&fake, "hunter2"), client()] {
            let before = fake.seen().len();
            let error = client.manifest(&fake.repo("a/b:v1")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
            assert!(fake.seen().len() - before <= 2);
            assert!(
                error.remedy().contains("docker login"),
                "{}",
                error.remedy()
            );
            let shown = format!("{error} {error:?} {}", error.remedy());
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(!shown.contains(&base64("user:hunter2")), "{shown}");
        }
    }
}

#[tokio::test]
async fn one_token_serves_equal_needs_and_concurrent_requests() {
    let fake = Fake::start().await;
    put_image(&fake, "a/b", "v1", "linux/amd64");
    fake.guard(with_login(300));
    let client = user(&fake, "hunter2");
    let reference = fake.repo("a/b:v1");
    client.manifest(&reference).await.unwrap();
    try_join_all((0..20).map(|_| client.manifest(&reference)))
        .await
        .unwrap();
    assert_eq!(tokens(&fake), 1);
    let request = fake
        .seen()
        .into_iter()
        .find(|seen| seen.path == "/token")
        .unwrap();
    assert_eq!(
        request.query,
        "service=fake&scope=repository%3Aa%2Fb%3Apull"
    );
    assert_eq!(
        request.header("authorization"),
        format!("Basic {}", base64("user:hunter2"))
    );
}

#[tokio::test]
async fn an_anonymous_token_is_had_without_credentials() {
    let fake = Fake::start().await;
    put_image(&fake, "a/b", "v1", "linux/amd64");
    fake.guard(bearer(300));
    client().manifest(&fake.repo("a/b:v1")).await.unwrap();
    assert_eq!(tokens(&fake), 1);
}

#[tokio::test]
async fn credentials_of_another_host_are_not_used() {
    let fake = Fake::start().await;
    put_image(&fake, "a/b", "v1", "linux/amd64");
    fake.guard(bearer(300));
    let other = StaticCredentials::new().with("localhost", Credentials::basic("user", "hunter2"));
    client_as(other)
        .manifest(&fake.repo("a/b:v1"))
        .await
        .unwrap();
    let token = fake
        .seen()
        .into_iter()
        .find(|seen| seen.path == "/token")
        .unwrap();
    assert_eq!(token.header("authorization"), "");
}

#[tokio::test]
async fn a_token_that_ran_out_or_was_revoked_is_replaced() {
    let fake = Fake::start().await;
    put_image(&fake, "a/b", "v1", "linux/amd64");
    fake.guard(bearer(300));
    let client = client();
    let reference = fake.repo("a/b:v1");
    client.manifest(&reference).await.unwrap();
    fake.revoke_tokens();
    client.manifest(&reference).await.unwrap();
    assert_eq!(tokens(&fake), 2);
    // A life of nothing is over at once.
    fake.guard(bearer(0));
    fake.revoke_tokens();
    client.manifest(&reference).await.unwrap();
    client.manifest(&reference).await.unwrap();
    assert_eq!(tokens(&fake), 4);
}

#[tokio::test]
async fn a_401_that_stays_is_asked_with_one_fresh_token_only() {
    let fake = Fake::start().await;
    fake.guard(bearer(300));
    fake.rule(|seen| {
        let challenge = format!("Bearer realm=\"http://{}/token\"", seen.header("host"));
        seen.path
            .starts_with("/v2/")
            .then(|| crate::fake::with_header(401, "www-authenticate", &challenge))
    });
    let error = client().manifest(&fake.repo("a/b:v1")).await.unwrap_err();
    assert_eq!((error.status(), error.kind()), (Some(401), ErrorKind::Auth));
    assert_eq!(fake.count(&Method::GET, "/manifests/"), 2);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let fake = Fake::start().await;
    put_image(&fake, "a/b", "v1", "linux/amd64");
    let refresh = Some("hunter2-refresh".to_owned());
    fake.guard(Guard::Bearer {
        realm: String::new(),
        login: None,
        refresh,
        life: 60,
    });
    let login = |token| {
        let token = Credentials::IdentityToken(Secret::new(token));
        client_as(StaticCredentials::new().with(&fake.host, token))
    };
    login("hunter2-refresh")
        .manifest(&fake.repo("a/b:v1"))
        .await
        .unwrap();
    let request = fake
        .seen()
        .into_iter()
        .find(|seen| seen.path == "/token")
        .unwrap();
    assert_eq!(request.method, Method::POST);
    assert_eq!(
        request.header("content-type"),
        "application/x-www-form-urlencoded"
    );
    assert_eq!(
        request.form,
        "grant_type=refresh_token&client_id=kiln&service=fake&\
         scope=repository%3Aa%2Fb%3Apull&refresh_token=hunter2-refresh"
    );
    let error = login("hunter2-wrong")
        .manifest(&fake.repo("a/b:v1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(
        !format!("{error} {error:?}").contains("hunter2"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_mount_asks_for_the_right_to_read_the_other_repository() {
    let fake = Fake::start().await;
    fake.put_blob("base/image", b"layer");
    fake.guard(bearer(300));
    let push = BlobPush::new(kiln_oci::Descriptor::of("x/y", b"layer"), b"layer".to_vec())
        .mount_from("base/image".parse().unwrap());
    assert_eq!(
        client().push_blob(&fake.repo("a/b"), push).await.unwrap(),
        Pushed::Mounted
    );
    assert_eq!(tokens(&fake), 1);
    let request = fake
        .seen()
        .into_iter()
        .find(|seen| seen.path == "/token")
        .unwrap();
    assert_eq!(
        request.query,
        "service=fake&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Abase%2Fimage%3Apull"
    );
}

#[tokio::test]
async fn a_failing_token_service_is_retried_and_its_404_is_not_absence() {
    let fake = Fake::start().await;
    put_image(&fake, "a/b", "v1", "linux/amd64");
    fake.guard(bearer(300));
    fake.fail(2, Method::GET, "/token", || status(503));
    client().manifest(&fake.repo("a/b:v1")).await.unwrap();
    assert_eq!(tokens(&fake), 3);
    fake.fail(1, Method::GET, "/token", || status(404));
    let Probe::Unknown(error) = client().probe(&fake.repo("a/b:v1")).await else {
        panic!("unknown");
    };
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(
        error
            .to_string()
            .contains("the token service at localhost: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_service_is_not_followed_elsewhere() {
    let (fake, canary) = (Fake::start().await, Fake::start().await);
    fake.guard(with_login(300));
    let target = format!("http://{}/token", canary.host);
    fake.rule(move |seen| {
        (seen.path == "/token").then(|| crate::fake::with_header(307, "location", &target))
    });
    user(&fake, "hunter2")
        .manifest(&fake.repo("a/b:v1"))
        .await
        .unwrap_err();
    assert!(canary.seen().is_empty());
}
