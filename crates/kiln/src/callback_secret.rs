//! The secret that messages to callbacks are signed with: made once, kept in the data folder.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use fs_err as fs;
use kiln_events::SigningSecret;

use crate::error::CliError;

const FILE: &str = "callback.secrets";

/// The live secrets, newest first: a line each in the file, so that an operator may roll them.
pub(crate) fn callback_secrets(data: &Path) -> Result<Vec<SigningSecret>, CliError> {
    let path = data.join(FILE);
    let fault = |error: std::io::Error| {
        CliError::Failure(kiln_engine::failure::of_io("the data folder", &error))
    };
    match fs::read_to_string(&path) {
        Ok(text) => text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| SigningSecret::parse(line.trim()))
            .collect::<Result<_, _>>()
            .map_err(|error| {
                CliError::input(
                    format!("{}: {error}", path.display()),
                    "write one secret a line, newest first, or remove the file",
                )
            }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = SigningSecret::generate();
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(fault)?;
            writeln!(file, "{}", secret.expose()).map_err(fault)?;
            file.sync_all().map_err(fault)?;
            Ok(vec![secret])
        }
        Err(error) => Err(fault(error)),
    }
}
