//! The example of a platform's registry server works against a real kiln, all three ways.

use std::process::Command;

use kiln_events::SigningSecret;
use kiln_tests::{Kiln, Server};

use crate::queue::broker::TestBroker;

const EXAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/registry-server/registry_server.py"
);

/// A kiln with a source of webhooks and a queue.
struct Platform {
    kiln: Kiln,
    server: Server,
    broker: TestBroker,
    source: SigningSecret,
    callback: String,
}

impl Platform {
    fn start() -> Self {
        let (kiln, broker) = (Kiln::new(), TestBroker::start());
        let source = SigningSecret::generate();
        let file = kiln.write("platform.secret", source.expose());
        let config = format!(
            "[[hooks.sources]]\nname = \"platform\"\nsecret_files = [\"{}\"]\n
             [queue]\nservers = [\"{}\"]\n",
            file.display(),
            broker.address()
        );
        let mut command = kiln.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.env("KILN_CONFIG", kiln.write("kiln.toml", &config));
        let server = Server::start(command).unwrap();
        let told = kiln.run(&["hooks", "callback-secret"]);
        assert_eq!(told.code, 0, "{told:?}");
        Self {
            callback: told.stdout.trim().to_owned(),
            kiln,
            server,
            broker,
            source,
        }
    }

    /// Runs the example, and gives what it printed.
    fn example(&self, address: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("python3");
        command.arg(EXAMPLE).arg(address).args(arguments);
        command.env("ENVIRONMENTS", self.kiln.path().join("environments.json"));
        command.env("KILN_SOURCE_SECRET", self.source.expose());
        command.env("KILN_CALLBACK_SECRET", &self.callback);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

#[test]
fn the_example_gets_the_same_image_by_http_by_webhook_and_by_queue() {
    let platform = Platform::start();
    let http = platform.server.url.clone();
    let queue = platform.broker.address();
    let ways = [
        ("http", http.as_str()),
        ("webhook", http.as_str()),
        ("queue", queue.as_str()),
    ];
    // Each way builds one environment, and gets those of the others.
    let mut images = Vec::new();
    for (way, address) in ways {
        let document = serde_json::json!({
            "python": { "userManagedDependencies": true },
            "docker": { "baseImage": kiln_tests::base("debian:12") },
            "environmentVariables": { "WAY": way },
        });
        let file = platform
            .kiln
            .write("environment.json", &document.to_string());
        platform.example(&http, &["register", way, file.to_str().unwrap()]);
        images.push(platform.example(address, &["image", way, "--by", way]));
    }
    for (name, image) in ["http", "webhook", "queue"].iter().zip(&images) {
        let start = format!("{}/azureml/azureml_", platform.kiln.registry);
        assert!(image.starts_with(&start), "{image}");
        for (way, address) in ways {
            let again = platform.example(address, &["image", name, "--by", way]);
            assert_eq!(&again, image, "{name} by {way}");
        }
    }
}

#[test]
fn the_example_registers_a_requirements_file_and_gets_its_image_twice() {
    let platform = Platform::start();
    let text = format!("--index-url {}/simple/\nfoo==1.0\n", kiln_tests::channels());
    let file = platform.kiln.write("requirements.txt", &text);
    let url = platform.server.url.as_str();
    platform.example(url, &["register", "foo", file.to_str().unwrap()]);
    let first = platform.example(url, &["image", "foo"]);
    assert_eq!(platform.example(url, &["image", "foo"]), first);
}
