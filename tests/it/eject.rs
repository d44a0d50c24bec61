//! The ejected folder builds with plain `docker build`.

use kiln_tests::{Docker, Kiln};

const ENVIRONMENT: &str = "
channels: [conda-forge]
dependencies:
  - python=3.11
  - numpy
  - pip:
      - flask
";

#[test]
fn the_folder_builds_on_a_bare_base_and_on_a_base_with_conda() {
    for base in ["bare:12", "conda:1"] {
        let kiln = Kiln::new();
        let file = kiln.write("environment.yml", ENVIRONMENT);
        let folder = kiln.path().join("ejected");
        let folder = folder.to_str().unwrap();
        let base = kiln_tests::base(base);
        let answer = kiln.run(&[
            "eject",
            file.to_str().unwrap(),
            "-o",
            folder,
            "--base",
            &base,
        ]);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let tag = format!(
            "kiln-test-eject/{}",
            kiln.registry.rsplit('/').next().unwrap()
        );
        let built = Docker::run(&["build", "-q", "-t", &tag, folder]);
        assert_eq!(built.code, 0, "{base}: {}", built.stderr);
        let versions = "import numpy, flask; print(numpy.__version__)";
        assert!(!Docker::python(&tag, versions).is_empty());
        Docker::run(&["rmi", "-f", &tag]);
    }
}
