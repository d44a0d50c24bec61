//! Nothing accepted is lost: crashes, cancels, repeats, full queues and disks.

use std::time::{Duration, Instant};

use kiln_tests::{Docker, Kiln, Proxy};
use rstest::rstest;
use serde_json::{Value, json};

/// An environment of the base's own packages: quick to build.
fn quick(name: &str) -> Value {
    json!({ "environment": {
        "python": { "userManagedDependencies": true },
        "docker": { "baseImage": kiln_tests::base("debian:12") },
        "environmentVariables": { "NAME": name },
    } })
}

/// An environment that takes as long as it is let.
fn slow(name: &str) -> Value {
    let dockerfile = format!(
        "FROM {}\nENV NAME={name}\nRUN [\"sleep\", \"300\"]\n",
        kiln_tests::base("debian:12")
    );
    json!({ "environment": {
        "python": { "userManagedDependencies": true },
        "docker": { "baseDockerfile": dockerfile },
        "environmentVariables": {},
    } })
}

struct Api {
    http: reqwest::Client,
    url: String,
}

impl Api {
    fn new(url: &str) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: format!("{url}/v1/builds"),
        }
    }

    async fn post(&self, body: &Value) -> (u16, Value) {
        let response = self.http.post(&self.url).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn show(&self, id: &str) -> Value {
        let response = self.http.get(format!("{}/{id}", self.url)).send().await;
        response.unwrap().json().await.unwrap()
    }

    async fn until(&self, id: &str, state: &str) -> Value {
        let limit = Instant::now() + Duration::from_mins(2);
        loop {
            let status = self.show(id).await;
            if status["state"] == state {
                return status;
            }
            assert!(Instant::now() < limit, "not {state}: {status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn withdraw(&self, id: &str, query: &str) -> Value {
        let url = format!("{}/{id}{query}", self.url);
        let response = self.http.delete(url).send().await.unwrap();
        response.json().await.unwrap()
    }
}

fn id(status: &Value) -> String {
    status["build_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_equal_requests_at_once_are_one_build_and_ten_thousand_equal_answers() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let api = std::sync::Arc::new(Api::new(&server.url));
    let mut body = quick("ten thousand");
    body["wait"] = json!(300);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..10_000 {
        let (api, body) = (std::sync::Arc::clone(&api), body.clone());
        requests.spawn(async move { api.post(&body).await });
    }
    let mut images = std::collections::BTreeSet::new();
    while let Some(answer) = requests.join_next().await {
        let (code, status) = answer.unwrap();
        assert_eq!((code, &status["state"]), (200, &json!("READY")), "{status}");
        images.insert(status["image"].as_str().unwrap().to_owned());
    }
    assert_eq!(images.len(), 1, "{images:?}");
    let list = reqwest::get(&api.url)
        .await
        .unwrap()
        .json::<Value>()
        .await
        .unwrap();
    assert_eq!(list["value"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_stopped_when_the_last_who_waits_withdraws() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let api = Api::new(&server.url);
    let (_, first) = api.post(&slow("waiters")).await;
    let (_, second) = api.post(&slow("waiters")).await;
    let build = id(&first);
    assert_eq!(id(&second), build);
    assert_eq!(
        (&first["joined"], &second["joined"]),
        (&json!(false), &json!(true))
    );
    api.until(&build, "BUILDING").await;
    let waiter = |status: &Value| format!("?waiter={}", status["waiter"].as_str().unwrap());
    let one = api.withdraw(&build, &waiter(&first)).await;
    assert_eq!(one["state"], "BUILDING", "the other waits: {one}");
    let none = api.withdraw(&build, &waiter(&second)).await;
    assert_eq!(none["state"], "CANCELLED", "{none}");
    assert_eq!(Docker::leftovers(&build), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_waits_for_room_is_cancelled_at_once_and_a_full_queue_says_when_to_come_back()
{
    let kiln = Kiln::new()
        .env("KILN_LIMITS_MAX_BUILDS", "1")
        .env("KILN_LIMITS_QUEUE", "1");
    let server = kiln.serve().unwrap();
    let api = Api::new(&server.url);
    let (_, runs) = api.post(&slow("runs")).await;
    api.until(&id(&runs), "BUILDING").await;
    let (code, waits) = api.post(&slow("waits")).await;
    assert_eq!(code, 202, "{waits}");
    let refused = api
        .http
        .post(&api.url)
        .json(&slow("refused"))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 429);
    let seconds = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse::<u64>();
    assert!(seconds.unwrap() > 0);
    let (code, joined) = api.post(&slow("waits")).await;
    assert_eq!(
        (code, &joined["joined"]),
        (202, &json!(true)),
        "joining needs no room"
    );
    let cancelled = api.withdraw(&id(&waits), "").await;
    assert_eq!(cancelled["state"], "CANCELLED", "{cancelled}");
    let (code, accepted) = api.post(&slow("refused")).await;
    assert_eq!(code, 202, "there is room again: {accepted}");
    for build in [&accepted, &runs] {
        api.withdraw(&id(build), "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_names_one_request() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let api = Api::new(&server.url);
    let send = async |body: &Value| {
        let request = api.http.post(&api.url).header("Idempotency-Key", "k-1");
        let response = request.json(body).send().await.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let mut refresh = quick("keys");
    refresh["refresh"] = json!(true);
    let (_, first) = send(&refresh).await;
    api.until(&id(&first), "READY").await;
    let (code, again) = send(&refresh).await;
    assert_eq!(
        (code, id(&again)),
        (200, id(&first)),
        "no second refresh: {again}"
    );
    let (code, other) = send(&quick("another")).await;
    assert_eq!(code, 409, "{other}");
    let list = reqwest::get(&api.url)
        .await
        .unwrap()
        .json::<Value>()
        .await
        .unwrap();
    assert_eq!(list["value"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_space_new_builds_are_refused_hits_are_not_and_space_is_enough_to_recover() {
    let kiln = Kiln::new().env("KILN_LIMITS_DISK_RESERVE_MIB", "600");
    let mount = kiln.path().join("small");
    fs_err::create_dir(&mount).unwrap();
    let small = crate::faults::SmallDisk::mount(&mount, "1g");
    let kiln = kiln.env("KILN_DATA", "");
    let mut command = kiln.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("KILN_DATA", mount.join("data"));
    let server = kiln_tests::Server::start(command).unwrap();
    let api = Api::new(&server.url);
    let (_, built) = api.post(&quick("hit")).await;
    api.until(&id(&built), "READY").await;
    fs_err::write(mount.join("filler"), vec![1; 450 << 20]).unwrap();
    let (code, refused) = api.post(&quick("new")).await;
    assert_eq!(code, 503, "{refused}");
    assert_eq!(refused["error"]["class"], "disk", "{refused}");
    let (code, hit) = api.post(&quick("hit")).await;
    assert_eq!((code, &hit["cached"]), (200, &json!(true)), "{hit}");
    fs_err::remove_file(mount.join("filler")).unwrap();
    let (code, accepted) = api.post(&quick("new")).await;
    assert_eq!(code, 202, "{accepted}");
    api.until(&id(&accepted), "READY").await;
    drop((server, small));
}

/// kiln is killed at a step of the commit; the next process ends the build, and never builds what is
/// in the registry already.
#[rstest]
#[case("before-building")]
#[case("before-push-note")]
#[case("before-manifest")]
#[case("before-verify")]
#[case("before-ready")]
#[case("before-tags")]
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_two_steps_costs_no_accepted_build_and_no_second_image(
    #[case] point: &str,
) {
    let prefix = kiln_tests::fresh_prefix();
    let (host, rest) = prefix.split_once('/').unwrap();
    let proxy = Proxy::start(host, |_, _| None).await.unwrap();
    let registry = format!("{}/{rest}", proxy.host);
    let kiln = Kiln::with_registry(&registry);
    let mut command = kiln.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("KILN_FAILPOINT", point);
    let server = kiln_tests::Server::start(command).unwrap();
    let (code, accepted) = Api::new(&server.url).post(&quick(point)).await;
    assert_eq!(code, 202, "{accepted}");
    let status = server.wait().unwrap();
    assert!(!status.success(), "{point} was passed");
    let server = kiln.serve().unwrap();
    let api = Api::new(&server.url);
    let ready = api.until(&id(&accepted), "READY").await;
    let image = ready["image"].as_str().unwrap();
    let (repository, digest) = image.split_once('@').unwrap();
    let path = repository.strip_prefix(&proxy.host).unwrap();
    let manifests: Vec<String> = proxy
        .seen()
        .into_iter()
        .filter(|line| line.starts_with("PUT ") && line.contains("/manifests/sha256:"))
        .collect();
    assert_eq!(
        manifests,
        [format!("PUT /v2{path}/manifests/{digest}")],
        "{point}"
    );
    for tag in ["1", "latest"] {
        let url = format!("http://{}/v2{path}/manifests/{tag}", proxy.host);
        let limit = Instant::now() + Duration::from_mins(1);
        loop {
            let accept = "application/vnd.oci.image.manifest.v1+json";
            let answer = api
                .http
                .get(&url)
                .header("accept", accept)
                .send()
                .await
                .unwrap();
            let found = answer.headers().get("docker-content-digest");
            if found.is_some_and(|found| found == digest) {
                break;
            }
            assert!(
                Instant::now() < limit,
                "{tag} is not set: {}",
                answer.status()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(Docker::leftovers(&id(&accepted)), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_for_longer_than_an_attempt_costs_time_and_no_build() {
    let prefix = kiln_tests::fresh_prefix();
    let (host, rest) = prefix.split_once('/').unwrap();
    let proxy = Proxy::start(host, |_, _| Some(kiln_tests::Fault::Fails))
        .await
        .unwrap();
    let kiln = Kiln::with_registry(&format!("{}/{rest}", proxy.host))
        .env("KILN_LIMITS_REGISTRY_BUDGET", "1");
    let server = kiln.serve().unwrap();
    let api = Api::new(&server.url);
    let (_, accepted) = api.post(&quick("away")).await;
    let build = id(&accepted);
    let logs = format!("{}/{build}/logs?format=text", api.url);
    let mut log = api.http.get(&logs).send().await.unwrap();
    let mut seen = String::new();
    while !seen.contains("it is tried again in") {
        let chunk = log.chunk().await.unwrap().expect("the log goes on");
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
    proxy.script(|_, _| None);
    api.until(&build, "READY").await;
    while let Some(chunk) = log.chunk().await.unwrap() {
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(
        seen.contains("attempt 2") && seen.contains("== READY"),
        "{seen}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_kiln_parks_what_runs_and_the_next_start_goes_on_with_it() {
    let kiln = Kiln::new().env("KILN_LIMITS_DRAIN", "1");
    let server = kiln.serve().unwrap();
    let api = Api::new(&server.url);
    let (_, accepted) = api.post(&slow("parked")).await;
    let build = id(&accepted);
    api.until(&build, "BUILDING").await;
    let began = Instant::now();
    assert!(server.terminate().unwrap().success());
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(Docker::leftovers(&build), "", "nothing runs on");
    let server = kiln.serve().unwrap();
    let api = Api::new(&server.url);
    api.until(&build, "BUILDING").await;
    let ended = api.withdraw(&build, "").await;
    assert_eq!(ended["state"], "CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_crashes_kiln_three_times_is_quarantined_until_somebody_retries() {
    let kiln = Kiln::new();
    let mut build = String::new();
    for _ in 0..3 {
        let mut command = kiln.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.env("KILN_FAILPOINT", "before-building");
        let server = kiln_tests::Server::start(command).unwrap();
        if build.is_empty() {
            build = id(&Api::new(&server.url).post(&quick("poison")).await.1);
        }
        assert!(!server.wait().unwrap().success());
    }
    let server = kiln.serve().unwrap();
    let api = Api::new(&server.url);
    let failed = api.until(&build, "FAILED").await;
    assert_eq!(failed["error"]["class"], "internal", "{failed}");
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("quarantined"), "{message}");
    let (code, again) = api.post(&quick("poison")).await;
    assert_eq!((code, &again["state"]), (200, &json!("FAILED")), "{again}");
    let mut retry = quick("poison");
    retry["retry"] = json!(true);
    let (_, accepted) = api.post(&retry).await;
    api.until(&id(&accepted), "READY").await;
}
