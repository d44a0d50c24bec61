//! What the command line tells when it fails, and the exit code.

use std::io::Write as _;

use kiln_api::{Failure, FailureClass};

use crate::config::SettingsError;

/// The input is at fault.
pub(crate) const EXIT_INPUT: u8 = 1;
/// kiln is at fault, or what it runs on.
pub(crate) const EXIT_KILN: u8 = 2;
/// The arguments or settings are at fault (`EX_USAGE` of sysexits.h).
pub(crate) const EXIT_USAGE: u8 = 64;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The settings are not usable.
    Settings(SettingsError),
    /// A failure with a class and a remedy.
    Failure(Failure),
    /// The failure is on standard output already, as JSON.
    Told(Failure),
    /// A command that kiln ran ended with this code, and has told why.
    Exit(u8),
}

impl CliError {
    /// A fault of kiln or of what it runs on.
    pub(crate) fn kiln(what: &str, cause: &dyn std::error::Error) -> Self {
        Self::Failure(Failure::new(
            FailureClass::Internal,
            format!("{what}: {cause}"),
            "see the message; `kiln doctor` checks what kiln needs",
        ))
    }

    /// A fault of the input.
    pub(crate) fn input(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Failure(Failure::new(FailureClass::Invalid, message, remedy))
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) => EXIT_USAGE,
            Self::Exit(code) => *code,
            Self::Failure(failure) | Self::Told(failure) => {
                if failure.class.is_input_fault() {
                    EXIT_INPUT
                } else {
                    EXIT_KILN
                }
            }
        }
    }

    /// Writes the error to standard error.
    pub(crate) fn tell(&self) {
        let text = match self {
            Self::Told(_) | Self::Exit(_) => return,
            Self::Settings(error) => format!("error: {error}\n"),
            Self::Failure(failure) => format!(
                "error ({}): {}\n  help: {}\n",
                failure.class, failure.message, failure.remedy
            ),
        };
        // Nothing can be told when the terminal is gone.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

impl From<kiln_engine::EngineError> for CliError {
    fn from(error: kiln_engine::EngineError) -> Self {
        Self::Failure(error.failure())
    }
}
