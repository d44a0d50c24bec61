//! `kiln run`: a script in the image of an environment.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use kiln_tests::{Docker, Kiln};
use serde_json::{Value, json};

const SCRIPT: &str = r#"
import foo, os, sys
print("alpha", sys.argv[1], os.environ["A"], os.path.basename(os.getcwd()))
print("told to standard error", file=sys.stderr)
with open("outputs/model.txt", "w") as out:
    out.write(open("data/numbers.txt").read())
if sys.argv[1] == "bad":
    raise ValueError("alpha is bad")
if sys.argv[1] == "wait":
    import time
    print("waiting", flush=True)
    time.sleep(600)
"#;

/// An environment with `foo` and a variable, registered as `tools`.
fn registered() -> Kiln {
    let kiln = Kiln::new();
    let pip = [
        format!("--index-url {}/simple/", kiln_tests::channels()),
        "foo==1.0".to_owned(),
    ];
    let environment = json!({
        "environmentVariables": { "A": "1" },
        "python": { "condaDependencies": { "dependencies": [{ "pip": pip }] } },
        "docker": { "baseImage": kiln_tests::base("debian:12") },
    });
    let file = kiln.write("tools.json", &environment.to_string());
    let made = kiln.run(&["env", "register", "tools", file.to_str().unwrap()]);
    assert_eq!(made.code, 0, "{made:?}");
    kiln.write("source/train.py", SCRIPT);
    kiln.write("source/data/numbers.txt", "1 2 3");
    kiln
}

fn run(kiln: &Kiln, options: &[&str], alpha: &str) -> kiln_tests::Answer {
    let source = kiln.path().join("source");
    let mut arguments = vec!["run", "--quiet", "--env", "tools", "--source"];
    arguments.push(source.to_str().unwrap());
    arguments.extend(options);
    arguments.extend(["--", "python", "train.py", alpha]);
    kiln.run(&arguments)
}

/// The runs that are known, newest first.
fn runs(kiln: &Kiln) -> Vec<Value> {
    let listed = kiln.run(&["runs", "list", "--json"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    listed.json()["value"].as_array().unwrap().clone()
}

fn files(kiln: &Kiln, id: &Value) -> Vec<String> {
    let listed = kiln.run(&["runs", "files", id.as_str().unwrap(), "--json"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    let files = listed.json();
    let paths = files["value"].as_array().unwrap().iter();
    paths
        .map(|file| file["path"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_script_runs_in_its_environments_image_and_what_it_leaves_is_kept() {
    let kiln = registered();
    let done = run(&kiln, &["--experiment", "first"], "0.5");
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.stdout, "alpha 0.5 1 work\n");
    assert!(done.stderr.contains("told to standard error"), "{done:?}");
    // The copy was written to, the source folder was not.
    assert!(!kiln.path().join("source/outputs").exists());

    let failed = run(&kiln, &["--experiment", "first"], "bad");
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(
        failed.stderr.contains("ValueError: alpha is bad"),
        "{failed:?}"
    );

    let known = runs(&kiln);
    let [failed, done] = known.as_slice() else {
        panic!("{known:#?}");
    };
    assert_eq!(done["status"], "Completed", "{done:#}");
    assert_eq!(done["exit_code"], 0);
    assert_eq!(
        (&done["experiment"], &done["number"]),
        (&json!("first"), &json!(1))
    );
    assert_eq!(
        done["environment"],
        json!({ "name": "tools", "version": "1" })
    );
    assert_eq!(done["arguments"], json!(["python", "train.py", "0.5"]));
    let image = done["image"].as_str().unwrap();
    assert_eq!(Docker::python(image, "import foo; print(1)"), "1");
    assert!(
        done["started"].is_string() && done["ended"].is_string(),
        "{done:#}"
    );
    assert_eq!(
        (&failed["status"], &failed["exit_code"]),
        (&json!("Failed"), &json!(1))
    );
    // The same source is the same snapshot.
    assert!(
        done["snapshot"].as_str().unwrap().starts_with("sha256:"),
        "{done:#}"
    );
    assert_eq!(done["snapshot"], failed["snapshot"]);

    let expected = [
        "azureml-logs/70_driver_log.txt",
        "outputs/model.txt",
        "source/data/numbers.txt",
        "source/train.py",
    ];
    assert_eq!(files(&kiln, &done["id"]), expected);
    let id = failed["id"].as_str().unwrap();
    let log = kiln.run(&["runs", "logs", id]).stdout;
    assert!(log.contains("alpha bad 1 work"), "{log}");
    assert!(log.contains("ValueError: alpha is bad"), "{log}");
    let folder = kiln.path().join("downloaded");
    let id = done["id"].as_str().unwrap();
    let output = folder.to_str().unwrap();
    let got = kiln.run(&["runs", "download", id, "--prefix", "outputs/", "-o", output]);
    assert_eq!(got.code, 0, "{got:?}");
    let model = fs_err::read_to_string(folder.join("outputs/model.txt")).unwrap();
    assert_eq!(model, "1 2 3");
    let environment = kiln.run(&["runs", "env", id]);
    let environment: Value = serde_json::from_str(&environment.stdout).unwrap();
    assert_eq!(environment["version"], "1");
}

#[test]
fn without_snapshot_and_history_nothing_is_kept_but_how_it_ended() {
    let kiln = registered();
    kiln.write("source/outputs/old.txt", "");
    let done = run(&kiln, &["--no-snapshot", "--no-history"], "0.5");
    assert_eq!(done.code, 0, "{done:?}");
    let written = kiln.path().join("source/outputs/model.txt");
    assert!(
        Path::new(&written).exists(),
        "the source folder itself was used"
    );
    let known = runs(&kiln);
    assert_eq!(known[0]["status"], "Completed");
    assert_eq!(known[0]["snapshot"], Value::Null);
    assert_eq!(files(&kiln, &known[0]["id"]), Vec::<String>::new());
    // What can't be run is a run that failed.
    let none = kiln.run(&[
        "run",
        "--quiet",
        "--env",
        "tools",
        "--no-snapshot",
        "--",
        "no-such-program",
    ]);
    assert_ne!(none.code, 0, "{none:?}");
    assert_eq!(runs(&kiln)[0]["status"], "Failed");
    let unknown = kiln.run(&["run", "--env", "tools:7", "--", "true"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert_eq!(runs(&kiln).len(), 2);
}

#[test]
fn a_run_that_is_stopped_is_cancelled_and_nothing_of_it_goes_on() {
    let kiln = registered();
    let server = kiln.serve().unwrap();
    let source = kiln.path().join("source");
    let source = source.to_str().unwrap();
    let arguments = [
        "run", "--quiet", "--env", "tools", "--source", source, "--", "python", "train.py", "wait",
    ];
    let mut command = kiln.command(&arguments);
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "waiting"));
    let id = runs(&kiln)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(runs(&kiln)[0]["status"], "Running");
    let label = format!("label=io.kiln.run={id}");
    let containers = ["ps", "--all", "--quiet", "--filter", &label];
    assert_ne!(Docker::run(&containers).stdout, "");
    let pid = process.id().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(killed.unwrap().success());
    assert_eq!(process.wait().unwrap().code(), Some(130));
    assert_eq!(Docker::run(&containers).stdout, "");
    assert_eq!(runs(&kiln)[0]["status"], "Canceled");
    let log = kiln.run(&["runs", "logs", &id]).stdout;
    // Two streams: which of them the engine tells first is not said.
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    let expected = ["alpha wait 1 work", "told to standard error", "waiting"];
    assert_eq!(lines, expected, "{log}");
    server.terminate().unwrap();
}
