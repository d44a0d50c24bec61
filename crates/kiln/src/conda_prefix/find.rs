//! Where a conda environment is: a path, or a name in the usual places.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::error::CliError;

/// The folder of an environment; `variable` reads the process's environment.
pub(crate) fn find(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<PathBuf, CliError> {
    if text.contains('/') || text == "." {
        return Ok(PathBuf::from(text));
    }
    let places = places(text, variable);
    let is_environment = |folder: &&PathBuf| folder.join("conda-meta").is_dir();
    places.iter().find(is_environment).cloned().ok_or_else(|| {
        let shown: Vec<_> = places
            .iter()
            .map(|place| place.display().to_string())
            .collect();
        CliError::input(
            format!(
                "there is no conda environment `{text}` in the usual places: {}",
                shown.join(", ")
            ),
            "give the environment's folder, as `conda env list` shows it",
        )
    })
}

/// Where conda would look, in its order.
fn places(name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let root = variable("CONDA_EXE")
        .map(PathBuf::from)
        .and_then(|conda| conda.parent()?.parent().map(Path::to_owned))
        .or_else(|| variable("MAMBA_ROOT_PREFIX").map(PathBuf::from));
    let mut places = Vec::new();
    if name == "base" {
        places.extend(root.clone());
    }
    let listed = variable("CONDA_ENVS_PATH").unwrap_or_default();
    let listed = listed.split(':').filter(|path| !path.is_empty());
    places.extend(listed.map(|folder| Path::new(folder).join(name)));
    places.extend(root.map(|root| root.join("envs").join(name)));
    if let Some(home) = variable("HOME").map(PathBuf::from) {
        places.push(home.join(".conda/envs").join(name));
        let known = fs::read_to_string(home.join(".conda/environments.txt"));
        let known = known.unwrap_or_default();
        let known = known.lines().map(|line| PathBuf::from(line.trim()));
        places.extend(known.filter(|path| path.file_name().is_some_and(|last| last == name)));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_where_conda_has_them_and_paths_are_taken() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let folder = home.path().join(path);
            fs::create_dir_all(folder.join("conda-meta")).unwrap();
            folder
        };
        let in_root = at("conda/envs/one");
        let listed = at("elsewhere/two");
        fs::create_dir_all(home.path().join(".conda")).unwrap();
        let text = format!("{}\n", listed.display());
        fs::write(home.path().join(".conda/environments.txt"), text).unwrap();
        let variable = |name: &str| match name {
            "HOME" => Some(home.path().display().to_string()),
            "CONDA_EXE" => Some(home.path().join("conda/bin/conda").display().to_string()),
            _ => None,
        };
        assert_eq!(find("one", &variable).unwrap(), in_root);
        assert_eq!(find("two", &variable).unwrap(), listed);
        assert_eq!(find("/a/b", &variable).unwrap(), Path::new("/a/b"));
        assert!(find("three", &variable).is_err());
        assert!(find("base", &variable).is_err());
        at("conda");
        assert_eq!(find("base", &variable).unwrap(), home.path().join("conda"));
    }
}
