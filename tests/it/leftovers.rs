//! What a killed kiln leaves in the engine.

use std::process::Stdio;

use kiln_tests::{Docker, Kiln};
use serde_json::json;

use crate::steps::{environment, runs, until};

/// The only build that a kiln has a log of.
fn only_build(kiln: &Kiln) -> String {
    let mut ids = fs_err::read_dir(kiln.data().join("logs"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".jsonl").map(str::to_owned)
        });
    let id = ids.next().expect("the build has a log");
    assert_eq!(ids.next(), None, "there is one build");
    id
}

/// Something else that is built of the base alone.
fn another(kiln: &Kiln) {
    let environment = json!({
        "python": { "userManagedDependencies": true },
        "docker": { "baseImage": kiln_tests::base("debian:12") },
        "environmentVariables": { "NAME": "another" },
    });
    kiln.build_ok("environment.json", &environment.to_string(), &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_ends_with_the_kiln_that_is_killed_while_it_runs() {
    let kiln = Kiln::new();
    let sleep = format!("302.{}", std::process::id());
    let text = environment(&format!("RUN sleep {sleep}")).to_string();
    let file = kiln.write("environment.json", &text);
    let mut command = kiln.command(&["build", file.to_str().unwrap(), "--json"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the step runs", || runs(&sleep)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    until("the step's process ends", || !runs(&sleep)).await;
    let id = only_build(&kiln);
    tokio::task::block_in_place(|| another(&kiln));
    assert_eq!(Docker::leftovers(&id), "");
}
