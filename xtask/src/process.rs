//! Running commands.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Runs a command to its end; a status other than 0 is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("start {line}"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// Runs a command and returns its standard output without the last line end.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {line}"))?;
    if !output.status.success() {
        // A program that answers in JSON tells its fault there.
        let told = String::from_utf8_lossy(&output.stdout);
        bail!("{line}: {}\n{}", output.status, told.trim_end());
    }
    Ok(String::from_utf8(output.stdout)
        .context("output is not UTF-8")?
        .trim_end()
        .to_owned())
}

/// Whether a command can be started and succeeds; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Does one stage and prints how long it took.
pub(crate) fn stage<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("-- {name}");
    let start = Instant::now();
    let result = work().with_context(|| name.to_owned());
    let verdict = if result.is_ok() { "" } else { ", failed" };
    println!("-- {name}: {:.1} s{verdict}", start.elapsed().as_secs_f64());
    result
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
