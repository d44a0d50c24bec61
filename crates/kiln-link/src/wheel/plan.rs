//! Where each file of a wheel goes.

use fs_err::File;

use super::entry_points::EntryPoints;
use super::package::WheelRequest;
use crate::error::{Found, Problem};
use crate::path::{PathError, PrefixPath};
use crate::target::{PythonHome, PythonTarget};
use crate::zip::{Zip, ZipEntry};

/// `S_IFMT`, `S_IFREG` and `S_IFLNK` of a zip entry's Unix mode.
const KIND_MASK: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// One file of the archive and where it goes.
pub(super) struct Planned {
    pub index: usize,
    pub path: PrefixPath,
    pub script: bool,
    pub executable: bool,
}

/// Says for each file of the archive where it goes.
pub(super) fn plan(
    zip: &Zip<File>,
    info: &str,
    request: &WheelRequest,
    python: &PythonTarget,
    points: &EntryPoints,
) -> Result<Vec<Planned>, Found> {
    let data = format!(
        "{}.data",
        info.strip_suffix(".dist-info").unwrap_or_default()
    );
    // What the installer writes itself never comes from the archive.
    let own: Vec<String> = ["RECORD", "INSTALLER", "REQUESTED", "direct_url.json"]
        .iter()
        .map(|file| format!("{info}/{file}"))
        .collect();
    let mut plan = Vec::new();
    for (index, entry) in zip.entries().iter().enumerate() {
        let planned =
            one(index, entry, &data, request, python).map_err(|problem| problem.at(&entry.name))?;
        let Some(planned) = planned else { continue };
        let replaced = planned.script && points.replaces(planned.path.file_name());
        if !replaced && !own.contains(&entry.name) {
            plan.push(planned);
        }
    }
    Ok(plan)
}

fn one(
    index: usize,
    entry: &ZipEntry,
    data: &str,
    request: &WheelRequest,
    python: &PythonTarget,
) -> Result<Option<Planned>, Problem> {
    if entry.name.contains('\\') {
        return Err(Problem::UnsafePath(PathError::Backslash));
    }
    // Directories are checked like files and made where a file needs them.
    PrefixPath::new(entry.name.strip_suffix('/').unwrap_or(&entry.name))?;
    let kind = entry.unix_mode & KIND_MASK;
    match kind {
        _ if entry.is_directory() => return Ok(None),
        0 | REGULAR => {}
        SYMLINK => return Err(Problem::ForbiddenKind("symlink in a wheel")),
        _ => return Err(Problem::ForbiddenKind("device or pipe")),
    }
    if entry.unix_mode & 0o6000 != 0 {
        return Err(Problem::SetId);
    }
    let executable = kind == REGULAR && entry.unix_mode & 0o111 != 0;
    let top = entry.name.split('/').next().unwrap_or_default();
    if top.strip_suffix(".data").is_none() || !entry.name.contains('/') {
        let path = python.site_packages.join(&entry.name)?;
        return Ok(Some(Planned {
            index,
            path,
            script: false,
            executable,
        }));
    }
    if top != data {
        return Err(Problem::Archive(
            "a .data directory belongs to another wheel",
        ));
    }
    let mut parts = entry.name.splitn(3, '/').skip(1);
    let (Some(scheme), Some(below)) = (parts.next(), parts.next()) else {
        return Err(Problem::Archive("a file of .data belongs to no scheme"));
    };
    let path = match scheme {
        "purelib" | "platlib" => python.site_packages.join(below)?,
        "scripts" => PrefixPath::new(&format!("bin/{below}"))?,
        "data" => PrefixPath::new(below)?,
        "headers" => headers_directory(request, python)?.join(below)?,
        _ => {
            return Err(Problem::Archive(
                "a file of .data belongs to an unknown scheme",
            ));
        }
    };
    if path.is_record() {
        return Err(Problem::Reserved);
    }
    let script = scheme == "scripts";
    Ok(Some(Planned {
        index,
        path,
        script,
        executable: executable || script,
    }))
}

fn headers_directory(
    request: &WheelRequest,
    python: &PythonTarget,
) -> Result<PrefixPath, PathError> {
    let site = match python.home {
        PythonHome::Venv => "site/",
        PythonHome::Conda => "",
    };
    PrefixPath::new(&format!(
        "include/{site}{}/{}",
        python.versioned_name(),
        request.name
    ))
}
