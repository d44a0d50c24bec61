//! A virtual environment on the base's python (PEP 405), without system site packages.
//!
//! It has what the interpreter needs to find itself and what pip's layout expects: `pyvenv.cfg`,
//! `bin/python` and its names, `lib64`, the library directory. No pip and no activation scripts are
//! put in: a definition may ask for pip as a package, and an image sets `PATH`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_link::PythonTarget;

use crate::error::InstallError;

/// Makes the environment at `prefix` on the interpreter.
pub(crate) fn make(
    prefix: &Path,
    interpreter: &Path,
    python: &PythonTarget,
) -> Result<(), InstallError> {
    let version = version_of(interpreter)?;
    let minor = format!("3.{}", python.minor);
    if version.split('.').take(2).collect::<Vec<_>>().join(".") != minor {
        return Err(InstallError::BasePython {
            interpreter: interpreter.display().to_string(),
            found: version,
            expected: minor,
        });
    }
    write(prefix, interpreter, python, &version)
        .map_err(InstallError::io("making the virtual environment"))
}

fn write(
    prefix: &Path,
    interpreter: &Path,
    python: &PythonTarget,
    version: &str,
) -> std::io::Result<()> {
    let home = interpreter.parent().unwrap_or(Path::new("/"));
    for directory in ["bin", "include", python.site_packages.as_str()] {
        fs_err::create_dir_all(prefix.join(directory))?;
    }
    let config = format!(
        "home = {}\ninclude-system-site-packages = false\nversion = {version}\nexecutable = {}\n",
        home.display(),
        interpreter.display()
    );
    fs_err::write(prefix.join("pyvenv.cfg"), config)?;
    link(interpreter, &prefix.join("bin/python"))?;
    for name in ["python3".to_owned(), python.versioned_name()] {
        link(Path::new("python"), &prefix.join("bin").join(name))?;
    }
    link(Path::new("lib"), &prefix.join("lib64"))
}

/// Makes a symlink in place of whatever stood there.
fn link(target: &Path, path: &Path) -> std::io::Result<()> {
    if path.symlink_metadata().is_ok() {
        fs_err::remove_file(path)?;
    }
    symlink(target, path)
}

/// What the interpreter says its version is.
fn version_of(interpreter: &Path) -> Result<String, InstallError> {
    let doing = || format!("asking {} for its version", interpreter.display());
    let output = Command::new(interpreter)
        .args([
            "-I",
            "-S",
            "-c",
            "import sys; print('%d.%d.%d' % sys.version_info[:3])",
        ])
        .env_clear()
        .output()
        .map_err(InstallError::io(doing()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let version =
        text.split('.').count() == 3 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if output.status.success() && version {
        return Ok(text);
    }
    let source = std::io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    Err(InstallError::Io {
        doing: doing(),
        source,
    })
}

/// The interpreter's path: the lock's unless the caller knows better.
pub(crate) fn interpreter(locked: &str, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| PathBuf::from(locked), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use kiln_link::PythonHome;

    use super::*;

    fn host_python() -> (PathBuf, u32) {
        let output = Command::new("python3")
            .args([
                "-c",
                "import sys; print(sys._base_executable); print(sys.version_info[1])",
            ])
            .output()
            .expect("there is a python3");
        let text = String::from_utf8(output.stdout).expect("text");
        let (path, minor) = text.trim().split_once('\n').expect("two lines");
        (PathBuf::from(path), minor.parse().expect("a number"))
    }

    #[test]
    fn the_python_of_a_venv_finds_its_own_libraries_and_not_the_systems() {
        let (interpreter, minor) = host_python();
        let folder = tempfile::tempdir().expect("a folder");
        let prefix = folder.path().join("env");
        let python = PythonTarget::new(minor, PythonHome::Venv, "x86_64");
        for _ in 0..2 {
            make(&prefix, &interpreter, &python).expect("it is made, and made again");
        }
        let site = prefix.join(python.site_packages.as_str());
        fs_err::write(site.join("own.py"), "x = 1\n").expect("written");
        let script =
            "import own, sys; print(sys.prefix); print([p for p in sys.path if 'packages' in p])";
        for name in ["python", "python3", &python.versioned_name()] {
            let output = Command::new(prefix.join("bin").join(name))
                .args(["-c", script])
                .env_clear()
                .output()
                .expect("it runs");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let lib = site.display();
            assert_eq!(
                text,
                format!("{}\n['{lib}']\n", prefix.display()),
                "{output:?}"
            );
        }
        assert!(prefix.join("lib64").join(python.versioned_name()).is_dir());
    }

    #[test]
    fn another_python_than_the_locks_is_refused() {
        let (interpreter, minor) = host_python();
        let folder = tempfile::tempdir().expect("a folder");
        let python = PythonTarget::new(minor + 1, PythonHome::Venv, "x86_64");
        let error = make(folder.path(), &interpreter, &python).expect_err("it is another");
        assert!(
            matches!(error, InstallError::BasePython { .. }),
            "{error:?}"
        );
        assert_eq!(error.class(), "invalid");
    }
}
