//! The page on Azure ML, run as it stands.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kiln_tests::{Docker, Kiln};
use serde_json::json;

use crate::azureml::{run_with, sdk, seen};
use crate::azureml_wheels::with_tls;
use crate::wheels::write_wheel;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/azureml.md");

/// A real conda with an environment, in a container that ends with this value.
struct Conda(String);

impl Conda {
    fn with_environment(name: &str) -> Self {
        let base = kiln_tests::base("conda:1");
        let run = [
            "run",
            "--rm",
            "--detach",
            "--network=host",
            &base,
            "sleep",
            "600",
        ];
        let started = Docker::run(&run);
        assert_eq!(started.code, 0, "{started:?}");
        let conda = Self(started.stdout.trim().to_owned());
        let channel = format!("{}/conda-forge", kiln_tests::channels());
        let made = Docker::run(&[
            "exec",
            &conda.0,
            "conda",
            "create",
            "--yes",
            "--quiet",
            "--name",
            name,
            "--override-channels",
            "--channel",
            &channel,
            "python=3.11",
            "requests",
        ]);
        assert_eq!(made.code, 0, "{made:?}");
        conda
    }

    /// A program `conda` that is the container's.
    fn program(&self, folder: &Path) {
        let text = format!("#!/bin/sh\nexec docker exec -i {} conda \"$@\"\n", self.0);
        script(&folder.join("conda"), &text);
    }
}

impl Drop for Conda {
    fn drop(&mut self) {
        // It ends by itself too, later.
        let _ = Docker::run(&["kill", &self.0]);
    }
}

fn script(path: &Path, text: &str) {
    fs_err::write(path, text).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_block_of_the_page_runs_and_the_sdk_and_kiln_give_the_same() {
    let (kiln, pem) = with_tls(Kiln::new());
    let server = kiln.serve().unwrap();
    let port = server.secure_url.as_deref().unwrap().rsplit(':').next();
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("bin");
    let work = folder.path().join("work");
    for folder in [&programs, &work] {
        fs_err::create_dir(folder).unwrap();
    }
    write_wheel(&work.join("my_custom-1.0-py3-none-any.whl"), "private");
    let conda = Conda::with_environment("mycondaenv");
    conda.program(&programs);
    // The command line with the settings of a test's kiln, and a data folder of its own: the server has the other.
    let own = Kiln::with_registry(&kiln.registry);
    let command = own.command(&[]);
    let variables = command
        .get_envs()
        .filter(|(name, _)| *name != "PATH")
        .map(|(name, value)| {
            let value = value.unwrap_or_default();
            format!("export {}='{}'\n", name.display(), value.display())
        });
    let program = command.get_program().display();
    let text = format!(
        "#!/bin/bash\n{}exec '{program}' \"$@\"\n",
        variables.collect::<String>()
    );
    script(&programs.join("kiln"), &text);
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:/usr/bin:{path}", programs.display());
    let replaced = json!({
        "http://127.0.0.1:8470": server.url,
        "registry.example.com/python:3.11": kiln_tests::base("debian:12"),
    });
    let printed = run_with(
        &sdk("KILN_TEST_AZUREML"),
        &server.url,
        "page.py",
        &[PAGE, work.to_str().unwrap()],
        &[
            ("PATH", &path),
            ("KILN_SERVER", &server.url),
            ("KILN_TLS_PORT", port.unwrap()),
            ("REQUESTS_CA_BUNDLE", &pem),
            ("TMPDIR", work.to_str().unwrap()),
            ("KILN_TOKEN", crate::azureml_workspaces::JWT),
            ("KILN_REPLACE", &replaced.to_string()),
        ],
    );
    let counts = seen(&printed);
    for (what, least) in [("python", 15), ("sh", 15), ("check", 15), ("file", 2)] {
        assert!(counts[what].as_u64() >= Some(least), "{what}: {counts}");
    }
}
