//! A virtual environment on the base's python (PEP 405), without running that: what `kiln-install` makes in a
//! build step.

use std::collections::BTreeMap;

use kiln_layer::SmallEntry;
use kiln_link::{PrefixPath, Target};
use kiln_lock::{Lock, PythonSource};

/// Entries by path of the prefix.
pub(crate) type Entries = BTreeMap<PrefixPath, SmallEntry>;

/// The venv's entries; none where the python is no base's.
pub(crate) fn entries(lock: &Lock, target: &Target) -> Option<Entries> {
    let (Some(locked), Some(python)) = (&lock.python, &target.python) else {
        return None;
    };
    let PythonSource::Base { interpreter } = &locked.source else {
        return None;
    };
    let home = interpreter.rsplit_once('/').map_or("/", |(home, _)| home);
    let home = if home.is_empty() { "/" } else { home };
    let version = &locked.version;
    let config = format!(
        "home = {home}\ninclude-system-site-packages = false\nversion = {version}\nexecutable = {interpreter}\n"
    );
    let link = |target: &str| SmallEntry::Symlink(target.to_owned());
    let file = SmallEntry::File {
        mode: 0o644,
        content: config.into_bytes(),
    };
    let named = [
        ("pyvenv.cfg", file),
        ("bin/python", link(interpreter)),
        ("bin/python3", link("python")),
        ("lib64", link("lib")),
        ("include", SmallEntry::Directory),
    ];
    let constant = |path: &str| PrefixPath::new(path).expect("the path is in its shortest form");
    let mut entries: Entries = named.map(|(path, entry)| (constant(path), entry)).into();
    entries.insert(
        constant(&format!("bin/{}", python.versioned_name())),
        link("python"),
    );
    entries.insert(python.site_packages.clone(), SmallEntry::Directory);
    Some(entries)
}
