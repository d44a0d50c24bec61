//! The steps of an installation.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_link::{
    Claims, CondaPackage, FolderSink, Installer, Limits, Linked, Place, PrefixPath, ScriptKind,
    Target, TargetPrefix, WheelPackage, WheelRequest, uninstall,
};
use kiln_lock::{Lock, PythonSource};

use crate::archives::{self, Archive};
use crate::compile;
use crate::error::InstallError;
use crate::progress::{Progress, Reporter, Step, Summary};
use crate::scripts::{self, PostLink};
use crate::{history, parallel, requests, venv};

/// Whether sources are byte-compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytecode {
    /// Every source gets a compiled form where it has no valid one.
    Compile,
    /// Only what packages ship.
    AsShipped,
}

/// What to install where.
#[derive(Debug, Clone)]
pub struct InstallOptions {
    /// The folder of archives, each under its file name in the lock.
    pub archives: PathBuf,
    /// The absolute path of the environment; made where it is missing.
    pub prefix: PathBuf,
    /// The base's interpreter, where it is not the lock's.
    pub base_python: Option<PathBuf>,
    /// Whether to byte-compile.
    pub bytecode: Bytecode,
    /// What one package may unpack to.
    pub limits: Limits,
}

/// Installs a lock; tells the reporter how far it is.
pub fn install(
    lock: &Lock,
    options: &InstallOptions,
    reporter: &mut dyn Reporter,
) -> Result<Summary, InstallError> {
    let archives = archives::locate(lock, &options.archives)?;
    let run = Run {
        lock,
        options,
        target: target(lock, options)?,
        reporter: Mutex::new(reporter),
    };
    let counter = run.counter(Step::Verify, archives.len());
    archives::verify(&archives, || counter.one())?;
    let (conda, wheels) = archives.split_at(lock.conda.len());
    run.all(conda, wheels)
}

struct Run<'a> {
    lock: &'a Lock,
    options: &'a InstallOptions,
    target: Target,
    reporter: Mutex<&'a mut dyn Reporter>,
}

/// Counts a step's parts as threads finish them.
struct Counter<'a, 'b> {
    run: &'a Run<'b>,
    step: Step,
    done: AtomicU64,
    total: u64,
}

impl Counter<'_, '_> {
    fn one(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.run.progress(self.step, done, self.total);
    }
}

impl<'b> Run<'b> {
    fn counter(&self, step: Step, total: usize) -> Counter<'_, 'b> {
        Counter {
            run: self,
            step,
            done: AtomicU64::new(0),
            total: total as u64,
        }
    }

    fn progress(&self, step: Step, done: u64, total: u64) {
        let mut reporter = self.reporter.lock().expect("no reporter panics");
        reporter.progress(Progress { step, done, total });
    }

    fn warn(&self, text: &str) {
        self.reporter
            .lock()
            .expect("no reporter panics")
            .warning(text);
    }

    fn folder(&self) -> Result<FolderSink, InstallError> {
        FolderSink::open(&self.options.prefix).map_err(InstallError::io("opening the prefix"))
    }

    fn all(mut self, conda: &[Archive], wheels: &[Archive]) -> Result<Summary, InstallError> {
        let mut summary = Summary::default();
        self.folder()?;
        if let Some(PythonSource::Base { interpreter }) =
            self.lock.python.as_ref().map(|python| &python.source)
        {
            let interpreter = venv::interpreter(interpreter, self.options.base_python.as_deref());
            let python = self.target.python.as_ref().expect("the lock has a python");
            venv::make(&self.options.prefix, &interpreter, python)?;
            self.progress(Step::Venv, 1, 1);
        }
        self.find_site_packages(conda)?;
        let claims = self.conda(conda, &mut summary)?;
        self.wheels(wheels, &claims, &mut summary)?;
        if self.options.bytecode == Bytecode::Compile && self.target.python.is_some() {
            self.compile(&mut summary)?;
        }
        Ok(summary)
    }

    fn find_site_packages(&mut self, archives: &[Archive]) -> Result<(), InstallError> {
        let Some(at) = requests::python_package(self.lock) else {
            return Ok(());
        };
        requests::find_site_packages(self.lock, &archives[at].path, &mut self.target)
    }

    /// Links the conda packages, runs their scripts, writes the history.
    fn conda(&self, archives: &[Archive], summary: &mut Summary) -> Result<Claims, InstallError> {
        let packages = &self.lock.conda;
        let mut claims = Claims::default();
        if packages.is_empty() {
            return Ok(claims);
        }
        let order = requests::link_order(self.lock);
        let opened = parallel::each(&order, |at| {
            let request = requests::conda_request(&packages[*at]);
            CondaPackage::open(&archives[*at].path, request, &self.target)
                .map_err(InstallError::Link)
        })?;
        let opened: Vec<(Place, CondaPackage)> = (0..)
            .map(|order| Place {
                installer: Installer::Conda,
                order,
            })
            .zip(opened)
            .collect();
        for (place, package) in &opened {
            for (path, origin) in package.paths() {
                claims.claim(path, origin, *place);
            }
        }
        self.tell_clashes(&claims, &order, summary);
        let counter = self.counter(Step::Link, packages.len());
        let linked = parallel::each(&opened, |(place, package)| {
            let mut folder = self.folder()?;
            let linked = package
                .link(&mut claims.only(*place, &mut folder))
                .map_err(InstallError::Link)?;
            counter.one();
            Ok::<_, InstallError>(linked)
        })?;
        for linked in &linked {
            add(summary, linked);
        }
        summary.conda_packages = packages.len() as u64;
        self.scripts(&order, &linked, summary)?;
        self.write_history()?;
        Ok(claims)
    }

