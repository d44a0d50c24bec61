//! The native HTTP API of `kiln serve`.

use futures::future::join_all;
use kiln_tests::{Docker, Kiln};
use serde_json::{Value, json};

fn requirements() -> String {
    format!("--index-url {}/simple/\nfoo==1.0\n", kiln_tests::channels())
}

async fn post(url: &str, body: &Value) -> (u16, Value) {
    let response = reqwest::Client::new()
        .post(url)
        .json(body)
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_equal_requests_are_one_build_and_a_hundred_equal_digests() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let url = format!("{}/v1/builds", server.url);
    let body = json!({ "requirements": requirements(), "wait": 600 });
    let answers = join_all((0..100).map(|_| post(&url, &body))).await;
    let images: Vec<&str> = answers
        .iter()
        .filter_map(|(_, a)| a["image"].as_str())
        .collect();
    assert_eq!(
        images.len(),
        100,
        "{:?}",
        answers.iter().find(|(_, a)| a["image"].is_null())
    );
    assert!(images.iter().all(|image| *image == images[0]));
    assert!(
        answers
            .iter()
            .all(|(code, a)| *code == 200 && a["state"] == "READY")
    );
    let started = answers
        .iter()
        .filter(|(_, a)| a["cached"] == false && a["joined"] == false)
        .count();
    assert_eq!(started, 1);
    let list: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
    assert_eq!(list["value"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_accepted_followed_and_read_back() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let url = format!("{}/v1/builds", server.url);
    let (code, status) = post(&url, &json!({ "requirements": requirements() })).await;
    assert_eq!(code, 202, "{status}");
    let id = status["build_id"].as_str().unwrap();
    let logs = format!("{url}/{id}/logs");
    let events = reqwest::get(&logs).await.unwrap().text().await.unwrap();
    let ids: Vec<u64> = events
        .lines()
        .filter_map(|line| line.strip_prefix("id: ")?.parse().ok())
        .collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    for state in ["RESOLVING", "BUILDING", "PUSHING", "READY"] {
        assert!(
            events.contains(&format!("\"text\":\"{state}\"")),
            "{state} is missing: {events}"
        );
    }
    let client = reqwest::Client::new();
    let rest = client
        .get(&logs)
        .header("Last-Event-ID", (ids.len() - 1).to_string());
    let rest = rest.send().await.unwrap().text().await.unwrap();
    assert_eq!(
        rest.lines().filter(|line| line.starts_with("id: ")).count(),
        1
    );
    let shown: Value = reqwest::get(format!("{url}/{id}"))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(shown["state"], "READY");
    assert_eq!(shown["name"], status["name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_request_are_told_with_a_remedy_and_start_nothing() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let url = format!("{}/v1/builds", server.url);
    for body in [
        json!({ "gpu": true }),
        json!({ "conda": "name: x\n", "requirements": "x\n" }),
        json!({ "requirements": "-e /etc\n" }),
        json!({ "requirements": "x\n", "unknown": 1 }),
        json!({ "environment": { "name": "x" } }),
    ] {
        let (code, answer) = post(&url, &body).await;
        assert_eq!(code, 400, "{body} -> {answer}");
        assert_eq!(answer["error"]["class"], "invalid");
        assert!(!answer["error"]["remedy"].as_str().unwrap().is_empty());
    }
    let list: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
    assert_eq!(list["value"], json!([]));
    let missing = reqwest::get(format!("{url}/none")).await.unwrap();
    assert_eq!(missing.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_stops_and_leaves_nothing_behind() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let url = format!("{}/v1/builds", server.url);
    let dockerfile = format!(
        "FROM {}\nRUN [\"sleep\", \"300\"]\n",
        kiln_tests::base("debian:12")
    );
    let environment = json!({
        "python": { "userManagedDependencies": true },
        "docker": { "baseDockerfile": dockerfile },
        "environmentVariables": {},
    });
    let (code, status) = post(&url, &json!({ "environment": environment })).await;
    assert_eq!(code, 202, "{status}");
    let id = status["build_id"].as_str().unwrap().to_owned();
    let mut log = reqwest::get(format!("{url}/{id}/logs")).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("BUILDING") {
        let chunk = log.chunk().await.unwrap().expect("the log goes on");
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
    let client = reqwest::Client::new();
    let ended = client.delete(format!("{url}/{id}")).send().await.unwrap();
    let ended: Value = ended.json().await.unwrap();
    assert_eq!(ended["state"], "CANCELLED", "{ended}");
    assert_eq!(ended["error"]["class"], "cancelled");
    assert_eq!(Docker::leftovers(&id), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_a_crash_interrupted_goes_on_after_the_restart() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let body = json!({ "requirements": requirements() });
    let (code, status) = post(&format!("{}/v1/builds", server.url), &body).await;
    assert_eq!(code, 202);
    let id = status["build_id"].as_str().unwrap().to_owned();
    server.kill();
    let server = kiln.serve().unwrap();
    let logs = reqwest::get(format!("{}/v1/builds/{id}/logs", server.url))
        .await
        .unwrap();
    logs.text().await.unwrap();
    let waited = json!({ "requirements": requirements(), "wait": 600 });
    let (_, again) = post(&format!("{}/v1/builds", server.url), &waited).await;
    assert_eq!(again["state"], "READY", "{again}");
    let url = format!("{}/v1/builds/{id}", server.url);
    let first: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(first["state"], "READY");
    assert!(server.terminate().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_every_route_but_health_needs_one_and_a_foreign_workspace_is_absent() {
    use sha2_hex::sha256_hex;
    let kiln = Kiln::new();
    let config = format!(
        "[[auth.tokens]]\nname = \"ci\"\nsha256 = \"{}\"\nrights = [\"read\"]\nworkspace = \"a\"\n",
        sha256_hex("sesame")
    );
    let path = kiln.write("kiln.toml", &config);
    let kiln = kiln.env("KILN_CONFIG", path.to_str().unwrap());
    let server = kiln.serve().unwrap();
    let client = reqwest::Client::new();
    let get = |path: &str, token: Option<&str>| {
        let request = client.get(format!("{}{path}", server.url));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(get("/live", None).await, 200);
    assert_eq!(get("/ready", None).await, 200);
    for path in [
        "/v1/builds",
        "/v1/builds/x",
        "/v1/builds/x/logs",
        "/v1/defaults",
    ] {
        assert_eq!(get(path, None).await, 401, "{path}");
        assert_eq!(get(path, Some("guess")).await, 401, "{path}");
    }
    assert_eq!(get("/v1/builds?workspace=a", Some("sesame")).await, 200);
    assert_eq!(get("/v1/builds?workspace=b", Some("sesame")).await, 404);
    let body = json!({ "requirements": requirements(), "workspace": "a" });
    let post = client
        .post(format!("{}/v1/builds", server.url))
        .bearer_auth("sesame")
        .json(&body);
    assert_eq!(post.send().await.unwrap().status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_build_gets_no_hit_either_however_often_it_was_one() {
    use sha2_hex::sha256_hex;
    let kiln = Kiln::new();
    let token = |name: &str, rights: &str| {
        let digest = sha256_hex(name);
        format!(
            "[[auth.tokens]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nrights = [{rights}]\nworkspace = \"a\"\n"
        )
    };
    let config = token("builder", "\"read\", \"build\"") + &token("reader", "\"read\"");
    let path = kiln.write("kiln.toml", &config);
    let kiln = kiln.env("KILN_CONFIG", path.to_str().unwrap());
    let server = kiln.serve().unwrap();
    let body = json!({ "environment": {
        "python": { "userManagedDependencies": true },
        "docker": { "baseImage": kiln_tests::base("debian:12") },
    }, "workspace": "a", "wait": 120 });
    let post = async |token: &str| {
        let request = reqwest::Client::new().post(format!("{}/v1/builds", server.url));
        let answer = request.bearer_auth(token).json(&body).send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let (code, built) = post("builder").await;
    assert_eq!((code, &built["cached"]), (200, &json!(false)), "{built}");
    for _ in 0..3 {
        let (code, hit) = post("builder").await;
        assert_eq!((code, &hit["cached"]), (200, &json!(true)), "{hit}");
        assert_eq!(hit["image"], built["image"]);
        let (code, refused) = post("reader").await;
        assert_eq!(code, 403, "{refused}");
    }
}

pub(crate) mod sha2_hex {
    /// `sha256sum`, to be independent of the code under test.
    pub(crate) fn sha256_hex(text: &str) -> String {
        use std::io::Write as _;
        let mut child = std::process::Command::new("sha256sum")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()[..64].to_owned()
    }
}
