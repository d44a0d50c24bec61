//! A folder with a Dockerfile as Docker sends it to a builder: without what `.dockerignore` names.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use globset::{GlobBuilder, GlobMatcher};
use kiln_engine::FilePath;

use crate::error::CliError;
use crate::folder_tar::{Content, Entry};

/// The files, folders and links of a context; its Dockerfile is among them whatever is ignored.
///
/// # Errors
/// When a path can't be read or named in a tar, a pattern is none, or there is no such Dockerfile.
pub(crate) fn entries(root: &Path, dockerfile: &str) -> Result<Vec<Entry>, CliError> {
    let remedy = "give a folder that kiln may read";
    let fault = |error: io::Error| {
        CliError::input(format!("the build context can't be read: {error}"), remedy)
    };
    if !root.join(dockerfile).is_file() {
        return Err(CliError::input(
            format!("{} has no file `{dockerfile}`", root.display()),
            "give the Dockerfile's path in the folder with --dockerfile-path",
        ));
    }
    let ignored = Ignored::of(root, dockerfile)?;
    let mut found = Vec::new();
    let mut waiting = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = waiting.pop() {
        for entry in fs::read_dir(folder).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let file = entry.path();
            let refused = |reason: &dyn std::fmt::Display| {
                CliError::input(
                    format!("{}: {reason}", file.display()),
                    "leave it out, by name in `.dockerignore`",
                )
            };
            let name = entry.file_name();
            // A name that no pattern can name either.
            let name = name
                .to_str()
                .ok_or_else(|| refused(&"its name is no UTF-8"))?;
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(fault)?;
            let is_ignored = path != dockerfile && ignored.is(&path);
            if kind.is_dir() && !(is_ignored && ignored.nothing_below(&path, dockerfile)) {
                waiting.push((file.clone(), format!("{path}/")));
            }
            if is_ignored {
                continue;
            }
            let path: FilePath = path.parse().map_err(|error| refused(&error))?;
            let content = if kind.is_dir() {
                Content::Folder
            } else if kind.is_symlink() {
                Content::Link(fs::read_link(&file).map_err(fault)?)
            } else if kind.is_file() {
                let mode = mode(&file).map_err(fault)?;
                Content::File { from: file, mode }
            } else {
                return Err(refused(&"it is no file, folder or symbolic link"));
            };
            found.push(Entry {
                path: path.to_string(),
                content,
            });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn mode(file: &Path) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt as _;

    Ok(fs::metadata(file)?.permissions().mode() & 0o777)
}

/// What is left out: the last pattern that matches a path, or a folder above it, decides.
struct Ignored {
    patterns: Vec<(bool, GlobMatcher)>,
}

impl Ignored {
    /// The patterns of `<Dockerfile>.dockerignore`, else of `.dockerignore`, else none.
    fn of(root: &Path, dockerfile: &str) -> Result<Self, CliError> {
        let names = [
            format!("{dockerfile}.dockerignore"),
            ".dockerignore".to_owned(),
        ];
        for name in names {
            let path: PathBuf = root.join(name);
            match fs::read_to_string(&path) {
                Ok(text) => return Self::parse(&text, &path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let message = format!("what is to be left out can't be read: {error}");
                    return Err(CliError::input(message, "save the file as UTF-8"));
                }
            }
        }
        Ok(Self {
            patterns: Vec::new(),
        })
    }

    fn parse(text: &str, file: &Path) -> Result<Self, CliError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (kept, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let pattern = cleaned(pattern);
            if pattern.is_empty() {
                continue;
            }
            let glob = GlobBuilder::new(&without_braces(&pattern))
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|error| {
                    CliError::input(
                        format!("{}:{}: {}", file.display(), index + 1, error.kind()),
                        "write the pattern as Docker's page on `.dockerignore` says",
                    )
                })?;
            patterns.push((kept, glob.compile_matcher()));
        }
        Ok(Self { patterns })
    }

    fn is(&self, path: &str) -> bool {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        let paths: Vec<&str> = above.chain([path]).collect();
        let decides = |(kept, glob): &(bool, GlobMatcher)| {
            paths
                .iter()
                .any(|path| glob.is_match(path))
                .then_some(!kept)
        };
        self.patterns
            .iter()
            .rev()
            .find_map(decides)
            .unwrap_or(false)
    }

    /// Whether an ignored folder need not be looked into.
    fn nothing_below(&self, folder: &str, dockerfile: &str) -> bool {
        let holds_dockerfile = dockerfile
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'));
        !holds_dockerfile && self.patterns.iter().all(|(kept, _)| !kept)
    }
}

/// A pattern's path without empty parts, `.` and `..`.
fn cleaned(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Braces mean themselves in these patterns.
fn without_braces(pattern: &str) -> String {
    let (mut text, mut in_class, mut escaped) = (String::new(), false, false);
    for c in pattern.chars() {
        if !escaped && !in_class && matches!(c, '{' | '}') {
            text.push('\\');
        }
        in_class = !escaped && (c == '[' || (in_class && c != ']'));
        escaped = !escaped && c == '\\';
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(text: &str, path: &str) -> bool {
        let parsed = Ignored::parse(text, Path::new(".dockerignore"));
        parsed.expect("they are patterns").is(path)
    }

    #[test]
    fn the_last_pattern_that_matches_decides_as_with_docker() {
        for (text, path, expected) in [
            ("", "a", false),
            ("# a\n\n  \n", "a", false),
            ("a", "a", true),
            ("a", "b/a", false),
            ("a", "a/b/c", true),
            ("/a/", "a/b", true),
            ("./a", "a", true),
            ("x/../a", "a", true),
            ("*.pyc", "m.pyc", true),
            ("*.pyc", "s/m.pyc", false),
            ("**/*.pyc", "m.pyc", true),
            ("**/*.pyc", "s/t/m.pyc", true),
            ("*/temp*", "s/temporary", true),
            ("*/temp*", "s/t/temporary", false),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("[ab]", "b", true),
            ("[^ab]", "b", false),
            ("a{b,c}", "ab", false),
            ("a{b,c}", "a{b,c}", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*.md\n!README.md", "README.md", false),
            (
                "*.md\n!README*.md\nREADME-secret.md",
                "README-secret.md",
                true,
            ),
            ("s\n!s/keep", "s/keep/x", false),
            ("s\n! s/keep", "s/other", true),
            ("*\n!a", "b", true),
            (".", "a", false),
        ] {
            assert_eq!(ignored(text, path), expected, "{text:?} {path}");
        }
        let faulty = Ignored::parse("a\n[b", Path::new(".dockerignore"));
        assert!(faulty.is_err());
    }

    #[test]
    fn a_folder_is_listed_without_what_is_ignored_and_with_its_dockerfile() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("docker")).unwrap();
        fs::create_dir_all(root.join("data/deep")).unwrap();
        fs::create_dir_all(root.join("empty")).unwrap();
        for name in ["docker/Dockerfile", "data/a", "data/deep/b", "run.sh"] {
            fs::write(root.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("run.sh", root.join("link")).unwrap();
        fs::write(root.join(".dockerignore"), "docker\ndata\n!data/deep\n").unwrap();
        let listed = entries(root, "docker/Dockerfile").unwrap();
        let paths: Vec<_> = listed.iter().map(|entry| entry.path.as_str()).collect();
        let expected = [
            ".dockerignore",
            "data/deep",
            "data/deep/b",
            "docker/Dockerfile",
            "empty",
            "link",
            "run.sh",
        ];
        assert_eq!(paths, expected);
        assert!(entries(root, "Dockerfile").is_err());
    }
}