    fn tell_clashes(&self, claims: &Claims, order: &[usize], summary: &mut Summary) {
        summary.clashes += claims.clashes().len() as u64;
        let name = |place: Place| &self.lock.conda[order[place.order as usize]].name;
        for clash in claims.clashes().iter().take(MAX_TOLD_CLASHES) {
            let (winner, loser) = (name(clash.winner), name(clash.loser));
            self.warn(&format!(
                "{} is in {loser} and {winner}; {winner}'s is kept",
                clash.path
            ));
        }
    }

    fn scripts(
        &self,
        order: &[usize],
        linked: &[Linked],
        summary: &mut Summary,
    ) -> Result<(), InstallError> {
        let mut all = Vec::new();
        for (at, linked) in order.iter().zip(linked) {
            let package = &self.lock.conda[*at];
            for script in &linked.scripts {
                match script.kind {
                    ScriptKind::PostLink => all.push(PostLink {
                        path: script.path.to_string(),
                        name: &package.name,
                        version: &package.version,
                        build_number: package.build_number,
                    }),
                    ScriptKind::PreLink => self.warn(&format!(
                        "{} has a pre-link script, which is not run: conda has deprecated them",
                        package.name
                    )),
                    ScriptKind::PreUnlink | ScriptKind::PostUnlink => {}
                }
            }
        }
        let counter = self.counter(Step::Scripts, all.len());
        for script in &all {
            if let Some(text) = scripts::run(&self.options.prefix, script)? {
                self.warn(&format!("{} says: {text}", script.name));
            }
            counter.one();
        }
        summary.scripts = all.len() as u64;
        Ok(())
    }

    fn write_history(&self) -> Result<(), InstallError> {
        let file = self.options.prefix.join("conda-meta/history");
        fs_err::write(file, history::text(&self.lock.conda))
            .map_err(InstallError::io("writing the environment's history"))
    }

    /// Links the wheels over what conda brought.
    fn wheels(
        &self,
        archives: &[Archive],
        conda: &Claims,
        summary: &mut Summary,
    ) -> Result<(), InstallError> {
        let wheels: Vec<(Place, WheelRequest, &Path)> = (0..)
            .map(|order| Place {
                installer: Installer::Pip,
                order,
            })
            .zip(self.lock.pip.iter().zip(archives))
            .map(|(place, (wheel, archive))| {
                let request = requests::wheel_request(wheel);
                (place, request, archive.path.as_path())
            })
            .collect();
        let open = |request: &WheelRequest, path: &Path| {
            WheelPackage::open(path, request.clone(), &self.target).map_err(InstallError::Link)
        };
        // Opened twice, so that not every wheel's file is open at once.
        let paths = parallel::each(&wheels, |(_, request, path)| {
            Ok::<_, InstallError>(open(request, path)?.paths().collect::<Vec<_>>())
        })?;
        let removed = self.make_room()?;
        let mut claims = Claims::default();
        for ((place, ..), paths) in wheels.iter().zip(&paths) {
            for (path, origin) in paths {
                claims.claim(path, *origin, *place);
                if conda.owner(path).is_some() && !removed.contains(path) {
                    summary.clashes += 1;
                }
            }
        }
        summary.clashes += claims.clashes().len() as u64;
        let counter = self.counter(Step::Wheels, wheels.len());
        let linked = parallel::each(&wheels, |(place, request, path)| {
            let mut folder = self.folder()?;
            let linked = open(request, path)?
                .link(&mut claims.only(*place, &mut folder))
                .map_err(InstallError::Link)?;
            counter.one();
            Ok::<_, InstallError>(linked)
        })?;
        for linked in &linked {
            add(summary, linked);
        }
        summary.wheels = wheels.len() as u64;
        Ok(())
    }

    /// Removes the distributions of conda packages that wheels replace.
    fn make_room(&self) -> Result<HashSet<PrefixPath>, InstallError> {
        let mut removed = HashSet::new();
        let Some(python) = self
            .target
            .python
            .as_ref()
            .filter(|_| !self.lock.conda.is_empty())
        else {
            return Ok(removed);
        };
        let mut folder = self.folder()?;
        for wheel in &self.lock.pip {
            let paths =
                uninstall(&mut folder, python, &wheel.name).map_err(InstallError::Uninstall)?;
            if !paths.is_empty() {
                self.warn(&format!(
                    "the wheel {} {} replaces conda's",
                    wheel.name, wheel.version
                ));
            }
            removed.extend(paths);
        }
        Ok(removed)
    }

    fn compile(&self, summary: &mut Summary) -> Result<(), InstallError> {
        let python = self.target.python.as_ref().expect("the caller has looked");
        let progress = |done, total| self.progress(Step::Compile, done, total);
        let compiled = compile::compile(&self.options.prefix, python, progress)?;
        for message in &compiled.messages {
            self.warn(message);
        }
        summary.compiled = compiled.done;
        summary.not_compiled = compiled.failed;
        Ok(())
    }
}

/// Clashes that are told one by one.
const MAX_TOLD_CLASHES: usize = 20;

fn add(summary: &mut Summary, linked: &Linked) {
    summary.files += linked.files;
    summary.bytes += linked.bytes;
}

fn target(lock: &Lock, options: &InstallOptions) -> Result<Target, InstallError> {
    let text = options.prefix.to_str().unwrap_or_default();
    Ok(Target {
        prefix: TargetPrefix::new(text).map_err(InstallError::Prefix)?,
        python: requests::python_target(lock)?,
        limits: options.limits,
        bytecode: options.bytecode == Bytecode::Compile,
    })
}
