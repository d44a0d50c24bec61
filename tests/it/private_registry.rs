//! A registry that wants a password, as the images' place and as a base's.

use kiln_tests::{Docker, Kiln, PrivateRegistry};

use crate::secrets::files_with;

const PASSWORD: &str = "hunter2";

fn requirements(version: &str) -> String {
    format!(
        "--index-url {}/simple/\nfoo=={version}\n",
        kiln_tests::channels()
    )
}

#[test]
fn with_dockers_login_an_image_is_pushed_and_is_a_base_of_the_next() {
    let registry = PrivateRegistry::start().unwrap();
    let prefix = format!("{}/team", registry.host);
    let kiln =
        Kiln::with_registry(&prefix).env("DOCKER_CONFIG", &registry.docker_config().unwrap());
    let first = kiln.build_ok("requirements.txt", &requirements("1.0"), &[]);
    let image = first.text("image");
    assert!(image.starts_with(&prefix), "{image}");
    let conda = "channels: [conda-forge]\ndependencies: [python=3.11]\n";
    let second = kiln.build_ok("environment.yml", conda, &["--base", &image]);
    for tool in [&first, &second] {
        let told = tool.stdout.clone() + &tool.stderr;
        assert!(!told.contains(PASSWORD), "{told}");
    }
    let mut found = Vec::new();
    for secret in [PASSWORD, "dXNlcjpodW50ZXIy"] {
        files_with(&kiln.data(), secret.as_bytes(), &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
    let inspected = std::process::Command::new("skopeo")
        .args(["inspect", "--config", "--tls-verify=false", "--creds"])
        .arg(format!("user:{PASSWORD}"))
        .arg(format!("docker://{}", second.text("image")))
        .output()
        .unwrap();
    let config = String::from_utf8(inspected.stdout).unwrap();
    assert!(config.contains("io.kiln.spec-hash"), "{config}");
    assert!(!config.contains(PASSWORD));
    let pulled = Docker::run(&["pull", &image]);
    assert_ne!(pulled.code, 0, "the registry asks everyone: {pulled:?}");
}

#[test]
fn without_the_login_the_answer_names_the_registry_and_what_to_do() {
    let registry = PrivateRegistry::start().unwrap();
    let kiln = Kiln::with_registry(&registry.host).env("DOCKER_CONFIG", "/nonexistent");
    let answer = kiln.build("requirements.txt", &requirements("1.0"), &[]);
    assert_eq!(answer.code, 2, "{answer:?}");
    let error = answer.json()["error"].clone();
    assert_eq!(error["class"], "auth", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&registry.host), "{message}");
    assert!(!error["remedy"].as_str().unwrap().is_empty());
}
