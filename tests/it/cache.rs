//! One image, once.

use kiln_tests::{Docker, Kiln};

const SPEC: &str = "foo==1.0\n";

/// A pip environment from the test bed's index.
fn spec() -> String {
    format!("--index-url {}/simple/\n{SPEC}", kiln_tests::channels())
}

#[test]
fn the_second_run_says_cached_and_starts_no_build() {
    let kiln = Kiln::new();
    let first = kiln.build_ok("requirements.txt", &spec(), &[]);
    assert_eq!(first.json()["cached"], false);
    assert_eq!(first.json()["generation"], 1);
    assert_eq!(first.text("backend"), "docker");
    let second = kiln.build_ok("requirements.txt", &spec(), &[]);
    assert_eq!(second.json()["cached"], true);
    assert_eq!(second.text("image"), first.text("image"));
    assert_eq!(second.text("build_id"), first.text("build_id"));
    let other_order = format!("# a comment\n\n{}", spec());
    let third = kiln.build_ok("other.txt", &other_order, &[]);
    assert_eq!(third.json()["cached"], true);
    assert_eq!(Docker::leftovers(&first.text("build_id")), "");
}

#[test]
fn the_image_has_the_name_that_hash_prints_offline() {
    let kiln = Kiln::new();
    let built = kiln.build_ok("requirements.txt", &spec(), &[]);
    let path = kiln.path().join("requirements.txt");
    let hashed = kiln.run(&["hash", path.to_str().unwrap(), "--json"]);
    assert_eq!(hashed.text("name"), built.text("name"));
    assert_eq!(hashed.text("image"), hashed.text("name"));
    assert_eq!(hashed.text("spec_hash"), built.text("spec_hash"));
    assert_eq!(hashed.text("kind"), "requirements");
    let start = format!("{}/{}@sha256:", kiln.registry, built.text("name"));
    assert!(built.text("image").starts_with(&start), "{built:?}");
}

#[test]
fn a_fresh_data_folder_finds_the_image_in_the_registry_and_builds_nothing() {
    let first = Kiln::new();
    let built = first.build_ok("requirements.txt", &spec(), &[]);
    let second =
        Kiln::with_registry(&first.registry).env("KILN_DOCKER_HOST", "unix:///nonexistent.sock");
    let found = second.build_ok("requirements.txt", &spec(), &[]);
    assert_eq!(found.json()["cached"], true);
    assert_eq!(found.json()["generation"], 1);
    assert_eq!(found.text("image"), built.text("image"));
}

#[test]
fn skopeo_and_docker_see_the_same_image_with_its_labels_and_tags() {
    let kiln = Kiln::new();
    let built = kiln.build_ok("requirements.txt", &spec(), &[]);
    let repository = format!("{}/{}", kiln.registry, built.text("name"));
    for tag in ["1", "latest"] {
        let output = std::process::Command::new("skopeo")
            .args([
                "inspect",
                "--tls-verify=false",
                &format!("docker://{repository}:{tag}"),
            ])
            .output()
            .unwrap();
        let inspected: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let digest = inspected["Digest"].as_str().unwrap();
        assert_eq!(format!("{repository}@{digest}"), built.text("image"));
        assert_eq!(
            inspected["Labels"]["io.kiln.spec-hash"],
            built.text("spec_hash").as_str()
        );
        let standard =
            |name: &str| &inspected["Labels"][format!("org.opencontainers.image.{name}")];
        assert_eq!(standard("title"), built.text("name").as_str());
        assert_eq!(
            standard("base.name"),
            kiln_tests::base("debian:12").as_str()
        );
        assert!(
            standard("base.digest")
                .as_str()
                .unwrap()
                .starts_with("sha256:")
        );
    }
    let code = "import foo, importlib.metadata as m; print(m.version('foo'))";
    assert_eq!(Docker::python(&built.text("image"), code), "1.0");
}

#[test]
fn a_lost_image_is_built_again_from_its_lock_as_the_next_generation_or_the_same() {
    let kiln = Kiln::new();
    let built = kiln.build_ok("requirements.txt", &spec(), &[]);
    let (repository, digest) = {
        let image = built.text("image");
        let (repository, digest) = image.split_once('@').unwrap();
        (repository.to_owned(), digest.to_owned())
    };
    let (host, path) = repository.split_once('/').unwrap();
    let url = format!("http://{host}/v2/{path}/manifests/{digest}");
    let status = std::process::Command::new("curl")
        .args(["-fsS", "-X", "DELETE", &url])
        .status();
    assert!(status.unwrap().success());
    let again = kiln.build_ok("requirements.txt", &spec(), &[]);
    assert_eq!(again.json()["cached"], false);
    let code = "import importlib.metadata as m; print(m.version('foo'))";
    assert_eq!(Docker::python(&again.text("image"), code), "1.0");
}
