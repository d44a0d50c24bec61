//! Sections of an Azure ML document, and what they do to the image.

use kiln_tests::{Docker, Kiln, PrivateRegistry};
use serde_json::{Value, json};

fn copied(from: &str, to: &str) {
    let copied = std::process::Command::new("skopeo")
        .args(["copy", "--quiet", "--src-tls-verify=false"])
        .args(["--dest-tls-verify=false", "--dest-creds", "user:hunter2"])
        .arg(format!("docker://{from}"))
        .arg(format!("docker://{to}"))
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
}

/// A document with one package of pip's, and this docker section.
fn with_foo(docker: &Value) -> String {
    let index = format!("--index-url {}/simple/", kiln_tests::channels());
    json!({
        "environmentVariables": { "GREETING": "it's \"fine\" $HOME" },
        "python": { "condaDependencies": { "dependencies": [{ "pip": [index, "foo==1.0"] }] } },
        "docker": docker,
    })
    .to_string()
}

#[test]
fn variables_are_set_and_whether_a_run_uses_docker_makes_no_other_image() {
    let kiln = Kiln::new();
    let base = kiln_tests::base("debian:12");
    let docker = json!({ "baseImage": base, "enabled": false });
    let first = kiln.build_ok("off.json", &with_foo(&docker), &[]);
    let code = "import os; print(os.environ['GREETING'])";
    let printed = Docker::python(&first.text("image"), code);
    assert_eq!(printed, "it's \"fine\" $HOME");
    let docker = json!({
        "baseImage": base, "enabled": true, "sharedVolumes": false, "shmSize": "1g", "arguments": ["--rm"],
    });
    let second = kiln.build_ok("on.json", &with_foo(&docker), &[]);
    assert_eq!(second.text("image"), first.text("image"));
    assert_eq!(second.json()["cached"], true);
}

#[test]
fn the_interpreter_of_a_user_managed_base_is_python() {
    let kiln = Kiln::new();
    let dockerfile = format!(
        "FROM {}\nRUN mkdir -p /opt/own/bin && ln -s \"$(command -v python3)\" /opt/own/bin/python\n",
        kiln_tests::base("debian:12")
    );
    let environment = json!({
        "environmentVariables": { "MODE": "own" },
        "python": { "userManagedDependencies": true, "interpreterPath": "/opt/own/bin/python" },
        "docker": { "baseDockerfile": dockerfile },
    });
    let built = kiln.build_ok("own.json", &environment.to_string(), &[]);
    let code = "import os, sys; print(sys.executable, os.environ['MODE'])";
    let printed = Docker::python(&built.text("image"), code);
    assert_eq!(printed, "/opt/own/bin/python own");
}

#[test]
fn gpu_support_takes_the_gpu_base_unless_another_is_named() {
    let cpu = kiln_tests::base("debian:12");
    let gpu = kiln_tests::base("cuda:12.4");
    let kiln = Kiln::new()
        .env("KILN_BASE_CPU", &cpu)
        .env("KILN_BASE_GPU", &gpu);
    let of_sdk = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20251130.v1";
    for (number, (image, gpu_support, expected)) in [
        (Some(of_sdk), true, &gpu),
        (None, true, &gpu),
        (None, false, &cpu),
        (Some(cpu.as_str()), true, &cpu),
    ]
    .into_iter()
    .enumerate()
    {
        let environment = json!({
            "python": { "condaDependencies": {
                "channels": ["synthetic"], "dependencies": ["python=3.11", "gpulib"],
            }},
            "docker": { "baseImage": image, "gpuSupport": gpu_support },
        });
        let file = kiln.write(&format!("{number}.json"), &environment.to_string());
        let answer = kiln.run(&["lock", file.to_str().unwrap()]);
        assert_eq!(answer.code, 0, "{answer:?}");
        let lock: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(
            lock["base"]["reference"].as_str(),
            Some(expected.as_str()),
            "{image:?} {gpu_support}"
        );
        let gpulib = lock["conda"].as_array().unwrap().iter();
        let build = gpulib
            .clone()
            .find(|found| found["name"] == "gpulib")
            .unwrap();
        let cuda = if *expected == gpu {
            "cuda124_0"
        } else {
            "cpu_0"
        };
        assert_eq!(build["build"], cuda);
    }
}

#[test]
fn a_base_is_read_with_the_documents_own_login_which_is_kept_nowhere_else() {
    let registry = PrivateRegistry::start().unwrap();
    let base = format!("{}/team/base:1", registry.host);
    copied(&kiln_tests::base("debian:12"), &base);
    let kiln = Kiln::new().env("DOCKER_CONFIG", "/nonexistent");
    let login = json!({ "address": registry.host, "username": "user", "password": "hunter2" });
    let anonymous = json!({ "address": registry.host, "username": null, "password": null });
    // Everybody may read the test bed's own registry.
    let open = kiln_tests::base("debian:12");
    let open = kiln.build_ok("open.json", &with_foo(&json!({ "baseImage": open })), &[]);
    assert_eq!(
        Docker::python(&open.text("image"), "import foo; print(1)"),
        "1"
    );
    let docker = |registry: &Value| json!({ "baseImage": base, "baseImageRegistry": registry });
    let refused = kiln.build("anonymous.json", &with_foo(&docker(&anonymous)), &[]);
    assert_eq!(refused.json()["error"]["class"], "auth", "{refused:?}");
    let built = kiln.build_ok("login.json", &with_foo(&docker(&login)), &[]);
    let image = built.text("image");
    assert_eq!(Docker::python(&image, "import foo; print(1)"), "1");
    let told = built.stdout + &built.stderr;
    assert!(!told.contains("hunter2"), "{told}");
    let mut found = Vec::new();
    for secret in ["hunter2", "dXNlcjpodW50ZXIy"] {
        crate::secrets::files_with(&kiln.data(), secret.as_bytes(), &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
    // The login is the workspace's from now on, for this host alone.
    let again = kiln.build_ok("other.json", &with_foo(&docker(&anonymous)), &[]);
    assert_eq!(again.text("image"), image);
}
