//! Webhooks: signed messages in, signed events out.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use kiln_events::{CloudEvent, Signature, SigningSecret, verify};
use kiln_tests::{Kiln, Server};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// An environment of the base's own packages: quick to build.
fn quick(name: &str) -> Value {
    json!({ "environment": {
        "python": { "userManagedDependencies": true },
        "docker": { "baseImage": kiln_tests::base("debian:12") },
        "environmentVariables": { "NAME": name },
    } })
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// A kiln whose settings name these sources.
fn serve(kiln: &Kiln, sources: &str) -> Server {
    let config = kiln.write("kiln.toml", sources);
    let mut command = kiln.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("KILN_CONFIG", config);
    Server::start(command).unwrap()
}

fn source(kiln: &Kiln, name: &str, more: &str, secret: &SigningSecret) -> String {
    let file = kiln.write(&format!("{name}.secret"), secret.expose());
    format!(
        "[[hooks.sources]]\nname = \"{name}\"\nsecret_files = [\"{}\"]\n{more}\n",
        file.display()
    )
}

async fn send(
    url: &str,
    signature: &Signature,
    body: &[u8],
    more: &[(&str, &str)],
) -> (u16, Value) {
    let mut request = reqwest::Client::new().post(url).body(body.to_vec());
    for (name, value) in signature.headers() {
        request = request.header(name, value);
    }
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn until_final(server: &Server, build: &str) -> Value {
    let limit = Instant::now() + Duration::from_mins(2);
    loop {
        let url = format!("{}/v1/builds/{build}", server.url);
        let status: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        if ["READY", "FAILED", "CANCELLED"].contains(&status["state"].as_str().unwrap()) {
            return status;
        }
        assert!(Instant::now() < limit, "{status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_message_is_one_build_however_often_and_in_whatever_form_it_comes() {
    let kiln = Kiln::new();
    let (old, new) = (SigningSecret::generate(), SigningSecret::generate());
    let mut sources = source(&kiln, "platform", "", &new);
    let second = kiln.write("old.secret", old.expose());
    sources = sources.replace("\"]", &format!("\", \"{}\"]", second.display()));
    let server = serve(&kiln, &sources);
    let url = format!("{}/v1/hooks/platform", server.url);
    let data = quick("hook");
    let event = json!({
        "specversion": "1.0", "id": "e-1", "source": "/registry",
        "type": "io.kiln.build.requested", "data": data,
    })
    .to_string();
    let structured = [("content-type", "application/cloudevents+json")];
    let signed = |secret: &SigningSecret, id: &str, body: &str| {
        Signature::of(std::slice::from_ref(secret), id, now(), body.as_bytes())
    };
    let (code, first) = send(
        &url,
        &signed(&new, "m-1", &event),
        event.as_bytes(),
        &structured,
    )
    .await;
    assert_eq!(code, 202, "{first}");
    let build = first["build_id"].as_str().unwrap().to_owned();
    until_final(&server, &build).await;
    let (code, again) = send(
        &url,
        &signed(&old, "m-1", &event),
        event.as_bytes(),
        &structured,
    )
    .await;
    assert_eq!(
        (code, again["build_id"].as_str()),
        (200, Some(build.as_str())),
        "{again}"
    );
    let other = event.replace("\"hook\"", "\"other\"");
    let (code, conflict) = send(
        &url,
        &signed(&new, "m-1", &other),
        other.as_bytes(),
        &structured,
    )
    .await;
    assert_eq!(code, 409, "{conflict}");
    let plain = data.to_string();
    let binary = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "e-2"),
        ("ce-source", "/registry"),
        ("ce-type", "io.kiln.build.requested"),
    ];
    for (id, more) in [("m-2", &binary[..]), ("m-3", &[])] {
        let (code, hit) = send(&url, &signed(&new, id, &plain), plain.as_bytes(), more).await;
        assert_eq!((code, &hit["cached"]), (200, &json!(true)), "{hit}");
    }
    let list: Value = reqwest::get(format!("{}/v1/builds", server.url))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(list["value"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_or_of_another_time_is_not_believed_and_bad_messages_are_explained() {
    let kiln = Kiln::new();
    let secret = SigningSecret::generate();
    let server = serve(&kiln, &source(&kiln, "platform", "", &secret));
    let url = format!("{}/v1/hooks/platform", server.url);
    let body = quick("unsigned").to_string();
    let stranger = SigningSecret::generate();
    for signature in [
        Signature::of(&[stranger], "m", now(), body.as_bytes()),
        Signature::of(
            std::slice::from_ref(&secret),
            "m",
            now() - 3600,
            body.as_bytes(),
        ),
        Signature::of(std::slice::from_ref(&secret), "m", now(), b"another"),
    ] {
        let (code, answer) = send(&url, &signature, body.as_bytes(), &[]).await;
        assert_eq!(code, 401, "{answer}");
        assert_eq!(answer["error"]["class"], "auth");
    }
    for bad in [
        "{",
        "{}",
        "{\"requirements\":\"-e /etc\"}",
        "{\"requirements\":\"x\",\"workspace\":\"other\"}",
    ] {
        let signature = Signature::of(std::slice::from_ref(&secret), "b", now(), bad.as_bytes());
        let (code, answer) = send(&url, &signature, bad.as_bytes(), &[]).await;
        assert_eq!(code, 400, "{bad} -> {answer}");
        assert!(!answer["error"]["remedy"].as_str().unwrap().is_empty());
    }
    let missing = format!("{}/v1/hooks/nobody", server.url);
    let signature = Signature::of(&[secret], "m", now(), body.as_bytes());
    assert_eq!(
        send(&missing, &signature, body.as_bytes(), &[]).await.0,
        404
    );
    let list: Value = reqwest::get(format!("{}/v1/builds", server.url))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(list["value"], json!([]));
}

/// What a receiver got.
#[derive(Default)]
struct Inbox {
    /// Headers and body of every request that was answered with 200.
    taken: Vec<(HeaderMap, Bytes)>,
    /// What the next requests are answered with, before 200.
    answers: Vec<StatusCode>,
}

/// A receiver of events on a free port; it ends with the test's runtime.
async fn receiver(inbox: Arc<Mutex<Inbox>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let take = move |headers: HeaderMap, body: Bytes| {
        let inbox = Arc::clone(&inbox);
        async move {
            let mut inbox = inbox.lock().unwrap();
            if let Some(answer) = inbox.answers.pop() {
                return answer;
            }
            inbox.taken.push((headers, body));
            StatusCode::OK
        }
    };
    let app = axum::Router::new().route("/events", axum::routing::post(take));
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/events")
}

async fn until_taken(inbox: &Mutex<Inbox>, kind: &str) -> (HeaderMap, Bytes) {
    let limit = Instant::now() + Duration::from_mins(1);
    loop {
        let found = inbox
            .lock()
            .unwrap()
            .taken
            .iter()
            .find_map(|(headers, body)| {
                let event = CloudEvent::structured(body).unwrap();
                (event.kind == format!("io.kiln.build.{kind}"))
                    .then(|| (headers.clone(), body.clone()))
            });
        if let Some(found) = found {
            return found;
        }
        assert!(Instant::now() < limit, "no event {kind}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_gets_every_event_of_its_build_signed_also_when_it_was_down() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let inbox = Arc::new(Mutex::new(Inbox::default()));
    inbox.lock().unwrap().answers = vec![StatusCode::BAD_GATEWAY];
    let mut request = quick("callback");
    request["callback"] = receiver(Arc::clone(&inbox)).await.into();
    let http = reqwest::Client::new();
    let url = format!("{}/v1/builds", server.url);
    let accepted: Value = http
        .post(&url)
        .json(&request)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let build = accepted["build_id"].as_str().unwrap();
    let ready = until_final(&server, build).await;
    let told = kiln.run(&["hooks", "callback-secret"]);
    let secret = SigningSecret::parse(told.stdout.trim()).unwrap();
    for kind in ["queued", "started", "ready"] {
        let (headers, body) = until_taken(&inbox, kind).await;
        let id = verify(std::slice::from_ref(&secret), &headers, &body).unwrap();
        let event = CloudEvent::structured(&body).unwrap();
        assert_eq!((event.id, event.subject.as_deref()), (id, Some(build)));
        if kind == "ready" {
            let data: Value = serde_json::from_str(&event.data.unwrap()).unwrap();
            assert_eq!(data["image"], ready["image"], "{data}");
        }
    }
    let mut wrong = quick("callback 2");
    for address in ["ftp://x/", "http://user:hunter2@x/"] {
        wrong["callback"] = address.into();
        let refused = http.post(&url).json(&wrong).send().await.unwrap();
        assert_eq!(refused.status(), 400);
        assert!(!refused.text().await.unwrap().contains("hunter2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_is_added_tested_replayed_disabled_by_410_and_removed() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let inbox = Arc::new(Mutex::new(Inbox::default()));
    let address = receiver(Arc::clone(&inbox)).await;
    let hooks = |arguments: &[&str]| {
        let mut all = vec!["hooks", "--server", &server.url];
        all.extend(arguments);
        let answer = kiln.run(&all);
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.stdout
    };
    let added = hooks(&["add", &address, "--event", "ready"]);
    let (line, secret) = added.trim().split_once('\n').unwrap();
    let id = line.split_whitespace().next().unwrap().to_owned();
    let secret = [SigningSecret::parse(secret).unwrap()];
    hooks(&["test", &id]);
    let (headers, body) = until_taken(&inbox, "test").await;
    verify(&secret, &headers, &body).unwrap();
    let http = reqwest::Client::new();
    let url = format!("{}/v1/builds", server.url);
    let mut request = quick("subscribed");
    request["wait"] = json!(120);
    let ready: Value = http
        .post(&url)
        .json(&request)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(ready["state"], "READY", "{ready}");
    let (headers, body) = until_taken(&inbox, "ready").await;
    let event = verify(&secret, &headers, &body).unwrap();
    assert_eq!(
        inbox.lock().unwrap().taken.len(),
        2,
        "no event it did not ask for"
    );
    inbox.lock().unwrap().taken.clear();
    hooks(&["replay", &id, "--event", &event]);
    let (headers, body) = until_taken(&inbox, "ready").await;
    assert_eq!(
        verify(&secret, &headers, &body).unwrap(),
        event,
        "the same id"
    );
    inbox.lock().unwrap().answers = vec![StatusCode::GONE];
    hooks(&["test", &id]);
    let limit = Instant::now() + Duration::from_mins(1);
    while !hooks(&["list"]).contains("disabled: the receiver answered 410") {
        assert!(Instant::now() < limit, "not disabled");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    hooks(&["enable", &id]);
    assert!(hooks(&["list"]).contains("active"));
    hooks(&["remove", &id]);
    assert_eq!(hooks(&["list"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrys_notification_marks_what_was_built_on_a_base_and_refreshes_it_by_policy() {
    let kiln = Kiln::new();
    let secret = SigningSecret::generate();
    let sources = source(
        &kiln,
        "registry",
        "kind = \"registry\"\non_push = \"refresh\"",
        &secret,
    );
    let server = serve(&kiln, &sources);
    let http = reqwest::Client::new();
    let mut request = quick("based");
    request["wait"] = json!(120);
    let url = format!("{}/v1/builds", server.url);
    let ready: Value = http
        .post(&url)
        .json(&request)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(ready["generation"], 1, "{ready}");
    let base = kiln_tests::base("debian:12");
    let (host, rest) = base.split_once('/').unwrap();
    let (repository, tag) = rest.split_once(':').unwrap();
    let notify = async |action: &str, target: Value, id: &str| {
        let body = json!({ "events": [{ "action": action, "target": target, "request": { "host": host } }] });
        let body = body.to_string();
        let signature = Signature::of(std::slice::from_ref(&secret), id, now(), body.as_bytes());
        let url = format!("{}/v1/hooks/registry", server.url);
        send(&url, &signature, body.as_bytes(), &[]).await
    };
    let digest = format!("sha256:{}", "0".repeat(64));
    let target = json!({ "repository": repository, "tag": tag, "digest": digest,
        "mediaType": "application/vnd.oci.image.manifest.v1+json" });
    let (code, report) = notify("push", target.clone(), "n-1").await;
    assert_eq!(code, 200, "{report}");
    assert_eq!(report, json!({ "outdated": 1, "refreshed": 1, "lost": 0 }));
    let (_, again) = notify("push", target, "n-2").await;
    assert_eq!(again["outdated"], 0, "told once: {again}");
    let list: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
    assert_eq!(
        list["value"].as_array().unwrap().len(),
        2,
        "a refresh began: {list}"
    );
    let refresh = list["value"][0]["build_id"].as_str().unwrap().to_owned();
    assert_eq!(until_final(&server, &refresh).await["state"], "READY");
    let image = ready["image"].as_str().unwrap();
    let (place, digest) = image.split_once('@').unwrap();
    let (host, path) = place.split_once('/').unwrap();
    let manifest = format!("http://{host}/v2/{path}/manifests/{digest}");
    assert!(
        http.delete(manifest)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let target = json!({ "repository": path, "digest": digest });
    let (_, report) = notify("delete", target, "n-3").await;
    assert_eq!(report["lost"], 1, "{report}");
}
