//! conda's post-link scripts.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::InstallError;

/// As much of a failed script's output is told.
const TAIL_BYTES: usize = 4096;

/// A package's post-link script.
pub(crate) struct PostLink<'a> {
    pub path: String,
    pub name: &'a str,
    pub version: &'a str,
    pub build_number: u64,
}

/// Runs a script with conda's variables and nothing else; gives what it tells its user.
pub(crate) fn run(prefix: &Path, script: &PostLink<'_>) -> Result<Option<String>, InstallError> {
    let file = prefix.join(&script.path);
    // conda takes bash; a base may only have sh.
    let shell = ["/bin/bash", "/usr/bin/bash"]
        .into_iter()
        .find(|shell| Path::new(shell).exists());
    let output = Command::new(shell.unwrap_or("/bin/sh"))
        .arg(&file)
        .current_dir(prefix)
        .env_clear()
        .env("PREFIX", prefix)
        .env("PKG_NAME", script.name)
        .env("PKG_VERSION", script.version)
        .env("PKG_BUILDNUM", script.build_number.to_string())
        .env("PATH", format!("{}/bin:/usr/bin:/bin", prefix.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(InstallError::io(format!(
            "starting the script {}",
            script.path
        )))?;
    if !output.status.success() {
        let all = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&all[all.len().saturating_sub(TAIL_BYTES)..]);
        return Err(InstallError::Script {
            script: script.path.clone(),
            status: output.status.to_string(),
            output: text.trim().to_owned(),
        });
    }
    messages(prefix)
}

/// What a script leaves in `.messages.txt` for the user; the file goes, as with conda.
fn messages(prefix: &Path) -> Result<Option<String>, InstallError> {
    let file = prefix.join(".messages.txt");
    if !file.is_file() {
        return Ok(None);
    }
    let failed = || InstallError::io("reading a script's messages");
    let text = fs_err::read(&file).map_err(failed())?;
    fs_err::remove_file(&file).map_err(failed())?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Ok((!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(folder: &Path, text: &str) -> Result<Option<String>, InstallError> {
        fs_err::write(folder.join("post.sh"), text).expect("written");
        let script = PostLink {
            path: "post.sh".into(),
            name: "pkg",
            version: "1.0",
            build_number: 3,
        };
        run(folder, &script)
    }

    #[test]
    fn a_script_sees_condas_variables_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = script(
            folder.path(),
            "env | grep -v -e ^_= -e ^SHLVL= -e ^PWD= -e ^OLDPWD= | sort > \"$PREFIX/.messages.txt\"\n",
        );
        let prefix = folder.path().display();
        let expected = format!(
            "PATH={prefix}/bin:/usr/bin:/bin\nPKG_BUILDNUM=3\nPKG_NAME=pkg\nPKG_VERSION=1.0\nPREFIX={prefix}"
        );
        assert_eq!(told.expect("it runs"), Some(expected));
        assert!(!folder.path().join(".messages.txt").exists());
    }

    #[test]
    fn a_failed_script_is_told_with_its_output() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = script(folder.path(), "echo why; exit 4\n").expect_err("it fails");
        assert_eq!(
            error.to_string(),
            "the script post.sh failed with exit status: 4: why"
        );
    }
}
