//! conda environments on a bare base, and on a base with conda by Azure ML's steps.

use kiln_tests::{Docker, Kiln};

const ENVIRONMENT: &str = "
name: science
channels:
  - conda-forge
dependencies:
  - python=3.11
  - scikit-learn
  - pip:
      - flask
";

const CODE: &str = "import sklearn.ensemble, flask, sys; print(sklearn.__version__, sys.prefix)";

#[test]
fn on_a_bare_base_it_is_installed_at_kilns_prefix() {
    let kiln = Kiln::new();
    let base = kiln_tests::base("bare:12");
    let built = kiln.build_ok("environment.yml", ENVIRONMENT, &["--base", &base]);
    let output = Docker::python(&built.text("image"), CODE);
    assert!(output.ends_with("/opt/kiln/env"), "{output}");
    let link = format!(
        "/azureml-envs/{}",
        built.text("name").replace("azureml/", "")
    );
    let answer = Docker::run_image(&built.text("image"), &["readlink", &link]);
    assert_eq!(answer.stdout.trim(), "/opt/kiln/env", "{answer:?}");
}

#[test]
fn on_a_base_with_conda_it_is_made_by_azure_mls_steps() {
    let kiln = Kiln::new();
    let base = kiln_tests::base("conda:1");
    let built = kiln.build_ok("environment.yml", ENVIRONMENT, &["--base", &base]);
    let image = built.text("image");
    let output = Docker::python(&image, CODE);
    let prefix = format!(
        "/azureml-envs/{}",
        built.text("name").replace("azureml/", "")
    );
    assert!(output.ends_with(&prefix), "{output}");
    let answer = Docker::run_image(&image, &["env"]);
    for line in [
        format!("AZUREML_CONDA_ENVIRONMENT_PATH={prefix}"),
        "AZUREML_ENVIRONMENT_IMAGE=True".to_owned(),
    ] {
        assert!(
            answer.stdout.lines().any(|l| l == line),
            "{line}: {}",
            answer.stdout
        );
    }
}

#[test]
fn a_gpu_base_decides_the_cuda_variant_and_a_cpu_base_the_other() {
    let kiln = Kiln::new();
    let text = "channels: [synthetic]\ndependencies: [python=3.11, gpulib]\n";
    let file = kiln.write("environment.yml", text);
    let file = file.to_str().unwrap();
    for (base, build) in [("cuda:12.4", "cuda124_0"), ("debian:12", "cpu_0")] {
        let base = kiln_tests::base(base);
        let answer = kiln.run(&["lock", file, "--base", &base]);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let lock: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
        let packages = lock["conda"].as_array().unwrap();
        let found = packages.iter().find(|p| p["name"] == "gpulib").unwrap();
        assert_eq!(found["build"], build, "{base}");
    }
}

#[test]
fn the_image_has_prefixes_links_entry_points_and_post_link_scripts_right() {
    let kiln = Kiln::new();
    let text = "channels: [synthetic]\n\
        dependencies: [python=3.11, binprefix, textprefix, hello, links, postlink, oldformat, modes]\n";
    let base = kiln_tests::base("debian:12");
    let built = kiln.build_ok("environment.yml", text, &["--base", &base]);
    let image = built.text("image");
    let answer = Docker::run_image(&image, &["hello"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let answer = Docker::run_image(&image, &["binprefix"]);
    assert!(answer.stdout.contains("/opt/kiln/env"), "{answer:?}");
}
