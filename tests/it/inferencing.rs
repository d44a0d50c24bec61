//! The inferencing stack: an image that serves a model by itself.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use kiln_tests::{Docker, Kiln};
use serde_json::{Value, json};

const SCORE: &str = "
import json, os

def init():
    global factor
    with open(os.path.join(os.environ['AZUREML_MODEL_DIR'], 'factor')) as file:
        factor = int(file.read())

def run(data):
    return [factor * number for number in json.loads(data)['data']]
";

/// A container that is removed at the end.
struct Container {
    id: String,
    log: Child,
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.log.kill();
        let _ = self.log.wait();
        Docker::run(&["rm", "-f", &self.id]);
    }
}

/// Starts an image, and waits until its log has a text.
fn start(image: &str, arguments: &[&str], until: &str) -> Container {
    let run = [&["run", "-d", "-p", "127.0.0.1::5001"], arguments, &[image]].concat();
    let started = Docker::run(&run);
    assert_eq!(started.code, 0, "{started:?}");
    let id = started.stdout.trim().to_owned();
    let follow = "exec docker logs -f \"$1\" 2>&1";
    let mut log = Command::new("bash")
        .args(["-c", follow, "bash", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(log.stdout.take().unwrap());
    let container = Container { id, log };
    let mut told = Vec::new();
    for line in output.lines() {
        told.push(line.unwrap());
        if told.last().unwrap().contains(until) {
            return container;
        }
    }
    panic!("the container ended: {}", told.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_the_stack_serves_the_entry_script_and_its_model() {
    let kiln = Kiln::new();
    let environment = json!({
        "name": "serving",
        "inferencingStackVersion": "latest",
        "python": { "condaDependencies": { "dependencies": [{ "pip": ["six"] }] } },
    });
    let built = kiln.build_ok("serving.json", &environment.to_string(), &[]);
    let image = built.text("image");
    let app = kiln.path().join("app");
    std::fs::create_dir_all(app.join("azureml-models/m/1")).unwrap();
    std::fs::write(app.join("score.py"), SCORE).unwrap();
    std::fs::write(app.join("azureml-models/m/1/factor"), "7").unwrap();
    let mount = format!("{}:/var/azureml-app:ro", app.display());
    let arguments = [
        "-v",
        mount.as_str(),
        "-e",
        "AZUREML_ENTRY_SCRIPT=score.py",
        "-e",
        "AZUREML_MODEL_DIR=azureml-models/m/1",
    ];
    let container = start(&image, &arguments, "Listening at");
    let port = Docker::run(&["port", &container.id, "5001"]).stdout;
    let url = format!("http://{}", port.lines().next().unwrap().trim());
    let health = reqwest::get(format!("{url}/")).await.unwrap();
    assert_eq!(health.status(), 200);
    let scored = reqwest::Client::new()
        .post(format!("{url}/score"))
        .json(&json!({ "data": [1, 2, 3] }))
        .send()
        .await
        .unwrap();
    assert_eq!(scored.json::<Value>().await.unwrap(), json!([7, 14, 21]));
    // The image is an environment like any other.
    assert_eq!(
        Docker::python(&image, "import six; print(six.__name__)").trim(),
        "six"
    );

    let own = json!({
        "name": "own",
        "inferencingStackVersion": "latest",
        "python": { "userManagedDependencies": true },
        "docker": { "baseImage": kiln_tests::base("debian:12") },
    });
    let refused = kiln.build("own.json", &own.to_string(), &[]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("inferencingStackVersion"), "{message}");
}
