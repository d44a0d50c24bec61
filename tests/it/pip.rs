//! pip environments on the base's python.

use kiln_tests::{Docker, Kiln};

#[test]
fn no_package_code_runs_on_the_host_when_a_package_has_no_wheel() {
    let kiln = Kiln::new();
    let canary = kiln.path().join("canary");
    let kiln = kiln.env("KILN_CANARY", canary.to_str().unwrap());
    let text = format!(
        "--index-url {}/simple/\nonly-sdist\n",
        kiln_tests::channels()
    );
    let answer = kiln.build("requirements.txt", &text, &[]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let error = &answer.json()["error"];
    assert!(
        error["message"].as_str().unwrap().contains("only-sdist"),
        "{error}"
    );
    assert!(!error["remedy"].as_str().unwrap().is_empty());
    assert!(!canary.exists());
    assert!(!std::path::Path::new("/tmp/kiln-canary-setup-py").exists());
}

#[test]
fn a_wheel_is_taken_over_a_newer_sdist_and_the_lock_says_so() {
    let kiln = Kiln::new();
    let text = format!(
        "--index-url {}/simple/\nnewer-sdist\n",
        kiln_tests::channels()
    );
    let file = kiln.write("requirements.txt", &text);
    let answer = kiln.run(&["lock", file.to_str().unwrap()]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let lock: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(lock["pip"][0]["version"], "1.0");
    assert!(
        lock["notes"].to_string().contains("newer-sdist"),
        "{}",
        lock["notes"]
    );
}

#[test]
fn scikit_learn_is_importable_with_the_versions_of_the_lock() {
    let kiln = Kiln::new();
    let text = "scikit-learn\n";
    let file = kiln.write("requirements.txt", text);
    let built = kiln.build_ok("requirements.txt", text, &[]);
    let locked = kiln.run(&["lock", file.to_str().unwrap()]);
    let lock: serde_json::Value = serde_json::from_str(&locked.stdout).unwrap();
    let packages = lock["pip"].as_array().unwrap();
    let version = packages
        .iter()
        .find(|p| p["name"] == "scikit-learn")
        .unwrap()["version"]
        .clone();
    let code = "import sklearn, sklearn.ensemble; print(sklearn.__version__)";
    assert_eq!(
        Docker::python(&built.text("image"), code),
        version.as_str().unwrap()
    );
}
