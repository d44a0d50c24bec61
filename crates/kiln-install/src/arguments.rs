//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use kiln_install::{Bytecode, InstallOptions};

const HELP: &str = "kiln-install --lock FILE --archives DIR --prefix DIR \
                    [--python-from-base PATH] [--compile]";

/// What to do.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub lock: PathBuf,
    pub options: InstallOptions,
}

/// Why nothing is done.
#[derive(Debug)]
pub(crate) enum Stop {
    Help,
    Version,
    Wrong(String),
}

impl Stop {
    pub(crate) fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong(_))
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help => f.write_str(HELP),
            Self::Version => write!(f, "kiln-install {}", env!("CARGO_PKG_VERSION")),
            Self::Wrong(what) => write!(f, "{what}\nusage: {HELP}"),
        }
    }
}

pub(crate) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Arguments, Stop> {
    let (mut lock, mut archives, mut prefix, mut base_python) = (None, None, None, None);
    let mut bytecode = Bytecode::AsShipped;
    while let Some(argument) = arguments.next() {
        let place = match argument.to_str() {
            Some("--lock") => &mut lock,
            Some("--archives") => &mut archives,
            Some("--prefix") => &mut prefix,
            Some("--python-from-base") => &mut base_python,
            Some("--compile") => {
                bytecode = Bytecode::Compile;
                continue;
            }
            Some("--help" | "-h") => return Err(Stop::Help),
            Some("--version" | "-V") => return Err(Stop::Version),
            _ => {
                return Err(Stop::Wrong(format!(
                    "unknown argument {}",
                    argument.display()
                )));
            }
        };
        let value = arguments
            .next()
            .ok_or_else(|| Stop::Wrong(format!("{} has no value", argument.display())))?;
        if place.replace(PathBuf::from(value)).is_some() {
            return Err(Stop::Wrong(format!("{} stands twice", argument.display())));
        }
    }
    let need = |value: Option<PathBuf>, name: &str| {
        value.ok_or_else(|| Stop::Wrong(format!("{name} is missing")))
    };
    Ok(Arguments {
        lock: need(lock, "--lock")?,
        options: InstallOptions {
            archives: need(archives, "--archives")?,
            prefix: need(prefix, "--prefix")?,
            base_python,
            bytecode,
            limits: kiln_link::Limits::default(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Arguments, String> {
        let words = text.split_whitespace().map(OsString::from);
        parse(words).map_err(|stop| stop.to_string())
    }

    #[test]
    fn arguments_are_read_or_explained() {
        let read = parsed("--lock l --archives a --prefix /p --compile").expect("complete");
        assert_eq!(read.options.bytecode, Bytecode::Compile);
        assert_eq!(read.options.prefix, PathBuf::from("/p"));
        for (text, start) in [
            ("--lock l --archives a", "--prefix is missing"),
            ("--lock", "--lock has no value"),
            ("--lock a --lock b", "--lock stands twice"),
            ("--what", "unknown argument --what"),
            ("--help", "kiln-install --lock"),
            ("--version", "kiln-install "),
        ] {
            let error = parsed(text).expect_err("incomplete");
            assert!(error.starts_with(start), "{error}");
        }
    }
}
