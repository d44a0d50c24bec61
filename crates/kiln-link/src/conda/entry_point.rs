//! Entry points of noarch python packages, as conda writes them.

use crate::error::Problem;
use crate::path::PrefixPath;
use crate::target::{PythonTarget, TargetPrefix};

/// Longest first line that Linux executes, its line end counted as conda counts it.
const MAX_SHEBANG_BYTES: usize = 127;

/// `command = module:function`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryPoint {
    pub command: String,
    pub module: String,
    pub function: String,
}

impl EntryPoint {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let invalid = || Problem::EntryPoint(text.to_owned());
        let (left, function) = text.rsplit_once(':').ok_or_else(invalid)?;
        let (command, module) = left.rsplit_once('=').ok_or_else(invalid)?;
        let found = Self {
            command: command.trim().to_owned(),
            module: module.trim().to_owned(),
            function: function.trim().to_owned(),
        };
        let one_name = PrefixPath::new(&found.command).is_ok() && !found.command.contains('/');
        if one_name && is_dotted(&found.module) && is_dotted(&found.function) {
            Ok(found)
        } else {
            Err(invalid())
        }
    }

    /// The script's path.
    pub(crate) fn path(&self) -> PrefixPath {
        PrefixPath::new(&format!("bin/{}", self.command)).expect("the command is one component")
    }

    /// The script's text.
    pub(crate) fn script(&self, prefix: &TargetPrefix, python: &PythonTarget) -> String {
        let executable = format!("{}/bin/{}", prefix.as_str(), python.versioned_name());
        let mut shebang = format!("#!{executable}\n");
        if shebang.len() > MAX_SHEBANG_BYTES {
            shebang = format!("#!/bin/sh\n'''exec' \"{executable}\" \"$0\" \"$@\" #'''\n");
        }
        let Self {
            module, function, ..
        } = self;
        let import = function.split('.').next().unwrap_or_default();
        format!(
            "{shebang}# -*- coding: utf-8 -*-\nimport re\nimport sys\n\nfrom {module} import {import}\n\n\
             if __name__ == '__main__':\n    \
             sys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])\n    \
             sys.exit({function}())\n"
        )
    }
}

/// Whether a text is identifiers with dots between, the only thing an import line may get.
pub(crate) fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| {
        part.chars()
            .next()
            .is_some_and(|c| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::target::PythonHome;

    #[test]
    fn a_script_is_condas() {
        let point = EntryPoint::parse("hello = pkg.cli:App.main").expect("valid");
        let python = PythonTarget::new(11, PythonHome::Conda, "x86_64");
        let prefix = TargetPrefix::new("/opt/kiln/env").expect("valid");
        assert_eq!(point.path().as_str(), "bin/hello");
        insta::assert_snapshot!(point.script(&prefix, &python), @r"
        #!/opt/kiln/env/bin/python3.11
        # -*- coding: utf-8 -*-
        import re
        import sys

        from pkg.cli import App

        if __name__ == '__main__':
            sys.argv[0] = re.sub(r'(-script\.pyw?|\.exe)?$', '', sys.argv[0])
            sys.exit(App.main())
        ");
        let prefix = TargetPrefix::new(&format!("/{}", "p".repeat(120))).expect("valid");
        assert!(
            point
                .script(&prefix, &python)
                .starts_with("#!/bin/sh\n'''exec' \"/ppp")
        );
    }

    #[rstest]
    #[case("../evil = a:b")]
    #[case("a/b = a:b")]
    #[case(".. = a:b")]
    #[case("x = os;import sys:f")]
    #[case("x = a:b()")]
    #[case("x = a:b\nimport os")]
    #[case("x = a")]
    #[case("x")]
    #[case(" = a:b")]
    fn a_hostile_entry_point_is_refused(#[case] text: &str) {
        assert!(matches!(
            EntryPoint::parse(text),
            Err(Problem::EntryPoint(_))
        ));
    }
}
