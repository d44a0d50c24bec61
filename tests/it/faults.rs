//! What goes wrong, and the error a person can act on.

use kiln_tests::{Answer, Docker, Fault, Kiln, Proxy};

fn requirements() -> String {
    format!("--index-url {}/simple/\nfoo==1.0\n", kiln_tests::channels())
}

/// The answer's class, after checking that it has a message and a remedy.
fn class(answer: &Answer) -> String {
    let error = &answer.json()["error"];
    for field in ["message", "remedy"] {
        assert!(
            !error[field].as_str().unwrap_or_default().is_empty(),
            "no {field}: {answer:#?}"
        );
    }
    error["class"].as_str().unwrap().to_owned()
}

fn message(answer: &Answer) -> String {
    answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The shared registry's host and the rest of a fresh prefix.
fn fresh() -> (String, String) {
    let prefix = kiln_tests::fresh_prefix();
    let (host, rest) = prefix.split_once('/').unwrap();
    (host.to_owned(), rest.to_owned())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[test]
fn a_program_learns_of_a_refused_document_from_the_last_object_too() {
    let answer = Kiln::new().build("requirements.txt", "foo===\n", &[]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert_eq!(class(&answer), "invalid");
    assert!(
        message(&answer).contains("requirements.txt:1"),
        "{answer:?}"
    );
    assert!(answer.json()["duration_ms"].is_u64(), "{answer:?}");
}

#[test]
fn a_registry_that_is_down_is_a_retryable_failure_of_the_network() {
    let kiln = Kiln::with_registry("localhost:1/t").env("KILN_LIMITS_REGISTRY_BUDGET", "1");
    let answer = kiln.build("requirements.txt", &requirements(), &[]);
    assert_eq!(answer.code, 2, "{answer:?}");
    assert!(
        ["network", "registry"].contains(&class(&answer).as_str()),
        "{answer:?}"
    );
    assert_eq!(answer.json()["error"]["retryable"], true);
    assert!(message(&answer).contains("localhost:1"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_fails_and_recovers_costs_time_alone() {
    let (host, rest) = fresh();
    let mut left = 6;
    let proxy = Proxy::start(&host, move |_, _| {
        left -= i32::from(left > 0);
        match left {
            0 => None,
            odd if odd % 2 == 1 => Some(Fault::Fails),
            _ => Some(Fault::TooMany),
        }
    });
    let proxy = proxy.await.unwrap();
    let registry = format!("{}/{rest}", proxy.host);
    let answer = blocking(move || {
        Kiln::with_registry(&registry).build("requirements.txt", &requirements(), &[])
    });
    assert_eq!(answer.await.json()["state"], "READY");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_always_fails_is_named_with_what_it_answers() {
    for (fault, status) in [(Fault::Fails, "500"), (Fault::TooMany, "429")] {
        let (host, rest) = fresh();
        let script = move |method: &axum::http::Method, _: &str| (method != "GET").then_some(fault);
        let proxy = Proxy::start(&host, script).await.unwrap();
        let registry = format!("{}/{rest}", proxy.host);
        let own = proxy.host.clone();
        let answer = blocking(move || {
            Kiln::with_registry(&registry)
                .env("KILN_LIMITS_REGISTRY_BUDGET", "2")
                .build("requirements.txt", &requirements(), &[])
        });
        let answer = answer.await;
        assert_eq!(answer.code, 2, "{answer:?}");
        assert_eq!(class(&answer), "registry", "{answer:?}");
        let message = message(&answer);
        assert!(
            message.contains(status) && message.contains(&own),
            "{message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_says_taken_but_forgets_the_manifest_never_makes_ready() {
    let (host, rest) = fresh();
    let script = |method: &axum::http::Method, path: &str| {
        (method == "PUT" && path.contains("/manifests/")).then_some(Fault::Forgets)
    };
    let proxy = Proxy::start(&host, script).await.unwrap();
    let registry = format!("{}/{rest}", proxy.host);
    let answer = blocking(move || {
        Kiln::with_registry(&registry)
            .env("KILN_LIMITS_REGISTRY_BUDGET", "2")
            .build("requirements.txt", &requirements(), &[])
    });
    let answer = answer.await;
    assert_eq!(answer.json()["state"], "FAILED");
    assert!(
        ["registry", "integrity"].contains(&class(&answer).as_str()),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_whose_bytes_are_not_its_digest_is_refused() {
    let (host, rest) = fresh();
    let script = |method: &axum::http::Method, path: &str| {
        (method == "GET" && path.contains("/base/")).then_some(Fault::Corrupt)
    };
    let proxy = Proxy::start(&host, script).await.unwrap();
    let base = format!("{}/base/debian:12", proxy.host);
    let registry = format!("{host}/{rest}");
    let answer = blocking(move || {
        Kiln::with_registry(&registry)
            .env("KILN_LIMITS_REGISTRY_BUDGET", "2")
            .build("requirements.txt", &requirements(), &["--base", &base])
    });
    let answer = answer.await;
    assert_eq!(answer.code, 2, "{answer:?}");
    assert_eq!(class(&answer), "integrity", "{answer:?}");
}

#[test]
fn without_a_docker_engine_the_answer_says_where_it_was_looked_for() {
    let kiln = Kiln::new().env("KILN_DOCKER_HOST", "unix:///nonexistent.sock");
    let answer = kiln.build("requirements.txt", &requirements(), &[]);
    assert_eq!(answer.code, 2, "{answer:?}");
    assert_eq!(class(&answer), "internal");
    assert!(message(&answer).contains("/nonexistent.sock"), "{answer:?}");
    assert!(
        answer.json()["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("Docker")
    );
}

#[test]
fn a_base_that_does_not_exist_is_the_inputs_fault() {
    let base = kiln_tests::base("nothing:1");
    let answer = Kiln::new().build("requirements.txt", &requirements(), &["--base", &base]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert_eq!(class(&answer), "not_found");
    assert!(message(&answer).contains("base/nothing"), "{answer:?}");
}

#[test]
fn what_clashes_in_a_conda_environment_is_named() {
    let text = "channels: [synthetic]\ndependencies: [python=3.11, foo, baz]\n";
    let kiln = Kiln::new();
    let answer = kiln.build("environment.yml", text, &[]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert_eq!(class(&answer), "unsatisfiable");
    let message = message(&answer);
    for name in ["foo", "baz", "bar"] {
        assert!(message.contains(name), "{message}");
    }
    let again = kiln.build("environment.yml", text, &[]);
    assert_eq!(
        again.json()["cached"],
        true,
        "the failure is remembered: {again:?}"
    );
    let retried = kiln.build("environment.yml", text, &["--retry"]);
    assert_eq!(retried.json()["cached"], false);
}

#[test]
fn what_clashes_in_a_pip_environment_is_named() {
    let index = kiln_tests::channels();
    let text = format!("--index-url {index}/simple/\nwants-foo-1\nwants-foo-2\n");
    let answer = Kiln::new().build("requirements.txt", &text, &[]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert_eq!(class(&answer), "unsatisfiable");
    assert!(message(&answer).contains("wants-foo"), "{answer:?}");
}

#[test]
fn a_build_that_takes_too_long_is_stopped_and_leaves_nothing() {
    let dockerfile = format!(
        "FROM {}\nRUN [\"sleep\", \"300\"]\n",
        kiln_tests::base("debian:12")
    );
    let environment = serde_json::json!({
        "python": { "userManagedDependencies": true },
        "docker": { "baseDockerfile": dockerfile },
    });
    let kiln = Kiln::new().env("KILN_LIMITS_BUILD_TIMEOUT", "3");
    let answer = kiln.build("environment.json", &environment.to_string(), &[]);
    assert_eq!(answer.code, 2, "{answer:?}");
    assert_eq!(class(&answer), "timeout");
    assert_eq!(Docker::leftovers(&answer.text("build_id")), "");
}

#[test]
fn a_step_that_fails_is_told_with_its_last_lines() {
    let dockerfile = format!(
        "FROM {}\nRUN echo the reason is this >&2; exit 7\n",
        kiln_tests::base("debian:12")
    );
    let environment = serde_json::json!({
        "python": { "userManagedDependencies": true },
        "docker": { "baseDockerfile": dockerfile },
    });
    let answer = Kiln::new().build("environment.json", &environment.to_string(), &[]);
    assert_eq!(answer.json()["state"], "FAILED");
    let message = message(&answer);
    assert!(
        message.contains("the reason is this") && message.contains('7'),
        "{message}"
    );
}

#[test]
fn a_full_disk_is_told_as_such() {
    let kiln = Kiln::new().env("KILN_LIMITS_DISK_RESERVE_MIB", "0");
    let mount = kiln.path().join("small");
    fs_err::create_dir(&mount).unwrap();
    let small = SmallDisk::mount(&mount, "6m");
    fs_err::write(mount.join("filler"), vec![0; 3 << 20]).unwrap();
    let environment = "channels: [conda-forge]\ndependencies: [python=3.11, numpy]\n";
    let file = kiln.write("environment.yml", environment);
    let mut command = kiln.command(&["build", file.to_str().unwrap(), "--json"]);
    let answer: Answer = command
        .env("KILN_DATA", mount.join("data"))
        .output()
        .unwrap()
        .into();
    assert_eq!(answer.code, 2, "{answer:?}");
    let told = answer.stdout.clone() + &answer.stderr;
    assert!(told.contains("disk"), "{told}");
    assert!(told.contains("space"), "{told}");
    drop(small);
}

/// A small file system that ends with the test.
pub(crate) struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    pub(crate) fn mount(path: &std::path::Path, size: &str) -> Self {
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .status()
            .unwrap();
        assert!(status.success(), "a small file system needs root");
        Self(path.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}
