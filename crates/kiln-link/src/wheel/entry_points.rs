//! `entry_points.txt`, and the scripts that pip writes for it.

use std::collections::BTreeMap;

use crate::error::Problem;
use crate::path::PrefixPath;
use crate::target::{PythonTarget, TargetPrefix};

/// Longest first line that Linux executes, as pip counts it.
const MAX_SHEBANG_BYTES: usize = 127;

/// `name -> module:function`, console scripts and graphical ones, which are alike on Linux.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EntryPoints {
    console: BTreeMap<String, String>,
    gui: BTreeMap<String, String>,
}

impl EntryPoints {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Problem::Metadata("it is not UTF-8".to_owned()))?;
        let mut found = Self::default();
        let mut section = "";
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                section = name.trim();
                continue;
            }
            let points = match section {
                "console_scripts" => &mut found.console,
                "gui_scripts" => &mut found.gui,
                _ => continue,
            };
            let (name, value) = line
                .split_once('=')
                .ok_or_else(|| Problem::EntryPoint(line.to_owned()))?;
            points.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        Ok(found)
    }

    /// Whether a script of the wheel's `.data` is an old wrapper that pip writes itself.
    pub(super) fn replaces(&self, script: &str) -> bool {
        let lower = script.to_ascii_lowercase();
        let stem = [".exe", "-script.py", ".pya"]
            .iter()
            .find(|ending| lower.ends_with(**ending))
            .map_or(script, |ending| &script[..script.len() - ending.len()]);
        self.console.contains_key(stem) || self.gui.contains_key(stem)
    }

    /// The scripts to write, with their texts.
    pub(super) fn scripts(
        &self,
        prefix: &TargetPrefix,
        python: &PythonTarget,
    ) -> Result<Vec<(PrefixPath, String)>, Problem> {
        let console = versioned(&self.console, python);
        let mut all: BTreeMap<PrefixPath, String> = BTreeMap::new();
        for (name, value) in console.iter().chain(&self.gui) {
            let point = Point::parse(name, value)?;
            all.insert(
                point.path,
                script(prefix, python, &point.module, &point.function),
            );
        }
        Ok(all.into_iter().collect())
    }
}

/// The names of all scripts in an `entry_points.txt`; faulty lines name none.
pub(crate) fn script_names(bytes: &[u8]) -> Vec<String> {
    let points = EntryPoints::parse(bytes).unwrap_or_default();
    points
        .console
        .into_keys()
        .chain(points.gui.into_keys())
        .collect()
}

/// The wheels of pip and old setuptools carry the version of the python that built them in script
/// names; pip writes the environment's instead.
fn versioned(
    console: &BTreeMap<String, String>,
    python: &PythonTarget,
) -> BTreeMap<String, String> {
    let mut out = console.clone();
    if let Some(value) = console.get("pip") {
        out.retain(|name, _| !is_versioned(name, "pip"));
        for name in [
            "pip".to_owned(),
            "pip3".to_owned(),
            format!("pip3.{}", python.minor),
        ] {
            out.insert(name, value.clone());
        }
    }
    if let Some(value) = console.get("easy_install") {
        out.retain(|name, _| !is_versioned(name, "easy_install-"));
        out.insert(format!("easy_install-3.{}", python.minor), value.clone());
    }
    out
}

fn is_versioned(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem).is_some_and(|version| {
        !version.is_empty()
            && version.split('.').count() <= 2
            && version
                .split('.')
                .all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })
}

struct Point {
    path: PrefixPath,
    module: String,
    function: String,
}

impl Point {
    /// `module:function [extras]`; extras mean nothing for an installed script.
    fn parse(name: &str, value: &str) -> Result<Self, Problem> {
        let invalid = || Problem::EntryPoint(format!("{name} = {value}"));
        let callable = match value.split_once('[') {
            Some((callable, extras)) if extras.trim_end().ends_with(']') => callable.trim(),
            Some(_) => return Err(invalid()),
            None => value,
        };
        let (module, function) = callable.split_once(':').ok_or_else(invalid)?;
        let plain = |c: char| c.is_alphanumeric() || "_.+-".contains(c);
        let named = !name.is_empty() && name.chars().all(plain);
        if !named || !is_dotted(module.trim()) || !is_dotted(function.trim()) {
            return Err(invalid());
        }
        Ok(Self {
            path: PrefixPath::new(&format!("bin/{name}")).map_err(|_| invalid())?,
            module: module.trim().to_owned(),
            function: function.trim().to_owned(),
        })
    }
}

