//! Checks a wheel that somebody uploads, as an index does before it offers one.

use std::io;
use std::path::Path;

use super::name::{WheelName, normalised};
use super::{WheelPackage, WheelRequest};
use crate::entry::{Entry, Sink};
use crate::error::{Found, LinkError};
use crate::limits::Limits;
use crate::target::{PythonHome, PythonTarget, Target, TargetPrefix};

/// What a wheel's file name and metadata agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedWheel {
    /// The PEP 503 name.
    pub name: String,
    /// The version as the file name has it.
    pub version: String,
}

/// Reads a whole wheel: its name, its archive's structure, WHEEL, METADATA and RECORD, and every file
/// against its hash in RECORD.
///
/// # Errors
/// What linking it would fail with.
pub fn check_wheel(archive: &Path, file_name: &str) -> Result<CheckedWheel, LinkError> {
    let parsed =
        WheelName::parse(file_name).map_err(|problem| Found::from(problem).of(file_name))?;
    let checked = CheckedWheel {
        name: normalised(parsed.name),
        version: parsed.version.to_owned(),
    };
    let request = WheelRequest {
        name: checked.name.clone(),
        version: checked.version.clone(),
        file_name: file_name.to_owned(),
        requested: false,
    };
    let prefix = TargetPrefix::new("/opt/wheel").expect("the path is plain");
    let target = Target {
        prefix,
        python: Some(own_python(&parsed)),
        limits: Limits::default(),
        bytecode: false,
    };
    WheelPackage::open(archive, request, &target)?.link(&mut Nowhere)?;
    Ok(checked)
}

/// A python that the wheel's own tags name, where there is one.
fn own_python(name: &WheelName<'_>) -> PythonTarget {
    let minor = name
        .python
        .split('.')
        .filter_map(|tag| tag.strip_prefix("cp3").or_else(|| tag.strip_prefix("py3")))
        .filter_map(|minor| minor.parse().ok())
        .max();
    let machine = if name.platform.contains("aarch64") {
        "aarch64"
    } else {
        "x86_64"
    };
    PythonTarget::new(minor.unwrap_or(12), PythonHome::Venv, machine)
}

/// Reads nothing: the linker reads and verifies what is left.
struct Nowhere;

impl Sink for Nowhere {
    fn put(&mut self, _entry: Entry<'_>) -> io::Result<()> {
        Ok(())
    }
}
