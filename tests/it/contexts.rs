//! Folders with a Dockerfile, uploaded and built.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use kiln_tests::{Docker, Kiln};
use serde_json::{Value, json};

/// A folder whose Dockerfile is not at its root and takes all there is.
fn folder(kiln: &Kiln, word: &str) -> String {
    let base = kiln_tests::base("debian:12");
    let dockerfile = format!("FROM {base}\nCOPY . /context\nRUN /context/run.sh > /said\n");
    kiln.write("source/docker/Dockerfile", &dockerfile);
    kiln.write("source/.dockerignore", "*.log\ndata\n!data/kept.txt\n");
    kiln.write("source/run.log", "left out");
    kiln.write("source/data/large.txt", "left out");
    kiln.write("source/data/kept.txt", "kept");
    let script = kiln.write("source/run.sh", &format!("#!/bin/sh\necho {word}\n"));
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let folder = script.parent().unwrap();
    if !folder.join("link").is_symlink() {
        symlink("data/kept.txt", folder.join("link")).unwrap();
    }
    folder.to_str().unwrap().to_owned()
}

fn import(kiln: &Kiln, folder: &str) -> Value {
    let answer = kiln.run(&[
        "env",
        "import",
        "own",
        "--context",
        folder,
        "--dockerfile-path",
        "docker/Dockerfile",
        "--json",
    ]);
    assert_eq!(answer.code, 0, "{answer:?}");
    answer.json()
}

const LOOK: &str = "cat /said; cat /context/link; cd /context; find . -type f | sort";

#[test]
fn a_folder_is_built_without_what_it_ignores_and_equal_folders_are_one_version() {
    let kiln = Kiln::new();
    let source = folder(&kiln, "one");
    assert_eq!(import(&kiln, &source)["version"], "1");
    let built = kiln.run(&["build", "--env", "own", "--json", "--quiet"]);
    assert_eq!(built.code, 0, "{built:?}");
    let look = |image: &str| Docker::run_image(image, &["sh", "-c", LOOK]).stdout;
    let files = "./.dockerignore\n./data/kept.txt\n./docker/Dockerfile\n./run.sh\n";
    assert_eq!(look(&built.text("image")), format!("one\nkept{files}"));

    let script = Path::new(&source).join("run.sh");
    let later = std::time::SystemTime::now() + std::time::Duration::from_mins(1);
    let file = std::fs::File::options().append(true).open(&script).unwrap();
    file.set_modified(later).unwrap();
    assert_eq!(import(&kiln, &source)["version"], "1", "times do not count");
    folder(&kiln, "two");
    assert_eq!(import(&kiln, &source)["version"], "2");
    let again = kiln.run(&["build", "--env", "own", "--json", "--quiet"]);
    assert_ne!(again.text("name"), built.text("name"));
    assert!(look(&again.text("image")).starts_with("two\n"));

    // The same in a folder that plain Docker builds.
    let document = kiln.run(&["env", "export", "own:2"]).stdout;
    let file = kiln.write("own.json", &document);
    let output = kiln.path().join("ejected");
    let output = output.to_str().unwrap();
    let ejected = kiln.run(&["eject", file.to_str().unwrap(), "-o", output]);
    assert_eq!(ejected.code, 0, "{ejected:?}");
    let page = std::fs::read_to_string(Path::new(output).join("README.md")).unwrap();
    let commands = page.split("```").nth(1).unwrap();
    let done = Docker::shell(commands, Path::new(output));
    assert_eq!(done.code, 0, "{commands} {done:?}");
    let name = again.text("name");
    assert!(look(&name).starts_with("two\nkept"), "{name}");
    let base = commands.split(" -t ").nth(1).unwrap();
    let base = base.split_whitespace().next().unwrap();
    Docker::run(&["rmi", "-f", &name, base]);
}

#[test]
fn a_folder_is_its_workspaces_own_and_what_is_no_folder_is_refused() {
    let kiln = Kiln::new();
    let source = folder(&kiln, "mine");
    let made = import(&kiln, &source);
    let exported = kiln.run(&["env", "export", "own"]).stdout;
    let exported: Value = serde_json::from_str(&exported).unwrap();
    let context = exported["docker"]["buildContext"].clone();
    assert_eq!(context["dockerfilePath"], "docker/Dockerfile", "{made:#}");
    let build = |name: &str, context: &Value, workspace: &str| {
        let document = json!({
            "python": { "userManagedDependencies": true },
            "docker": { "buildContext": context },
        });
        let arguments = ["--workspace", workspace, "--quiet"];
        kiln.build(name, &document.to_string(), &arguments)
    };
    let foreign = build("foreign.json", &context, "other").json();
    assert_eq!(foreign["error"]["class"], "not_found", "{foreign:#}");
    let mut unknown = context.clone();
    unknown["location"] = format!("kiln-context:sha256:{}", "0".repeat(64)).into();
    let unknown = build("unknown.json", &unknown, "default").json();
    let told = |answer: &Value| {
        let message = answer["error"]["message"].as_str().unwrap();
        message.rsplit_once(':').unwrap().0.to_owned()
    };
    assert_eq!(told(&unknown), told(&foreign), "it learns nothing");
    let mut elsewhere = context.clone();
    elsewhere["dockerfilePath"] = "nowhere/Dockerfile".into();
    let elsewhere = build("elsewhere.json", &elsewhere, "default").json();
    let message = elsewhere["error"]["message"].as_str().unwrap();
    assert!(message.contains("nowhere/Dockerfile"), "{message}");
    let mut none = context;
    none["location"] = "kiln-context:sha256:12".into();
    let none = build("none.json", &none, "default");
    assert_eq!(none.code, 1, "{none:?}");

    symlink("/etc/passwd", Path::new(&source).join("outside")).unwrap();
    let arguments = ["env", "import", "x", "--context", &source];
    let nowhere = kiln.run(&arguments);
    assert!(nowhere.stderr.contains("--dockerfile-path"), "{nowhere:?}");
    let path = ["--dockerfile-path", "docker/Dockerfile"];
    let outside = kiln.run(&[&arguments[..], &path].concat());
    assert_eq!(outside.code, 1, "{outside:?}");
    let message = &outside.stderr;
    assert!(
        message.contains("outside") && message.contains(".dockerignore"),
        "{message}"
    );
}
