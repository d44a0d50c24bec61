//! Links one conda package or wheel into a prefix, as conda and pip would.
//!
//! A package is opened ([`CondaPackage`], [`WheelPackage`]), which reads and checks its metadata and
//! knows every path it will have, and then linked: a stream of [`Entry`] into a [`Sink`], files
//! straight from the archive. Only a file whose prefix is replaced and small metadata are held in
//! memory. [`FolderSink`] writes a real folder.
//!
//! What is refused: paths, links and entry points that leave the prefix, devices and setuid files,
//! two contents for one path, archives that two readers could understand differently, bombs, and
//! contents that are not what the package's own list says. Paths that differ in case only are two
//! paths, as everywhere on Linux.
//!
//! # When two packages have one path
//!
//! [`Claims`] decides before anything is written: the later package keeps the path, as when conda
//! and then pip install one after another. A wheel that has the name of a python distribution that
//! a conda package brought replaces it as pip would: [`uninstall`] removes that distribution's files
//! first. The conda package's record in `conda-meta` stays, as it does with pip; conda notices the
//! missing distribution when it reads the environment.
//!
//! # Where kiln differs from conda and pip on purpose
//!
//! - Modification times: a file of a conda package that is not changed keeps the archive's; all
//!   else has the package's own time or [`CONSTANT_MTIME`], never the clock's.
//! - Modes lose write permission for group and others, as with the usual umask.
//! - `conda-meta` names no package cache and no link source, and a noarch package's `paths_data`
//!   names installed paths, as rattler's does.
//! - The scripts of a wheel's `.data` are executable even when the archive forgot to say so (PEP
//!   427), and its RECORD is believed: a file that is not in it is an error.

mod claims;
mod conda;
mod entry;
mod error;
mod folder;
mod hash;
mod limits;
mod linked;
mod path;
mod tar;
mod target;
mod uninstall;
mod wheel;
mod zip;

#[cfg(test)]
mod testing;

pub use claims::{Claims, Clash, Installer, OwnedPaths, Place};
pub use conda::{CondaPackage, CondaRequest};
pub use entry::{CONSTANT_MTIME, Entry, Node, Origin, Sink};
pub use error::{LinkError, Problem, ProblemKind};
pub use folder::{FolderSink, Found};
pub use limits::Limits;
pub use linked::{Linked, Script, ScriptKind};
pub use path::{PathError, PrefixPath};
pub use target::{PrefixError, PythonHome, PythonTarget, Target, TargetPrefix};
pub use uninstall::{Tree, UninstallError, uninstall};
pub use wheel::{
    CheckedWheel, WheelPackage, WheelRequest, check_wheel, normalised as normalised_name,
};
