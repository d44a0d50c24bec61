//! The Azure ML SDKs that the tests run, each in a folder of its own.

use std::path::PathBuf;

use anyhow::Result;

use crate::packages;
use crate::paths::Paths;
use crate::process::run;
use crate::stamp::Stamp;

/// The newest SDK, and that of 2019: the variable that tells the tests where it is, and the list of its packages.
const SDKS: [(&str, &str); 2] = [
    ("KILN_TEST_AZUREML", "azureml-core-1.61"),
    ("KILN_TEST_AZUREML_2019", "azureml-core-1.0.57"),
];

/// Installs the SDKs unless they are there; a variable and a folder for `PYTHONPATH` each.
pub(crate) fn ensure(paths: &Paths) -> Result<Vec<(&'static str, PathBuf)>> {
    packages::ensure(packages::TOOLS)?;
    let install = |(variable, name): (&'static str, &str)| {
        let list = paths.root.join("tests/sdk").join(format!("{name}.txt"));
        let folder = paths.folder("sdk")?.join(name);
        Stamp::new(paths, &format!("sdk {name}"))?
            .files(&[&list])?
            .make(&folder, || {
                let part = folder.with_extension("part");
                for old in [&part, &folder] {
                    if old.exists() {
                        fs_err::remove_dir_all(old)?;
                    }
                }
                let mut pip = packages::python();
                // Nothing goes into the system's packages.
                pip.env("PIP_ROOT_USER_ACTION", "ignore");
                pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]);
                run(pip.arg(&part).arg("--requirement").arg(&list))?;
                Ok(fs_err::rename(&part, &folder)?)
            })?;
        Ok((variable, folder))
    };
    SDKS.into_iter().map(install).collect()
}
