//! Environments that exist elsewhere become named ones.

use kiln_tests::{Docker, Kiln};
use serde_json::Value;

fn ok(kiln: &Kiln, arguments: &[&str]) -> Value {
    let answer = kiln.run(arguments);
    assert_eq!(answer.code, 0, "{arguments:?} {answer:?}");
    answer.json()
}

#[test]
fn an_installed_conda_environment_is_read_without_conda_and_has_what_conda_lists() {
    let kiln = Kiln::new();
    let folder = kiln.path().join("prefix");
    std::fs::create_dir(&folder).unwrap();
    let mount = format!("{}:{}", folder.display(), folder.display());
    let prefix = folder.join("trained");
    let prefix = prefix.to_str().unwrap();
    let make = format!(
        "conda create --yes --quiet --prefix {prefix} --override-channels --channel {channels}/conda-forge \
         python=3.11 pip requests >/dev/null && {prefix}/bin/python -m pip install --quiet --index-url \
         {channels}/simple/ foo && conda list --prefix {prefix} --json && chmod -R a+rwX {prefix}",
        channels = kiln_tests::channels()
    );
    let conda = kiln_tests::base("conda:1");
    let made = Docker::run(&[
        "run",
        "--rm",
        "--network=host",
        "--volume",
        &mount,
        &conda,
        "bash",
        "-c",
        &make,
    ]);
    assert_eq!(made.code, 0, "{made:?}");
    let listed: Vec<Value> = serde_json::from_str(&made.stdout).unwrap();

    let arguments = [
        "env",
        "import",
        "trained",
        "--conda-prefix",
        prefix,
        "--json",
    ];
    let imported = ok(&kiln, &arguments);
    assert_eq!(imported["version"], "1", "{imported}");
    assert_eq!(ok(&kiln, &arguments)["version"], "1");
    let shown = kiln.run(&["env", "export", "trained", "--source"]);
    for package in &listed {
        let text = |field: &str| package[field].as_str().unwrap();
        let line = if text("channel") == "pypi" {
            format!("\"{}=={}\"", text("name"), text("version"))
        } else {
            format!("  - {}={}\n", text("name"), text("version"))
        };
        assert!(shown.stdout.contains(&line), "{line}: {}", shown.stdout);
    }
    let history = ok(&kiln, &["env", "history", "trained", "--json"]);
    assert!(history.to_string().contains("imported"), "{history}");
    // The files are root's, of the container: it takes them away itself.
    let clean = format!("rm -rf {prefix}");
    Docker::run(&[
        "run", "--rm", "--volume", &mount, &conda, "bash", "-c", &clean,
    ]);
}

#[test]
fn an_image_and_a_dockerfile_are_imported_as_they_are() {
    let kiln = Kiln::new();
    let base = kiln_tests::base("debian:12");
    let image = ok(&kiln, &["env", "import", "own", "--image", &base, "--json"]);
    assert_eq!(image["version"], "1");
    let dockerfile = kiln.write("Dockerfile", &format!("FROM {base}\nRUN touch /made\n"));
    let path = dockerfile.to_str().unwrap();
    let made = ok(
        &kiln,
        &["env", "import", "own", "--dockerfile", path, "--json"],
    );
    assert_eq!(made["version"], "2");
    let built = kiln.run(&["build", "--env", "own:2", "--json", "--quiet"]);
    assert_eq!(built.code, 0, "{built:?}");
    let answer = Docker::run_image(&built.text("image"), &["test", "-e", "/made"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    for arguments in [
        &["env", "import", "x"][..],
        &["env", "import", "x", "--image", "a", "--dockerfile", "b"],
    ] {
        assert_eq!(kiln.run(arguments).code, 64);
    }
    let nowhere = kiln.run(&[
        "env",
        "import",
        "x",
        "--conda-prefix",
        "no-such-environment",
    ]);
    assert_eq!(nowhere.code, 1, "{nowhere:?}");
    assert!(nowhere.stderr.contains("conda env list"), "{nowhere:?}");
}
