//! What a killed kiln leaves in the engine, and who removes it.

use std::collections::BTreeSet;
use std::process::Stdio;

use kiln_tests::{Docker, Fault, Kiln, Proxy};
use serde_json::{Value, json};

use crate::steps::{environment, runs, until};

/// The only build that a kiln has a log of.
fn only_build(kiln: &Kiln) -> String {
    let mut ids = fs_err::read_dir(kiln.data().join("logs"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".jsonl").map(str::to_owned)
        });
    let id = ids.next().expect("the build has a log");
    assert_eq!(ids.next(), None, "there is one build");
    id
}

/// Names of a build's images in the engine.
fn images(build_id: &str) -> BTreeSet<String> {
    let label = format!("label=io.kiln.build={build_id}");
    let listed = Docker::run(&[
        "images",
        "--filter",
        &label,
        "--format",
        "{{.Repository}}:{{.Tag}}",
    ]);
    assert_eq!(listed.code, 0, "{listed:?}");
    listed.stdout.lines().map(str::to_owned).collect()
}

/// Dies when the image is made and is not pushed yet; gives the build's id.
fn crash(kiln: &Kiln) -> String {
    let text = format!("--index-url {}/simple/\nfoo==1.0\n", kiln_tests::channels());
    let file = kiln.write("requirements.txt", &text);
    let mut command = kiln.command(&["build", file.to_str().unwrap(), "--json"]);
    let crashed = command.env("KILN_FAILPOINT", "before-push-note").output();
    let crashed = crashed.unwrap();
    assert_eq!(crashed.status.code(), None, "{crashed:?}");
    let id = only_build(kiln);
    assert_eq!(images(&id), left_by(&id), "a crash leaves these");
    id
}

/// What [`crash`] leaves.
fn left_by(build_id: &str) -> BTreeSet<String> {
    ["build", "files"]
        .map(|name| format!("kiln.invalid/{name}:{build_id}"))
        .into()
}

/// Something else that is built of the base alone.
fn another(kiln: &Kiln) {
    kiln.build_ok("environment.json", &of_the_base("another").to_string(), &[]);
}

/// An environment of the base's own packages: quick to build.
fn of_the_base(name: &str) -> Value {
    json!({
        "python": { "userManagedDependencies": true },
        "docker": { "baseImage": kiln_tests::base("debian:12") },
        "environmentVariables": { "NAME": name },
    })
}

#[test]
fn images_of_a_crashed_build_are_removed_by_the_next_build_of_something_else() {
    let kiln = Kiln::new();
    let id = crash(&kiln);
    another(&kiln);
    assert_eq!(Docker::leftovers(&id), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_a_crashed_build_are_removed_by_the_next_start_of_the_daemon() {
    let kiln = Kiln::new();
    let id = crash(&kiln);
    // The daemon goes on with the build rather than end it; then nothing of it is left.
    let server = kiln.serve().unwrap();
    until("the images are removed", || {
        Docker::leftovers(&id).is_empty()
    })
    .await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_ends_with_the_kiln_that_is_killed_while_it_runs() {
    let kiln = Kiln::new();
    let sleep = format!("302.{}", std::process::id());
    let text = environment(&format!("RUN sleep {sleep}")).to_string();
    let file = kiln.write("environment.json", &text);
    let mut command = kiln.command(&["build", file.to_str().unwrap(), "--json"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the step runs", || runs(&sleep)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    until("the step's process ends", || !runs(&sleep)).await;
    let id = only_build(&kiln);
    tokio::task::block_in_place(|| another(&kiln));
    assert_eq!(Docker::leftovers(&id), "");
}

#[test]
fn leftovers_of_another_kiln_on_the_same_engine_are_not_touched() {
    let (one, other) = (Kiln::new(), Kiln::new());
    let (ones, others) = (crash(&one), crash(&other));
    assert_eq!(images(&ones), left_by(&ones), "before anything is swept");
    another(&other);
    assert_eq!(Docker::leftovers(&others), "", "its own are removed");
    assert_eq!(
        images(&ones),
        left_by(&ones),
        "the other's builds may still run"
    );
    another(&one);
    assert_eq!(Docker::leftovers(&ones), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_a_killed_kiln_left_open_are_ended_at_the_next_start() {
    let registry = kiln_tests::fresh_prefix();
    let (host, prefix) = registry.split_once('/').unwrap();
    // Uploads are opened, and never come to their end.
    let proxy = Proxy::start(host, |method, path| {
        (method == "PUT" && path.contains("/blobs/uploads/")).then_some(Fault::Fails)
    })
    .await
    .unwrap();
    let kiln = Kiln::with_registry(&format!("{}/{prefix}", proxy.host));
    let server = kiln.serve().unwrap();
    let body = json!({ "environment": of_the_base("uploads") });
    let request = reqwest::Client::new().post(format!("{}/v1/builds", server.url));
    let answer = request.json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let open = || {
        fs_err::read_dir(kiln.data().join("uploads"))
            .unwrap()
            .count()
    };
    until("an upload is open", || open() > 0).await;
    server.kill();
    let left = open();
    assert!(left > 0);
    proxy.script(|_, _| None);
    let server = kiln.serve().unwrap();
    let ended = || {
        let seen = proxy.seen();
        let ended =
            |line: &&String| line.starts_with("DELETE ") && line.contains("/blobs/uploads/");
        seen.iter().filter(ended).count()
    };
    until("the uploads are ended", || ended() >= left).await;
    until("nothing is written down", || open() == 0).await;
    server.terminate().unwrap();
}
