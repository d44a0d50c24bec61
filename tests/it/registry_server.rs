//! The example of a platform's registry server works against a real kiln.

use std::process::Command;

use kiln_tests::Kiln;

const EXAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/registry-server/registry_server.py"
);

#[test]
fn the_example_registers_an_environment_and_gets_its_image_twice() {
    let kiln = Kiln::new();
    let server = kiln.serve().unwrap();
    let text = format!("--index-url {}/simple/\nfoo==1.0\n", kiln_tests::channels());
    let file = kiln.write("requirements.txt", &text);
    let run = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.arg(EXAMPLE).arg(&server.url).args(arguments);
        command.env("ENVIRONMENTS", kiln.path().join("environments.json"));
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    run(&["register", "foo", file.to_str().unwrap()]);
    let first = run(&["image", "foo"]);
    assert!(
        first.starts_with(&format!("{}/azureml/azureml_", kiln.registry)),
        "{first}"
    );
    assert_eq!(run(&["image", "foo"]), first);
}
