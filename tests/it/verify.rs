//! Images are looked at again without being asked for.

use std::time::{Duration, Instant};

use kiln_tests::{Kiln, Proxy, Server};
use serde_json::{Value, json};

/// An environment of the base's own packages: quick to build.
fn quick(name: &str) -> Value {
    json!({ "environment": {
        "python": { "userManagedDependencies": true },
        "docker": { "baseImage": kiln_tests::base("debian:12") },
        "environmentVariables": { "NAME": name },
    }, "wait": 120 })
}

/// A kiln that looks at every image each second, not at hits.
fn serve(kiln: &Kiln) -> Server {
    let mut command = kiln.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("KILN_LIMITS_VERIFY_EVERY", "1");
    command.env("KILN_LIMITS_VERIFY_AFTER", "3600");
    Server::start(command).unwrap()
}

async fn build(server: &Server, name: &str) -> Value {
    let request = reqwest::Client::new().post(format!("{}/v1/builds", server.url));
    let answer = request.json(&quick(name)).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["state"], "READY", "{answer}");
    answer
}

/// `(http://HOST/v2/PATH/manifests, DIGEST)` of an answer's image.
fn manifests(answer: &Value) -> (String, String) {
    let (repository, digest) = answer["image"].as_str().unwrap().split_once('@').unwrap();
    let (host, path) = repository.split_once('/').unwrap();
    (format!("http://{host}/v2/{path}/manifests"), digest.into())
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The digest of a tag, where the tag exists.
async fn tag(manifests: &str, tag: &str) -> Option<String> {
    let request = reqwest::Client::new().head(format!("{manifests}/{tag}"));
    let answer = request.header("accept", MANIFEST).send().await.unwrap();
    let digest = answer.headers().get("docker-content-digest");
    digest.map(|digest| digest.to_str().unwrap().to_owned())
}

/// Points a tag at what another reference of the repository names.
async fn move_tag(manifests: &str, tag: &str, at: &[u8]) {
    let request = reqwest::Client::new().put(format!("{manifests}/{tag}"));
    let request = request.header("content-type", MANIFEST).body(at.to_vec());
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

async fn fetch(manifests: &str, reference: &str) -> Value {
    let request = reqwest::Client::new().get(format!("{manifests}/{reference}"));
    let answer = request.header("accept", MANIFEST).send().await.unwrap();
    answer.json().await.unwrap()
}

/// Looks until it holds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + Duration::from_mins(1);
    while !holds().await {
        assert!(Instant::now() < limit, "it never holds that {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_was_moved_or_removed_is_set_again_without_a_request() {
    let kiln = Kiln::new();
    let server = serve(&kiln);
    let built = build(&server, "moved").await;
    let (url, digest) = manifests(&built);
    // Another definition's image, pushed by somebody into this one's repository.
    let other = build(&server, "other").await;
    let (other_url, other_digest) = manifests(&other);
    let others = fetch(&other_url, &other_digest).await;
    let config = others["config"]["digest"].as_str().unwrap();
    let path = |url: &str| url.strip_suffix("/manifests").unwrap().to_owned();
    let from = path(&other_url);
    let from = from.split_once("/v2/").unwrap().1;
    let mount = format!("{}/blobs/uploads/?mount={config}&from={from}", path(&url));
    let answer = reqwest::Client::new().post(mount).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    move_tag(&url, "latest", others.to_string().as_bytes()).await;
    move_tag(&url, "1", others.to_string().as_bytes()).await;
    assert_ne!(tag(&url, "latest").await.as_deref(), Some(digest.as_str()));
    eventually("both tags point at the image", async || {
        tag(&url, "latest").await.as_deref() == Some(digest.as_str())
            && tag(&url, "1").await.as_deref() == Some(digest.as_str())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_image_is_noticed_and_told_and_the_next_request_builds_it_once() {
    let kiln = Kiln::new();
    let server = serve(&kiln);
    let built = build(&server, "lost").await;
    assert_eq!(build(&server, "lost").await["cached"], true);
    let (url, digest) = manifests(&built);
    let gone = reqwest::Client::new().delete(format!("{url}/{digest}"));
    assert!(gone.send().await.unwrap().status().is_success());
    let mut again = Value::Null;
    eventually("kiln knows that the image is lost", async || {
        again = build(&server, "lost").await;
        again["cached"] == false
    })
    .await;
    assert_ne!(again["build_id"], built["build_id"]);
    let hit = build(&server, "lost").await;
    assert_eq!(
        (&hit["cached"], &hit["image"]),
        (&json!(true), &again["image"])
    );
    let (url, digest) = manifests(&again);
    assert_eq!(tag(&url, "latest").await, Some(digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_fails_makes_no_image_lost() {
    let upstream = kiln_tests::registry();
    let failing = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let (script_failing, script_asked) = (failing.clone(), asked.clone());
    let proxy = Proxy::start(&upstream, move |_, _| {
        use std::sync::atomic::Ordering::SeqCst;
        let fails = script_failing.load(SeqCst);
        if fails {
            script_asked.fetch_add(1, SeqCst);
        }
        fails.then_some(kiln_tests::Fault::Fails)
    })
    .await
    .unwrap();
    let prefix = kiln_tests::fresh_prefix();
    let prefix = prefix.split_once('/').unwrap().1.to_owned();
    let kiln = Kiln::with_registry(&format!("{}/{prefix}", proxy.host))
        .env("KILN_LIMITS_REGISTRY_BUDGET", "1");
    let server = serve(&kiln);
    let built = build(&server, "failing").await;
    failing.store(true, std::sync::atomic::Ordering::SeqCst);
    eventually("the registry was asked a few times", async || {
        asked.load(std::sync::atomic::Ordering::SeqCst) >= 4
    })
    .await;
    failing.store(false, std::sync::atomic::Ordering::SeqCst);
    let again = build(&server, "failing").await;
    assert_eq!(again["cached"], true, "{again}");
    assert_eq!(again["image"], built["image"]);
}
