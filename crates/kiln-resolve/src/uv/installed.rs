//! What conda installs of Python, shown to uv as if it were there already.

use std::io::{self, Write as _};
use std::path::Path;

/// A Python distribution that the conda packages bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The PEP 503 name.
    pub name: String,
    /// The version as written.
    pub version: String,
    /// Its `METADATA`, where it could be read.
    pub metadata: Option<String>,
    /// The conda package that brings it.
    pub conda_package: String,
}

/// Writes stand-ins for installed distributions into a folder: wheels with metadata and no content, so
/// that uv can prefer their versions even where no index has them. They never leave this folder.
pub(super) fn write_stand_ins(folder: &Path, installed: &[Installed]) -> io::Result<()> {
    for distribution in installed {
        let Some(file_name) = stand_in_name(distribution) else {
            continue;
        };
        let file = fs_err::File::create(folder.join(&file_name))?;
        let info = format!(
            "{}.dist-info",
            file_name.trim_end_matches("-py3-none-any.whl")
        );
        let mut zip = zip::ZipWriter::new(file);
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        let metadata = distribution
            .metadata
            .clone()
            .unwrap_or_else(|| bare_metadata(distribution));
        for (name, content) in [
            ("METADATA", metadata.as_str()),
            (
                "WHEEL",
                "Wheel-Version: 1.0\nGenerator: kiln\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            ),
            ("RECORD", ""),
        ] {
            zip.start_file(format!("{info}/{name}"), options)
                .map_err(io::Error::other)?;
            zip.write_all(content.as_bytes())?;
        }
        zip.finish().map_err(io::Error::other)?;
    }
    Ok(())
}

fn bare_metadata(distribution: &Installed) -> String {
    format!(
        "Metadata-Version: 2.1\nName: {}\nVersion: {}\n",
        distribution.name, distribution.version
    )
}

/// The stand-in's file name; `None` when the version is none that pip knows.
pub(super) fn stand_in_name(distribution: &Installed) -> Option<String> {
    let version: pep440_rs::Version = distribution.version.parse().ok()?;
    let name = distribution.name.replace('-', "_");
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    (plain && !name.is_empty()).then(|| format!("{name}-{version}-py3-none-any.whl"))
}

/// A lock that names the installed versions: uv keeps what an earlier lock says where it fits.
pub(super) fn preferences(installed: &[Installed]) -> String {
    let head = "lock-version = \"1.0\"\ncreated-by = \"kiln\"\n".to_owned();
    let packages = installed
        .iter()
        .filter(|known| stand_in_name(known).is_some());
    packages.fold(head, |text, known| {
        let name = toml::Value::from(known.name.as_str());
        let version = toml::Value::from(known.version.as_str());
        text + &format!("\n[[packages]]\nname = {name}\nversion = {version}\n")
    })
}
