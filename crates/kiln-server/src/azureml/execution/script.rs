//! The zip that runs a submitted script on the submitter's machine.
//!
//! What the user wrote is in files that the script reads; the script's own text has names and addresses alone, which are
//! checked before they stand in it.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::path::Path;

use zip::write::SimpleFileOptions;

use crate::azureml::recipe::{self, Recipe};

/// The script, with the words that [`Script::text`] replaces.
const INVOCATION: &str = include_str!("invocation.sh");

/// How the command is run.
pub(super) enum How {
    /// In a container of the environment's image.
    Docker,
    /// With the packages prepared in a folder of the user's.
    Prepared {
        /// What prepares them.
        recipe: Recipe,
        /// The folder, for a shell.
        prefix: String,
    },
    /// With this python of the machine, which has what is needed.
    OwnPython(String),
}

/// All that the zip says.
pub(super) struct Script {
    pub(super) server: String,
    pub(super) workspace: String,
    pub(super) run: String,
    pub(super) signature: String,
    pub(super) command: Vec<String>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) snapshot: bool,
    pub(super) outputs: bool,
    pub(super) how: How,
}

/// A text for single quotes, of characters that addresses have.
fn plain(text: &str) -> String {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || ":/._-()[]".contains(*c);
    text.chars().filter(allowed).collect()
}

impl Script {
    fn text(&self) -> String {
        let (how, prefix) = match &self.how {
            How::Docker => ("docker", ""),
            How::Prepared { prefix, .. } => ("prepared", prefix.as_str()),
            How::OwnPython(_) => ("own", ""),
        };
        let flag = |flag: bool| if flag { "yes" } else { "" };
        let words = [
            ("@SERVER@", plain(&self.server)),
            ("@WORKSPACE@", plain(&self.workspace)),
            ("@RUN@", plain(&self.run)),
            ("@SIGNATURE@", plain(&self.signature)),
            ("@HOW@", how.to_owned()),
            // kiln's own, with `${HOME}` in it.
            ("@PREFIX@", prefix.to_owned()),
            ("@SNAPSHOT@", flag(self.snapshot).to_owned()),
            ("@OUTPUTS@", flag(self.outputs).to_owned()),
        ];
        words
            .iter()
            .fold(INVOCATION.to_owned(), |text, (word, instead)| {
                text.replace(word, instead)
            })
    }

    /// The zip's bytes.
    pub(super) fn zipped(&self, install_binary: &Path) -> std::io::Result<Vec<u8>> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let mut add = |path: &str, mode: u32, bytes: &[u8]| {
            let options = SimpleFileOptions::default().unix_permissions(mode);
            zip.start_file(path, options)?;
            zip.write_all(bytes)
        };
        add("azureml-setup/Invocation.sh", 0o755, self.text().as_bytes())?;
        let mut command = self.command.clone();
        if let (How::OwnPython(python), Some(first)) = (&self.how, command.first_mut())
            && first == "python"
        {
            first.clone_from(python);
        }
        let listed = |texts: Vec<String>| {
            let ended = texts.into_iter().map(|text| text + "\0");
            ended.collect::<String>()
        };
        add("azureml-setup/command", 0o600, listed(command).as_bytes())?;
        let variables = self.variables.iter();
        let variables = variables.map(|(name, value)| format!("{name}={value}"));
        let variables = listed(variables.collect());
        add("azureml-setup/variables", 0o600, variables.as_bytes())?;
        if let How::Prepared { recipe, .. } = &self.how {
            recipe::add(&mut zip, recipe, install_binary)?;
        }
        Ok(zip.finish()?.into_inner())
    }
}
