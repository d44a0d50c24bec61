//! Garbage collection: what nothing needs goes, what something needs stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_tests::{Kiln, Proxy};
use serde_json::{Value, json};

use crate::api::sha2_hex::sha256_hex;

/// A pip environment of an index, with a name that makes it another.
fn requirements(index: &str, package: &str) -> String {
    format!("--index-url http://{index}/simple/\n{package}\n")
}

/// The test bed's server of indexes, seen through a proxy that writes down what is fetched.
async fn index() -> Proxy {
    let channels = kiln_tests::channels();
    let host = channels.strip_prefix("http://").unwrap();
    Proxy::start(host, |_, _| None).await.unwrap()
}

/// How often a wheel was fetched.
fn fetches(index: &Proxy) -> usize {
    let wheel = |line: &&String| line.starts_with("GET ") && line.contains(".whl");
    index.seen().iter().filter(wheel).count()
}

/// The files of all archives.
fn archives(kiln: &Kiln) -> Vec<PathBuf> {
    let folders = fs_err::read_dir(kiln.data().join("blobs/sha256")).unwrap();
    let files = folders.flat_map(|folder| fs_err::read_dir(folder.unwrap().path()).unwrap());
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

async fn run(kiln: &Arc<Kiln>, arguments: &[&str]) -> Value {
    let kiln = Arc::clone(kiln);
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let work = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let answer = kiln.run(&arguments);
        assert_eq!(answer.code, 0, "{arguments:?}: {answer:#?}");
        answer.json()
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn build(kiln: &Arc<Kiln>, text: &str, more: &[&str]) -> Value {
    let file = kiln.write("requirements.txt", text);
    let mut arguments = vec!["build", file.to_str().unwrap(), "--json"];
    arguments.extend(more);
    run(kiln, &arguments).await
}

async fn lose(image: &Value) {
    let (repository, digest) = image.as_str().unwrap().split_once('@').unwrap();
    let (host, path) = repository.split_once('/').unwrap();
    let url = format!("http://{host}/v2/{path}/manifests/{digest}");
    let gone = reqwest::Client::new().delete(url).send().await.unwrap();
    assert!(gone.status().is_success(), "{}", gone.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_current_generation_needs_stays_and_what_goes_is_fetched_again() {
    let index = index().await;
    let kiln = Arc::new(Kiln::new());
    let text = requirements(&index.host, "foo==1.0");
    let built = build(&kiln, &text, &[]).await;
    assert!(fetches(&index) > 0);
    let needed = archives(&kiln);
    // A lock without a build needs no archives.
    let file = kiln.write("locked.txt", &requirements(&index.host, "fancy"));
    let folder = kiln.path().join("ejected");
    let ejected = [
        "eject",
        file.to_str().unwrap(),
        "-o",
        folder.to_str().unwrap(),
    ];
    let ejected = kiln.run(&ejected);
    assert_eq!(ejected.code, 0, "{ejected:#?}");
    let all = archives(&kiln);
    assert!(all.len() > needed.len());

    let young = run(&kiln, &["gc", "--apply", "--json"]).await;
    assert_eq!(young["archives"]["count"], 0, "it has its grace: {young}");
    let told = run(&kiln, &["gc", "--grace", "0", "--json"]).await;
    let count = all.len() - needed.len();
    assert_eq!(
        (&told["applied"], &told["archives"]["count"]),
        (&json!(false), &json!(count)),
        "{told}"
    );
    assert_eq!(archives(&kiln), all, "a look changes nothing");
    let went = run(&kiln, &["gc", "--grace", "0", "--apply", "--json"]).await;
    for field in ["archives", "first", "locks"] {
        assert_eq!(went[field], told[field], "{field}");
    }
    assert_eq!(archives(&kiln), needed);

    let log = format!("logs/{}.jsonl", built["build_id"].as_str().unwrap());
    let log = kiln.data().join(log);
    let now = std::time::SystemTime::now();
    for (days, stays) in [(29, true), (31, false)] {
        let file = fs_err::File::options().write(true).open(&log).unwrap();
        let written = now - Duration::from_hours(24 * days);
        file.into_file().set_modified(written).unwrap();
        run(&kiln, &["gc", "--apply", "--json"]).await;
        assert_eq!(log.exists(), stays, "{days} days");
    }

    lose(&built["image"]).await;
    let before = fetches(&index);
    let rebuilt = build(&kiln, &text, &[]).await;
    assert_eq!(rebuilt["cached"], false, "{rebuilt}");
    assert_eq!(fetches(&index), before, "its lock and archives were there");
    let again = build(&kiln, &requirements(&index.host, "fancy"), &[]).await;
    assert_eq!(again["state"], "READY", "{again}");
    assert!(fetches(&index) > before, "what went is fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_without_grace_take_nothing_from_the_builds_that_run_meanwhile() {
    let kiln = Arc::new(Kiln::new().env("KILN_LIMITS_MAX_BUILDS", "3"));
    let server = kiln.serve().unwrap();
    let http = reqwest::Client::new();
    let over = Arc::new(AtomicBool::new(false));
    let collecting = {
        let (over, http) = (Arc::clone(&over), http.clone());
        let url = format!("{}/v1/gc", server.url);
        async move {
            let mut collections = 0;
            while !over.load(Ordering::Relaxed) {
                let body = json!({ "apply": true, "grace_seconds": 0 });
                let answer = http.post(&url).json(&body).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                let report: Value = answer.json().await.unwrap();
                assert_eq!(report["applied"], true, "{report}");
                collections += 1;
            }
            collections
        }
    };
    let builds = async {
        let channels = kiln_tests::channels();
        // conda and pip: packages are fetched to resolve, before there is a lock. All share python.
        let environment = |pip: &str| {
            format!(
                "channels: [synthetic]\ndependencies:\n- python=3.11\n- hello\n- links\n\
                 - pip:\n  - --index-url {channels}/simple/\n  - {pip}\n"
            )
        };
        let pip = [
            "foo==1.0",
            "foo==2.0",
            "fancy",
            "commands",
            "wants-foo-1",
            "ns-one",
        ];
        let bodies = pip.map(|pip| {
            json!({
                "conda": environment(pip), "base": kiln_tests::base("debian:12"), "wait": 600,
            })
        });
        let posts = bodies.iter().map(|body| {
            let request = http.post(format!("{}/v1/builds", server.url)).json(body);
            async move { request.send().await.unwrap().json::<Value>().await.unwrap() }
        });
        let statuses = futures::future::join_all(posts).await;
        over.store(true, Ordering::Relaxed);
        statuses
    };
    let (collections, statuses) = tokio::join!(collecting, builds);
    for status in &statuses {
        assert_eq!(status["state"], "READY", "{status}");
    }
    assert!(collections > 10, "{collections}");
    let files = archives(&kiln);
    let body = json!({ "apply": true, "grace_seconds": 0 });
    let answer = http.post(format!("{}/v1/gc", server.url)).json(&body);
    let report: Value = answer.send().await.unwrap().json().await.unwrap();
    assert_eq!(report["archives"]["count"], 0, "{report}");
    assert_eq!(archives(&kiln), files);
    assert!(server.terminate().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_builds_archives_wait_for_it_and_others_go_on() {
    let kiln = Kiln::new();
    let mut command = kiln.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("KILN_FAILPOINT", "before-building");
    let server = kiln_tests::Server::start(command).unwrap();
    let index = index().await;
    let body = json!({ "requirements": requirements(&index.host, "foo==1.0") });
    let http = reqwest::Client::new();
    let accepted = http.post(format!("{}/v1/builds", server.url)).json(&body);
    let accepted: Value = accepted.send().await.unwrap().json().await.unwrap();
    assert!(!server.wait().unwrap().success());
    let files = archives(&kiln);
    assert!(!files.is_empty());
    let kiln = Arc::new(kiln);
    // No server runs: the command works on the folder itself, and ends no accepted build.
    let report = run(&kiln, &["gc", "--grace", "0", "--apply", "--json"]).await;
    assert_eq!(report["archives"]["count"], 0, "{report}");
    assert_eq!(archives(&kiln), files);
    let before = fetches(&index);
    let server = kiln.serve().unwrap();
    let id = accepted["build_id"].as_str().unwrap();
    let limit = Instant::now() + Duration::from_mins(2);
    loop {
        let status = http.get(format!("{}/v1/builds/{id}", server.url)).send();
        let status: Value = status.await.unwrap().json().await.unwrap();
        if status["state"] == "READY" {
            break;
        }
        assert!(Instant::now() < limit, "{status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(fetches(&index), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_collects_by_itself_and_for_the_command_and_for_admins_alone() {
    let tokens = [
        ("all", "\"admin\"", ""),
        ("one", "\"admin\"", "a"),
        ("ci", "\"build\"", ""),
    ];
    let tokens = tokens.map(|(name, rights, workspace)| {
        let workspace = match workspace {
            "" => String::new(),
            name => format!("workspace = \"{name}\"\n"),
        };
        let hash = sha256_hex(name);
        format!(
            "[[auth.tokens]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nrights = [{rights}]\n{workspace}"
        )
    });
    let kiln = Kiln::new();
    let path = kiln.write("kiln.toml", &tokens.concat());
    let kiln = Arc::new(
        kiln.env("KILN_CONFIG", path.to_str().unwrap())
            .env("KILN_TOKEN", "all"),
    );
    let server = kiln.serve().unwrap();
    let http = reqwest::Client::new();
    for (token, expected) in [("ci", 403), ("one", 403), ("guess", 401), ("all", 200)] {
        let request = http
            .post(format!("{}/v1/gc", server.url))
            .bearer_auth(token);
        let answer = request.json(&json!({})).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{token}");
    }
    let stray = kiln.data().join("blobs/sha256/ab").join("ab".repeat(32));
    fs_err::create_dir_all(stray.parent().unwrap()).unwrap();
    fs_err::write(&stray, "stray").unwrap();
    let old = std::time::SystemTime::now() - Duration::from_hours(2);
    let file = fs_err::File::options().write(true).open(&stray).unwrap();
    file.into_file().set_modified(old).unwrap();
    let told = run(&kiln, &["gc", "--json"]).await;
    let share = json!({ "count": 1, "size_bytes": 5 });
    assert_eq!(told["archives"], share, "{told}");
    let text = kiln.run(&["gc"]);
    assert!(text.stdout.contains("would remove 5 B"), "{text:#?}");
    assert!(stray.exists());
    assert!(server.terminate().unwrap().success());
    let mut command = kiln.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("KILN_GC_EVERY", "2");
    let server = kiln_tests::Server::start(command).unwrap();
    let limit = Instant::now() + Duration::from_mins(1);
    while stray.exists() {
        assert!(Instant::now() < limit, "the server does not collect");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(server.terminate().unwrap().success());
}