use crate::conda::is_dotted;

fn script(prefix: &TargetPrefix, python: &PythonTarget, module: &str, function: &str) -> String {
    let executable = interpreter(prefix);
    let shebang = if executable.len() + 3 <= MAX_SHEBANG_BYTES {
        format!("#!{executable}\n")
    } else {
        format!("#!/bin/sh\n'''exec' {executable} \"$0\" \"$@\"\n' '''\n")
    };
    let import = function.split('.').next().unwrap_or_default();
    // `str.removesuffix` came with 3.9; the pip of older pythons strips with `re`.
    if python.minor < 9 {
        return format!(
            "{shebang}# -*- coding: utf-8 -*-\nimport re\nimport sys\nfrom {module} import {import}\n\
             if __name__ == '__main__':\n    \
             sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])\n    \
             sys.exit({function}())\n"
        );
    }
    format!(
        "{shebang}import sys\nfrom {module} import {import}\n\
         if __name__ == '__main__':\n    \
         sys.argv[0] = sys.argv[0].removesuffix('.exe')\n    \
         sys.exit({function}())\n"
    )
}

/// The interpreter that pip, run by the environment's `bin/python`, writes into scripts.
pub(super) fn interpreter(prefix: &TargetPrefix) -> String {
    format!("{}/bin/python", prefix.as_str())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::target::PythonHome;

    fn scripts(text: &str) -> Result<Vec<(PrefixPath, String)>, Problem> {
        let python = PythonTarget::new(11, PythonHome::Venv, "x86_64");
        let prefix = TargetPrefix::new("/opt/kiln/env").expect("valid");
        EntryPoints::parse(text.as_bytes())?.scripts(&prefix, &python)
    }

    #[test]
    fn a_script_is_pips() {
        let text = "[other]\nx\n[console_scripts]\n# note\nflask = flask.cli:main [async]\n";
        let found = scripts(text).expect("valid");
        let [(path, text)] = found.as_slice() else {
            panic!("one script: {found:?}")
        };
        assert_eq!(path.as_str(), "bin/flask");
        insta::assert_snapshot!(text, @r"
        #!/opt/kiln/env/bin/python
        import sys
        from flask.cli import main
        if __name__ == '__main__':
            sys.argv[0] = sys.argv[0].removesuffix('.exe')
            sys.exit(main())
        ");
    }

    #[test]
    fn pip_gets_the_environments_version() {
        let found = scripts("[console_scripts]\npip=pip:main\npip3.9=pip:main\npipx=x:y\n");
        let names: Vec<String> = found
            .expect("valid")
            .iter()
            .map(|(path, _)| path.to_string())
            .collect();
        assert_eq!(names, ["bin/pip", "bin/pip3", "bin/pip3.11", "bin/pipx"]);
    }

    #[test]
    fn an_old_wrapper_is_replaced() {
        let points = EntryPoints::parse(b"[gui_scripts]\na = b:c\n").expect("valid");
        assert!(points.replaces("a") && points.replaces("a.exe") && points.replaces("a-script.py"));
        assert!(!points.replaces("b") && !points.replaces("a.py"));
    }

    #[rstest]
    #[case("../a = b:c")]
    #[case("a/b = b:c")]
    #[case(".. = b:c")]
    #[case("a b = b:c")]
    #[case("a = b")]
    #[case("a = b:c;d")]
    #[case("a = b:c()")]
    #[case("a = b:c [x")]
    #[case("a = os\u{2028}import:c")]
    fn a_hostile_entry_point_is_refused(#[case] line: &str) {
        let text = format!("[console_scripts]\n{line}\n");
        assert!(matches!(scripts(&text), Err(Problem::EntryPoint(_))));
    }
}
