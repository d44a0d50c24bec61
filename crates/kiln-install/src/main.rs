//! Installs a lock inside a container build step.

mod arguments;

use std::io::Write as _;
use std::process::ExitCode;

use kiln_install::{InstallError, Progress, Reporter, install};
use kiln_lock::Lock;
use serde_json::json;

/// Wrong arguments, by `sysexits.h`.
const USAGE: u8 = 64;

/// Writes progress to standard output and warnings to standard error. That nobody reads them is no
/// reason to stop.
struct Console;

impl Reporter for Console {
    fn progress(&mut self, progress: Progress) {
        print_line(&json!(progress));
    }

    fn warning(&mut self, text: &str) {
        let _ = writeln!(std::io::stderr(), "warning: {text}");
    }
}

fn print_line(value: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}

fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(stop) => {
            let wrong = stop.is_wrong();
            let text = stop.to_string();
            let _ = if wrong {
                writeln!(std::io::stderr(), "{text}")
            } else {
                writeln!(std::io::stdout(), "{text}")
            };
            return if wrong {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let lock = fs_err::read_to_string(&arguments.lock)
        .map_err(|error| ("invalid", error.to_string()))
        .and_then(|text| {
            Lock::from_json(&text).map_err(|error| {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                ("invalid", format!("{error}{cause}"))
            })
        });
    let result = lock.and_then(|lock| {
        install(&lock, &arguments.options, &mut Console)
            .map_err(|error: InstallError| (error.class(), error.chain()))
    });
    match result {
        Ok(summary) => {
            let mut line = json!(summary);
            line["step"] = json!("finished");
            print_line(&line);
            ExitCode::SUCCESS
        }
        Err((class, message)) => {
            let _ = writeln!(std::io::stderr(), "error: {message}");
            print_line(&json!({"step": "failed", "class": class, "message": message}));
            ExitCode::FAILURE
        }
    }
}
