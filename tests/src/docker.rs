//! The Docker Engine of the test bed, through its own command line.

use std::path::Path;
use std::process::Command;

use crate::kiln::Answer;

/// Runs `docker`.
#[derive(Debug, Clone, Copy)]
pub struct Docker;

impl Docker {
    /// Debian's client where there are several: the only one that speaks BuildKit without a plugin.
    fn command() -> Command {
        let debian = Path::new("/usr/bin/docker");
        let mut command = Command::new(if debian.exists() {
            debian
        } else {
            Path::new("docker")
        });
        command.env("DOCKER_BUILDKIT", "1");
        command
    }

    /// Runs lines of a shell in a folder; `docker` in them is the same client.
    pub fn shell(lines: &str, folder: &Path) -> Answer {
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new("bash")
            .args(["-euc", lines])
            .current_dir(folder)
            .env("PATH", format!("/usr/bin:{path}"))
            .output()
            .expect("there is a shell")
            .into()
    }

    /// Any command.
    pub fn run(arguments: &[&str]) -> Answer {
        Self::command()
            .args(arguments)
            .output()
            .expect("the docker command line is installed")
            .into()
    }

    /// Runs a program in an image and gives its output.
    pub fn run_image(image: &str, program: &[&str]) -> Answer {
        let mut arguments = vec!["run", "--rm", image];
        arguments.extend(program);
        Self::run(&arguments)
    }

    /// Runs python code in an image and insists on success.
    pub fn python(image: &str, code: &str) -> String {
        let answer = Self::run_image(image, &["python", "-c", code]);
        assert_eq!(answer.code, 0, "{image}: {code}: {}", answer.stderr);
        answer.stdout.trim().to_owned()
    }

    /// Containers and images that a build left in the engine.
    pub fn leftovers(build_id: &str) -> String {
        let label = format!("label=io.kiln.build={build_id}");
        let containers = Self::run(&["ps", "-aq", "--filter", &label]).stdout;
        let images = Self::run(&["images", "-aq", "--filter", &label]).stdout;
        containers + &images
    }
}
