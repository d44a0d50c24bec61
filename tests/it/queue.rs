//! The queue as a platform uses it: requests by NATS JetStream, results at the subject they name.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use kiln_events::{CloudEvent, Signature, SigningSecret};
use kiln_tests::{Kiln, Server};
use serde_json::{Value, json};

#[path = "../../crates/kiln-queue/tests/it/broker.rs"]
pub(crate) mod broker;

use broker::TestBroker;

/// An environment of the base's own packages: quick to build.
fn quick(name: &str) -> Value {
    json!({ "environment": {
        "python": { "userManagedDependencies": true },
        "docker": { "baseImage": kiln_tests::base("debian:12") },
        "environmentVariables": { "NAME": name },
    } })
}

fn event(id: &str, data: &Value, reply_to: Option<&str>) -> Vec<u8> {
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": "/registry",
        "type": "io.kiln.build.requested", "data": data,
    });
    if let Some(subject) = reply_to {
        event["kilnreplyto"] = subject.into();
    }
    event.to_string().into_bytes()
}

fn serve(kiln: &Kiln, broker: &TestBroker, more: &str) -> Server {
    let config = format!("{more}\n[queue]\nservers = [\"{}\"]\n", broker.address());
    let mut command = kiln.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("KILN_CONFIG", kiln.write("kiln.toml", &config));
    Server::start(command).unwrap()
}

/// JetStream, once kiln has made its streams.
async fn jetstream(broker: &TestBroker) -> jetstream::Context {
    let client = async_nats::connect(broker.address()).await.unwrap();
    let context = jetstream::new(client);
    let limit = Instant::now() + Duration::from_secs(30);
    while context.get_stream("kiln").await.is_err()
        || context.get_stream("kiln-results").await.is_err()
    {
        assert!(Instant::now() < limit, "kiln made no streams");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    context
}

async fn publish(context: &jetstream::Context, payload: Vec<u8>) {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("content-type", "application/cloudevents+json");
    let sent = context
        .publish_with_headers("kiln.builds", headers, payload.into())
        .await;
    sent.unwrap().await.unwrap();
}

/// The data of a subject's event of this type, once it is there; events may come in another order.
async fn until_told(context: &jetstream::Context, subject: &str, kind: &str) -> Value {
    let mut stream = context.get_stream("kiln-results").await.unwrap();
    let limit = Instant::now() + Duration::from_mins(2);
    let mut seen = 0;
    loop {
        let last = stream.info().await.unwrap().state.last_sequence;
        for sequence in seen + 1..=last {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let event = CloudEvent::structured(&message.payload).unwrap();
            if message.subject.as_str() == subject && event.kind == format!("io.kiln.build.{kind}")
            {
                return serde_json::from_str(&event.data.unwrap()).unwrap();
            }
        }
        seen = last;
        assert!(Instant::now() < limit, "no {kind} at {subject}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn builds(server: &Server) -> Vec<Value> {
    let list: Value = reqwest::get(format!("{}/v1/builds", server.url))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    list["value"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_built_answered_at_its_subject_and_poison_lies_in_the_dead_letters() {
    let broker = TestBroker::start();
    let kiln = Kiln::new();
    let server = serve(&kiln, &broker, "");
    let context = jetstream(&broker).await;
    publish(&context, b"{ poison".to_vec()).await;
    publish(
        &context,
        event("q-1", &quick("queue"), Some("kiln.results.one")),
    )
    .await;
    let ready = until_told(&context, "kiln.results.one", "ready").await;
    assert_eq!(ready["state"], "READY", "{ready}");
    let known = builds(&server).await;
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!(known[0]["image"], ready["image"]);
    let dead = context.get_stream("kiln-dead").await.unwrap();
    let letter = dead
        .get_last_raw_message_by_subject("kiln.dead")
        .await
        .unwrap();
    assert_eq!(&letter.payload[..], b"{ poison");
    assert!(server.terminate().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_in_the_middle_of_a_build_loses_and_doubles_nothing() {
    let mut broker = TestBroker::start();
    let kiln = Kiln::new();
    let server = serve(&kiln, &broker, "");
    let context = jetstream(&broker).await;
    for n in 0..5 {
        let data = quick(&format!("restart {n}"));
        publish(
            &context,
            event(&format!("r-{n}"), &data, Some(&format!("kiln.results.{n}"))),
        )
        .await;
    }
    let limit = Instant::now() + Duration::from_mins(1);
    while builds(&server).await.is_empty() {
        assert!(Instant::now() < limit, "nothing was taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    broker.kill();
    broker.run();
    let context = jetstream(&broker).await;
    for n in 0..5 {
        until_told(&context, &format!("kiln.results.{n}"), "ready").await;
    }
    assert_eq!(builds(&server).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_by_http_webhook_and_queue_three_hundred_times_each_is_one_build() {
    let broker = TestBroker::start();
    let kiln = Kiln::new();
    let secret = SigningSecret::generate();
    let file = kiln.write("platform.secret", secret.expose());
    let source = format!(
        "[[hooks.sources]]\nname = \"p\"\nsecret_files = [\"{}\"]\n",
        file.display()
    );
    let server = serve(&kiln, &broker, &source);
    let context = jetstream(&broker).await;
    let data = quick("mixed");
    let http = reqwest::Client::new();
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..300 {
        let message = event(&format!("mixed-{n}"), &data, None);
        let (url, body) = (format!("{}/v1/builds", server.url), data.to_string());
        let post = http
            .post(url)
            .header("content-type", "application/json")
            .body(body);
        requests.spawn(async move { post.send().await.unwrap().status().as_u16() });
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        let id = format!("m-{n}");
        let signature = Signature::of(std::slice::from_ref(&secret), &id, now, &message);
        let mut post = http
            .post(format!("{}/v1/hooks/p", server.url))
            .header("content-type", kiln_events::STRUCTURED)
            .body(message.clone());
        for (name, value) in signature.headers() {
            post = post.header(name, value);
        }
        requests.spawn(async move { post.send().await.unwrap().status().as_u16() });
        let context = context.clone();
        requests.spawn(async move {
            publish(&context, message).await;
            202
        });
    }
    while let Some(code) = requests.join_next().await {
        assert!([200, 202].contains(&code.unwrap()));
    }
    let limit = Instant::now() + Duration::from_mins(2);
    loop {
        let mut stream = context.get_stream("kiln").await.unwrap();
        if stream.info().await.unwrap().state.messages == 0 {
            break;
        }
        assert!(Instant::now() < limit, "messages are left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let known = builds(&server).await;
    assert_eq!(known.len(), 1, "{known:?}");
}
