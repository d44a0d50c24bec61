//! Lists of tags, and setting and deleting them.

use axum::http::{Method, Response};
use kiln_oci::Tag;
use kiln_registry::{ErrorKind, Fault, TagRule};

use crate::fake::{Answer, Fake, error};
use crate::images::{client, put_image};

fn page(tags: &str, next: &str) -> Answer {
    let body = format!(r#"{{"name":"a/b","tags":{tags}}}"#);
    Response::builder()
        .header("link", format!("<{next}>; rel=\"next\""))
        .body(body.into())
        .unwrap()
}

#[tokio::test]
async fn pages_are_followed_and_the_tags_sorted() {
    let fake = Fake::start().await;
    put_image(&fake, "a/b", "last", "linux/amd64");
    fake.fail(1, Method::GET, "/tags/list?n=", || {
        page(r#"["b","a","bad tag"]"#, "/v2/a/b/tags/list?last=b&n=2")
    });
    fake.fail(1, Method::GET, "last=b", || page("null", "list?last=c"));
    let tags = client().list_tags(&fake.repo("a/b")).await.unwrap();
    assert_eq!(
        tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
        ["a", "b", "last"]
    );
}

#[tokio::test]
async fn lists_that_lead_in_a_circle_or_never_end_are_left() {
    let fake = Fake::start().await;
    fake.rule(|seen| {
        seen.path
            .contains("/circle/")
            .then(|| page("[]", "/v2/circle/x/tags/list?n=1000"))
    });
    let error = client()
        .list_tags(&fake.repo("circle/x"))
        .await
        .unwrap_err();
    assert!(matches!(error.fault(), Fault::EndlessList));
    assert_eq!(fake.count(&Method::GET, "/circle/"), 1);
    let mut at = 0;
    fake.rule(move |seen| {
        at += 1;
        seen.path
            .contains("/endless/")
            .then(|| page("[]", &format!("list?last={at}")))
    });
    let error = client()
        .list_tags(&fake.repo("endless/x"))
        .await
        .unwrap_err();
    assert!(matches!(error.fault(), Fault::EndlessList));
    assert_eq!(fake.count(&Method::GET, "/endless/"), 100);
    fake.rule(|seen| {
        seen.path
            .contains("/astray/")
            .then(|| page("[]", "http://127.0.0.1:9/x"))
    });
    let error = client()
        .list_tags(&fake.repo("astray/x"))
        .await
        .unwrap_err();
    assert!(matches!(error.fault(), Fault::Redirect { .. }), "{error}");
}

#[tokio::test]
async fn a_tag_that_is_to_stay_is_never_moved() {
    let fake = Fake::start().await;
    let first = fake
        .repo("a/b")
        .with_digest(put_image(&fake, "a/b", "x", "linux/amd64").digest);
    let second = fake
        .repo("a/b")
        .with_digest(put_image(&fake, "a/b", "y", "linux/arm64").digest);
    let tag: Tag = "1".parse().unwrap();
    let client = client();
    client.put_tag(&first, &tag, TagRule::Keep).await.unwrap();
    client.put_tag(&first, &tag, TagRule::Keep).await.unwrap();
    assert_eq!(fake.count(&Method::PUT, "/manifests/1"), 1);
    let error = client
        .put_tag(&second, &tag, TagRule::Keep)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(fake.count(&Method::PUT, "/manifests/1"), 1);
    client.put_tag(&second, &tag, TagRule::Move).await.unwrap();
    let moved = client.manifest(&fake.repo("a/b:1")).await.unwrap();
    assert_eq!(Some(moved.digest), second.digest());
}

#[tokio::test]
async fn deleting_tells_whether_it_was_there_and_what_forbids_it() {
    let fake = Fake::start().await;
    let image = fake
        .repo("a/b")
        .with_digest(put_image(&fake, "a/b", "x", "linux/amd64").digest);
    assert!(client().delete_manifest(&image).await.unwrap());
    assert!(!client().delete_manifest(&image).await.unwrap());
    fake.fail(1, Method::DELETE, "/", || error(405, "UNSUPPORTED"));
    let error = client().delete_manifest(&image).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.remedy().contains("allow this operation"),
        "{}",
        error.remedy()
    );
}
