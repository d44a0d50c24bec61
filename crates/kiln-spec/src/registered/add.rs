//! A document with more packages.

use super::build_tree::{list, map, text};
use super::sections::{Section, spelled};
use super::stored::StoredDocument;
use crate::document::{Node, Value};
use crate::input::{Kind, Overrides};

/// Why packages can't be added to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddPackagesError {
    /// Its packages are those of its base.
    #[error("the environment manages its packages itself")]
    UserManaged,
    /// Its packages are those of its context's Dockerfile.
    #[error("the environment is a build context")]
    Context,
}

impl StoredDocument {
    /// The document with these conda packages and pip requirements: one of the same name gives way, the
    /// others are added at the end. Requirements alone stay a requirements file; any other document
    /// becomes an Azure ML environment.
    ///
    /// # Errors
    /// The document's packages are not its own.
    pub fn with_packages(
        &self,
        conda: &[String],
        pip: &[String],
    ) -> Result<Self, AddPackagesError> {
        if self.kind == Kind::Requirements && conda.is_empty() {
            return Ok(self.with_lines(pip));
        }
        let mut tree = spelled(&self.azureml_tree(), Section::Environment);
        let is = |tree: &Node, section: &str, key: &str| {
            let section = tree.field(section)?;
            let entry = section.value.field(key)?;
            (!entry.value.is_null()).then(|| entry.value.scalar().map(str::to_owned))
        };
        if is(&tree, "python", "userManagedDependencies") == Some(Some("true".to_owned())) {
            return Err(AddPackagesError::UserManaged);
        }
        if is(&tree, "docker", "buildContext").is_some() {
            return Err(AddPackagesError::Context);
        }
        add(&mut tree, conda, pip);
        Ok(Self {
            kind: Kind::AzureMl,
            text: tree.to_json(),
            // Files of a saved folder are in the tree; those that pip includes stay beside it.
            files: self.files.clone(),
            overrides: Overrides::default(),
        })
    }

    fn with_lines(&self, pip: &[String]) -> Self {
        let mut lines: Vec<&str> = self.text.lines().collect();
        for requirement in pip {
            lines.retain(|line| !same_pip(line, requirement));
            lines.push(requirement);
        }
        Self {
            text: lines.join("\n") + "\n",
            ..self.clone()
        }
    }
}

fn add(tree: &mut Node, conda: &[String], pip: &[String]) {
    tree.set_default("python", map([]));
    let Some(python) = field(tree, "python") else {
        return;
    };
    python.set_default("condaDependencies", map([]));
    let Some(file) = field(python, "condaDependencies") else {
        return;
    };
    file.set_default("dependencies", list(Vec::new()));
    let Some(Value::List(items)) = field(file, "dependencies").map(|node| &mut node.value) else {
        return;
    };
    for package in conda {
        items.retain(|item| {
            item.scalar()
                .is_none_or(|old| conda_name(old) != conda_name(package))
        });
        items.push(text(package));
    }
    if pip.is_empty() {
        return;
    }
    if !items.iter().any(|item| item.field("pip").is_some()) {
        items.push(map([("pip", list(Vec::new()))]));
    }
    let section = items.iter_mut().find_map(|item| field(item, "pip"));
    if let Some(Value::List(lines)) = section.map(|node| &mut node.value) {
        for requirement in pip {
            lines.retain(|line| line.scalar().is_none_or(|old| !same_pip(old, requirement)));
            lines.push(text(requirement));
        }
    }
}

fn field<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let entry = node
        .fields_mut()?
        .iter_mut()
        .find(|entry| entry.key == key)?;
    Some(&mut entry.value)
}

/// The name of a conda package, without its channel.
fn conda_name(spec: &str) -> String {
    let spec = spec.rsplit_once("::").map_or(spec, |(_, spec)| spec).trim();
    let end = spec.find(|c| " =<>!~[".contains(c)).unwrap_or(spec.len());
    spec[..end].to_ascii_lowercase()
}

/// Whether two requirements are of one name; an option is of none.
fn same_pip(one: &str, other: &str) -> bool {
    let name = |text: &str| {
        let text = text.trim();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let end = text.find(|c| !allowed(c)).unwrap_or(text.len());
        // PEP 503.
        let name = text[..end].to_ascii_lowercase().replace(['_', '.'], "-");
        (!name.is_empty() && !name.starts_with('-')).then_some(name)
    };
    name(one).is_some_and(|one| Some(one) == name(other))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn document(kind: Kind, text: &str) -> StoredDocument {
        StoredDocument {
            kind,
            text: text.into(),
            files: BTreeMap::new(),
            overrides: Overrides::default(),
        }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn packages_of_the_same_name_give_way_and_others_are_added() {
        let conda = document(
            Kind::Conda,
            "dependencies: [python=3.11, conda-forge::Numpy=1.26, {pip: [Foo.Bar==1, --pre]}]\n",
        );
        let more = conda
            .with_packages(
                &texts(&["numpy=2", "scikit-learn==0.21.3"]),
                &texts(&["foo_bar==2", "pillow"]),
            )
            .unwrap();
        let dependencies = r#"["python=3.11",{"pip":["--pre","foo_bar==2","pillow"]},"numpy=2","scikit-learn==0.21.3"]"#;
        assert!(more.text.contains(dependencies), "{}", more.text);
        assert!(more.parse("x").is_ok());
        let again = more.with_packages(&[], &[]).unwrap();
        assert!(again.digest().equals(&more.digest()));
    }

    #[test]
    fn requirements_stay_requirements() {
        let requirements = document(Kind::Requirements, "# mine\nfoo==1\n--pre\n");
        let more = requirements
            .with_packages(&[], &texts(&["Foo==2"]))
            .unwrap();
        assert_eq!(more.text, "# mine\n--pre\nFoo==2\n");
        assert_eq!(more.kind, Kind::Requirements);
    }

    #[test]
    fn a_document_whose_packages_are_not_its_own_gets_none() {
        let managed =
            r#"{"python": {"userManagedDependencies": true}, "docker": {"baseImage": "x:1"}}"#;
        let context = r#"{"docker": {"buildContext": {"locationType": "git", "location": "https://h.example.org/x.git"}}}"#;
        for (text, error) in [
            (managed, AddPackagesError::UserManaged),
            (context, AddPackagesError::Context),
        ] {
            let document = document(Kind::AzureMl, text);
            assert_eq!(document.with_packages(&texts(&["x"]), &[]), Err(error));
        }
    }
}
