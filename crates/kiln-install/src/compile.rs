//! Byte-compiles what has no valid compiled form.
//!
//! Without it every start of a container compiles in memory what it imports. Compiled forms that a
//! package ships and that match their source are kept; the others are made unchecked-hash (PEP 552),
//! which stay valid whatever an image's tools do to modification times.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fs_err::File;
use kiln_link::PythonTarget;

use crate::error::InstallError;
use crate::parallel;

/// Sources compiled by one process: long enough to pay for its start, short enough for progress.
const CHUNK_FILES: usize = 400;
/// Failed sources that are told by name.
const MAX_TOLD: usize = 20;

/// What compiling gave.
pub(crate) struct Compiled {
    /// Sources that have a compiled form now and had none before.
    pub done: u64,
    /// Sources that could not be compiled.
    pub failed: u64,
    /// What the compiler said of them.
    pub messages: Vec<String>,
}

/// Compiles the python library of a prefix. That single sources can't be compiled is no failure:
/// packages ship templates and old tests.
pub(crate) fn compile(
    prefix: &Path,
    python: &PythonTarget,
    progress: impl Fn(u64, u64) + Sync,
) -> Result<Compiled, InstallError> {
    let interpreter = prefix.join("bin").join(python.versioned_name());
    let magic = magic_number(&interpreter)?;
    let mut sources = Vec::new();
    find_sources(
        &prefix.join("lib").join(python.versioned_name()),
        &mut sources,
    )
    .map_err(InstallError::io("looking for python sources"))?;
    sources.retain(|source| !is_compiled(source, python, &magic));
    sources.sort();
    let total = sources.len() as u64;
    progress(0, total);
    let done = std::sync::atomic::AtomicU64::new(0);
    let chunks: Vec<&[PathBuf]> = sources.chunks(CHUNK_FILES).collect();
    let messages = parallel::each(&chunks, |chunk| {
        let messages = run(&interpreter, chunk)?;
        let files = chunk.len() as u64;
        let before = done.fetch_add(files, std::sync::atomic::Ordering::Relaxed);
        progress(before + files, total);
        Ok::<_, InstallError>(messages)
    })?;
    let failed = sources
        .iter()
        .filter(|source| !is_compiled(source, python, &magic))
        .count() as u64;
    let messages = messages.into_iter().flatten().take(MAX_TOLD).collect();
    Ok(Compiled {
        done: total - failed,
        failed,
        messages,
    })
}

/// The compiled form's path.
fn bytecode_of(source: &Path, python: &PythonTarget) -> PathBuf {
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    let name = format!("{stem}.cpython-3{}.pyc", python.minor);
    source.with_file_name("__pycache__").join(name)
}

