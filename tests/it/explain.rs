//! Why a request is answered as it is: `kiln explain` and `/v1/explain`.

use kiln_tests::Kiln;
use serde_json::{Value, json};

use crate::refresh::Channel;

fn explain(kiln: &Kiln, name: &str, text: &str, more: &[&str]) -> Value {
    let file = kiln.write(name, text);
    let arguments = [&["explain", "--json", file.to_str().unwrap()], more].concat();
    let answer = kiln.run(&arguments);
    assert_eq!(answer.code, 0, "{answer:?}");
    answer.json()
}

fn said(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_miss_a_hit_and_what_a_refresh_would_change_are_told_and_nothing_is_changed_by_it() {
    let kiln = Kiln::new();
    let channel = Channel::start(&kiln);
    let text = format!(
        "name: x\nchannels:\n  - {}\ndependencies:\n  - python=3.11\n  - numlike\n",
        channel.address
    );
    let bare = kiln_tests::base("debian:12");
    let bare = ["--base", bare.as_str()];
    let miss = explain(&kiln, "e.yml", &text, &bare);
    assert_eq!(miss["verdict"], "miss", "{miss}");
    assert_eq!(
        said(&miss, "reason"),
        "nobody asked for this definition before"
    );
    let built = kiln.build_ok("e.yml", &text, &bare);
    let hit = explain(&kiln, "e.yml", &text, &bare);
    assert_eq!(hit["verdict"], "hit", "{hit}");
    assert_eq!(hit["status"]["image"], built.json()["image"]);

    let resolving = [bare.as_slice(), &["--resolve"]].concat();
    let same = explain(&kiln, "e.yml", &text, &resolving);
    assert_eq!(same["refresh"]["same"], true, "{same}");
    channel.gain();
    let newer = explain(&kiln, "e.yml", &text, &resolving);
    assert_eq!(newer["refresh"]["same"], false, "{newer}");
    let [package] = newer["refresh"]["packages"].as_array().unwrap().as_slice() else {
        panic!("{newer}");
    };
    assert_eq!(package["name"], "numlike");
    assert!(said(package, "to").starts_with("2.0"), "{package}");
    let again = kiln.build_ok("e.yml", &text, &bare);
    assert_eq!(again.json()["image"], built.json()["image"]);
    assert_eq!(again.json()["cached"], true);
    let file = kiln.write("e.yml", &text);
    let told = kiln.run(&[&["explain", file.to_str().unwrap()], resolving.as_slice()].concat());
    assert!(told.stdout.starts_with("hit: "), "{told:?}");
    assert!(
        told.stdout
            .contains("a refresh would change:\n  conda numlike: "),
        "{told:?}"
    );
}

#[test]
fn a_pip_package_that_a_channel_has_too_is_hinted_at_and_a_failure_is_remembered() {
    let kiln = Kiln::new();
    let channel = Channel::start(&kiln);
    let text = |pip: &str, python: &str| {
        format!(
            "name: x\nchannels:\n  - {}\ndependencies:\n  - python={python}\n  - pip:\n      - {pip}\n",
            channel.address
        )
    };
    let bare = kiln_tests::base("debian:12");
    let bare = ["--base", bare.as_str()];
    let hinted = explain(&kiln, "e.yml", &text("numlike", "3.11"), &bare);
    let [hint] = hinted["hints"].as_array().unwrap().as_slice() else {
        panic!("{hinted}");
    };
    assert!(
        hint.as_str()
            .unwrap()
            .starts_with("pip `numlike`: the channel "),
        "{hint}"
    );
    let none = explain(&kiln, "e.yml", &text("nothing-like-it", "3.11"), &bare);
    assert!(none.get("hints").is_none(), "{none}");

    let impossible = text("numlike", "9.9");
    let failed = kiln.build("e.yml", &impossible, &bare);
    assert_eq!(failed.code, 1, "{failed:?}");
    let known = explain(&kiln, "e.yml", &impossible, &bare);
    assert_eq!(known["verdict"], "failed", "{known}");
    assert_eq!(
        known["status"]["error"]["class"],
        failed.json()["error"]["class"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_from_a_named_version_is_told_and_who_asks_waits_for_nothing() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let client = reqwest::Client::new();
    let send = async |method: reqwest::Method, path: &str, body: &Value| {
        let request = client.request(method, format!("{}{path}", server.url));
        let response = request.json(body).send().await.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let dockerfile = format!(
        "FROM {}\nRUN [\"sleep\", \"300\"]\n",
        kiln_tests::base("debian:12")
    );
    let environment = |variable: &str| {
        json!({
            "name": "slow",
            "python": { "userManagedDependencies": true },
            "docker": { "baseDockerfile": dockerfile },
            "environmentVariables": { "A": variable },
        })
    };
    let (post, delete) = (reqwest::Method::POST, reqwest::Method::DELETE);
    let body = json!({ "environment": environment("1") });
    let (code, started) = send(post.clone(), "/v1/builds", &body).await;
    assert_eq!(code, 202, "{started}");
    let (_, now) = send(post.clone(), "/v1/explain", &json!({ "build": body })).await;
    assert_eq!(now["verdict"], "building", "{now}");
    assert_eq!(now["compared"]["same_definition"], true, "{now}");

    let other = json!({ "environment": environment("2") });
    let (_, differs) = send(post.clone(), "/v1/explain", &json!({ "build": other })).await;
    assert_eq!(differs["verdict"], "miss", "{differs}");
    assert_eq!(
        differs["compared"]["variables"],
        json!([{ "name": "A", "from": "1", "to": "2" }]),
    );
    assert_eq!(
        differs["compared"]["with"],
        json!({ "name": "slow", "version": "1" })
    );
    let missing = json!({ "build": other, "against": "nobody:7" });
    assert_eq!(send(post.clone(), "/v1/explain", &missing).await.0, 404);
    let (_, versions) = send(
        reqwest::Method::GET,
        "/v1/environments/slow/versions",
        &Value::Null,
    )
    .await;
    assert_eq!(versions["value"].as_array().unwrap().len(), 1, "{versions}");

    // Who asked for an explanation does not keep the build alive.
    let waiter = format!("/v1/builds/{}", said(&started, "build_id"));
    let waiter = format!("{waiter}?waiter={}", said(&started, "waiter"));
    let (_, ended) = send(delete, &waiter, &Value::Null).await;
    assert_eq!(ended["state"], "CANCELLED", "{ended}");
}
