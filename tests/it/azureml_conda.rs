//! The SDK where a real conda is: in a container of the test bed's base that has one.

use kiln_tests::{Docker, Kiln};

use crate::azureml::{sdk, seen};

#[test]
fn a_conda_environment_becomes_an_image_with_its_packages() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let sdk = sdk("KILN_TEST_AZUREML");
    let sdk = std::fs::canonicalize(sdk).unwrap();
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk:/scripts:ro");
    let conda = kiln_tests::base("conda:1");
    let variables = [
        format!("KILN_URL={}", server.url),
        format!("KILN_BASE={}", kiln_tests::base("debian:12")),
        format!("KILN_CHANNEL={}/conda-forge", kiln_tests::channels()),
        "PYTHONWARNINGS=ignore".to_owned(),
    ];
    let mount = format!("{}:/sdk:ro", sdk.display());
    let mut arguments = vec!["run", "--rm", "--network=host", "--volume", &mount];
    arguments.extend(["--volume", scripts]);
    for variable in &variables {
        arguments.extend(["--env", variable]);
    }
    arguments.extend([&conda, "python3", "/scripts/conda_environment.py", "/sdk"]);
    let answer = Docker::run(&arguments);
    assert_eq!(answer.code, 0, "{answer:#?}");
    let seen = seen(&answer.stdout);
    assert_eq!(seen["version"], "1");
    assert_eq!(seen["missing"], serde_json::Value::Null);
    assert_eq!(seen["status"], "Succeeded", "{answer:#?}");
    let image = format!("{}:latest", seen["image"].as_str().unwrap());
    let code = "import requests; print(requests.__version__)";
    assert_eq!(
        Docker::python(&image, code),
        seen["requests"].as_str().unwrap()
    );
}
