//! Steps of a real build, by a user's own Dockerfile: what they see, what they print, how they end.

use std::time::{Duration, Instant};

use kiln_tests::{Docker, Kiln};
use serde_json::{Value, json};

pub(crate) fn environment(steps: &str) -> Value {
    let dockerfile = format!("FROM {}\n{steps}\n", kiln_tests::base("debian:12"));
    json!({
        "python": { "userManagedDependencies": true },
        "docker": { "baseDockerfile": dockerfile },
        "environmentVariables": {},
    })
}

/// Whether a process has this argument.
pub(crate) fn runs(argument: &str) -> bool {
    let processes = fs_err::read_dir("/proc").unwrap();
    let mut commands =
        processes.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    commands.any(|line| {
        line.split(|byte| *byte == 0)
            .any(|word| word == argument.as_bytes())
    })
}

/// Waits for what other processes do.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < limit, "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_streams_while_a_step_runs_and_cancelling_ends_its_processes() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let url = format!("{}/v1/builds", server.url);
    let sleep = format!("300.{}", std::process::id());
    let steps = format!("RUN echo a line of the step && sleep {sleep}");
    let http = reqwest::Client::new();
    let accepted = http
        .post(&url)
        .json(&json!({ "environment": environment(&steps) }));
    let status: Value = accepted.send().await.unwrap().json().await.unwrap();
    let id = status["build_id"].as_str().unwrap().to_owned();
    let mut log = reqwest::get(format!("{url}/{id}/logs")).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("\"text\":\"a line of the step\"") {
        let chunk = log.chunk().await.unwrap().expect("the log goes on");
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
    until("the step runs", || runs(&sleep)).await;
    let ended = http.delete(format!("{url}/{id}")).send().await.unwrap();
    let ended: Value = ended.json().await.unwrap();
    assert_eq!(ended["state"], "CANCELLED", "{ended}");
    until("the step's process ends", || !runs(&sleep)).await;
    assert_eq!(Docker::leftovers(&id), "");
}

#[test]
fn a_step_that_takes_too_long_is_ended_with_its_processes() {
    let kiln = Kiln::new().env("KILN_LIMITS_BUILD_TIMEOUT", "3");
    let sleep = format!("301.{}", std::process::id());
    let text = environment(&format!("RUN sleep {sleep}")).to_string();
    let answer = kiln.build("environment.json", &text, &[]);
    assert_eq!(answer.json()["error"]["class"], "timeout", "{answer:?}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(until("the step's process ends", || !runs(&sleep)));
}

#[test]
fn a_failed_step_is_told_with_its_exit_code_and_the_tail_of_its_output() {
    let kiln = Kiln::new();
    let text = environment("RUN seq 1 200 && exit 42").to_string();
    let answer = kiln.build("environment.json", &text, &[]);
    let error = answer.json()["error"].clone();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("exit code: 42"), "{message}");
    assert!(message.ends_with("\n199\n200"), "{message}");
    assert!(!message.contains("\n100\n"), "the tail alone: {message}");
    let id = answer.text("build_id");
    let log = fs_err::read_to_string(kiln.data().join("logs").join(format!("{id}.jsonl"))).unwrap();
    assert!(log.contains("\"text\":\"100\""), "the log has all of it");
}

#[test]
fn a_step_that_prints_without_end_costs_no_more_than_the_logs_limit() {
    let kiln = Kiln::new();
    let text = environment("RUN seq 1 6000000 && exit 7").to_string();
    let answer = kiln.build("environment.json", &text, &["--quiet"]);
    let id = answer.text("build_id");
    let log = fs_err::read_to_string(kiln.data().join("logs").join(format!("{id}.jsonl"))).unwrap();
    assert!(log.len() < 20 << 20, "{} bytes", log.len());
    assert!(log.contains("\"text\":\"1\""), "the head is there");
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("exit code: 7"), "{message}");
}

#[test]
fn the_extra_authorities_are_a_secret_that_a_step_may_mount_and_the_image_does_not_keep() {
    let kiln = Kiln::new();
    let key = kiln.path().join("key.pem");
    let pem = kiln.path().join("ca.pem");
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-subj", "/CN=extra", "-days", "1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&pem)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let body = fs_err::read_to_string(&pem).unwrap();
    let line = body.lines().nth(1).unwrap().to_owned();
    let kiln = kiln.env("KILN_EXTRA_CA", pem.to_str().unwrap());
    let mount = "--mount=type=secret,id=kiln-ca,target=/run/ca.pem,required=true";
    let steps = format!("RUN {mount} grep -c CERTIFICATE /run/ca.pem > /seen");
    let built = kiln.build_ok("environment.json", &environment(&steps).to_string(), &[]);
    let image = built.text("image");
    assert_eq!(
        Docker::run_image(&image, &["cat", "/seen"]).stdout.trim(),
        "2"
    );
    let archive = kiln.path().join("image.tar");
    assert_eq!(
        Docker::run(&["save", "-o", archive.to_str().unwrap(), &image]).code,
        0
    );
    let bytes = fs_err::read(&archive).unwrap();
    assert!(
        !bytes
            .windows(line.len())
            .any(|window| window == line.as_bytes())
    );
    Docker::run(&["rmi", "-f", &image]);
}