fn find_sources(directory: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            find_sources(&path, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "py") {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether the compiled form is there and python will use it (PEP 552).
fn is_compiled(source: &Path, python: &PythonTarget, magic: &[u8]) -> bool {
    let mut header = [0; 16];
    let read =
        File::open(bytecode_of(source, python)).and_then(|mut file| file.read_exact(&mut header));
    if read.is_err() || header[..4] != *magic {
        return false;
    }
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    if word(4) & 1 != 0 {
        return true; // checked by its hash, or not at all
    }
    let Ok(metadata) = fs_err::metadata(source) else {
        return false;
    };
    let mtime = std::os::unix::fs::MetadataExt::mtime(&metadata).cast_unsigned();
    // The header has the lower halves.
    word(8) == mtime as u32 && word(12) == metadata.len() as u32
}

/// The four bytes that begin this python's compiled files.
fn magic_number(interpreter: &Path) -> Result<Vec<u8>, InstallError> {
    let doing = || format!("asking {} for its bytecode version", interpreter.display());
    let script = "import sys, importlib.util; sys.stdout.write(importlib.util.MAGIC_NUMBER.hex())";
    let output = python(interpreter)
        .args(["-c", script])
        .output()
        .map_err(InstallError::io(doing()))?;
    let magic = hex::decode(&output.stdout)
        .ok()
        .filter(|magic| magic.len() == 4);
    magic.filter(|_| output.status.success()).ok_or_else(|| {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        InstallError::Io {
            doing: doing(),
            source: std::io::Error::other(text),
        }
    })
}

/// An interpreter that sees no variables and runs no package's start-up code.
fn python(interpreter: &Path) -> Command {
    let mut command = Command::new(interpreter);
    command
        .args(["-S", "-W", "ignore"])
        .current_dir("/")
        .env_clear()
        .env("PYTHONHASHSEED", "0")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

/// Compiles some sources; gives the compiler's complaints.
fn run(interpreter: &Path, sources: &[PathBuf]) -> Result<Vec<String>, InstallError> {
    let doing = || InstallError::io("byte-compiling");
    let mut child = python(interpreter)
        .args([
            "-m",
            "compileall",
            "-q",
            // It would take a compiled form of the same second for valid, whatever its size.
            "-f",
            "--invalidation-mode",
            "unchecked-hash",
            "-i",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(doing())?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let mut list = Vec::new();
    for source in sources {
        list.extend_from_slice(source.as_os_str().as_encoded_bytes());
        list.push(b'\n');
    }
    // compileall reads its whole list before it writes; one that dies is told by its status.
    let written = stdin.write_all(&list);
    drop(stdin);
    let output = child.wait_with_output().map_err(doing())?;
    if output.status.code().is_none_or(|code| code > 1) {
        let source = std::io::Error::other(output.status.to_string());
        return Err(InstallError::Io {
            doing: "byte-compiling".to_owned(),
            source,
        });
    }
    written.map_err(doing())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("***"));
    Ok(lines.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use kiln_link::PythonHome;

    use super::*;

    /// A venv on the host's python, with these sources in its library.
    fn environment(sources: &[(&str, &str)]) -> (tempfile::TempDir, PythonTarget) {
        let script = "import sys; print(sys._base_executable, sys.version_info[1])";
        let output = Command::new("python3")
            .args(["-c", script])
            .output()
            .expect("there is one");
        let text = String::from_utf8(output.stdout).expect("text");
        let (interpreter, minor) = text.trim().rsplit_once(' ').expect("two words");
        let minor = minor.parse().expect("a number");
        let python = PythonTarget::new(minor, PythonHome::Venv, "x86_64");
        let folder = tempfile::tempdir().expect("a folder");
        crate::venv::make(folder.path(), Path::new(interpreter), &python).expect("it is made");
        for (name, text) in sources {
            let path = folder.path().join(python.site_packages.as_str()).join(name);
            fs_err::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs_err::write(path, text).expect("written");
        }
        (folder, python)
    }

    fn bytecode(folder: &Path, python: &PythonTarget, name: &str) -> Vec<u8> {
        let source = folder.join(python.site_packages.as_str()).join(name);
        fs_err::read(bytecode_of(&source, python)).expect("it is compiled")
    }

    #[test]
    fn sources_get_unchecked_bytecode_once_and_faulty_ones_are_told() {
        let (folder, python) = environment(&[
            ("a.py", "x = {1, 'a', 'b'}\n"),
            ("p/b.py", ""),
            ("bad.py", "x = (\n"),
        ]);
        let compiled = compile(folder.path(), &python, |_, _| {}).expect("it runs");
        assert_eq!((compiled.done, compiled.failed), (2, 1));
        let [message] = compiled.messages.as_slice() else {
            panic!("{:?}", compiled.messages)
        };
        assert!(message.contains("bad.py"), "{message}");
        assert_eq!(
            bytecode(folder.path(), &python, "p/b.py")[4..8],
            [1, 0, 0, 0]
        );
        let again = compile(folder.path(), &python, |_, _| {}).expect("it runs");
        assert_eq!(
            (again.done, again.failed),
            (0, 1),
            "what is compiled is kept"
        );
    }

    #[test]
    fn shipped_bytecode_is_kept_while_it_matches_its_source() {
        let (folder, python) = environment(&[("same.py", "x = 1\n"), ("changed.py", "x = 1\n")]);
        let site = folder.path().join(python.site_packages.as_str());
        let status = Command::new(folder.path().join("bin/python"))
            .args(["-m", "compileall", "-q", "--invalidation-mode", "timestamp"])
            .arg(&site)
            .env_clear()
            .status()
            .expect("it runs");
        assert!(status.success());
        fs_err::write(site.join("changed.py"), "x = 12\n").expect("written");
        let compiled = compile(folder.path(), &python, |_, _| {}).expect("it runs");
        assert_eq!((compiled.done, compiled.failed), (1, 0));
        assert_eq!(bytecode(folder.path(), &python, "same.py")[4..8], [0; 4]);
        assert_eq!(
            bytecode(folder.path(), &python, "changed.py")[4..8],
            [1, 0, 0, 0]
        );
    }

    #[test]
    fn many_sources_are_compiled_and_counted() {
        let names: Vec<String> = (0..CHUNK_FILES + 5).map(|n| format!("m/n{n}.py")).collect();
        let sources: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        let (folder, python) = environment(&sources);
        let told = std::sync::Mutex::new(Vec::new());
        let progress = |done, total| told.lock().expect("no panic").push((done, total));
        let compiled = compile(folder.path(), &python, progress).expect("it runs");
        let total = names.len() as u64;
        assert_eq!((compiled.done, compiled.failed), (total, 0));
        let told = told.into_inner().expect("no panic");
        assert_eq!(told.first(), Some(&(0, total)));
        assert!(told.contains(&(total, total)), "{told:?}");
    }
}
