//! Starting and stopping the services. One that already answers is used and left alone; what was started is stopped by pid.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::http;
use crate::packages;
use crate::paths::Paths;
use crate::process;

const READY: Duration = Duration::from_mins(1);
const STOPPED: Duration = Duration::from_mins(1);
const STEP: Duration = Duration::from_millis(50);

/// A service of the test bed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// The Docker daemon.
    Docker,
    /// The registry.
    Registry,
    /// The http server of channels and index.
    Http,
}

impl Service {
    const ALL: [Self; 3] = [Self::Docker, Self::Registry, Self::Http];

    const fn name(self) -> &'static str {
        match self {
            Self::Docker => "dockerd",
            Self::Registry => "registry",
            Self::Http => "http",
        }
    }

    /// A word of the command line that only this test bed's process has.
    fn mark(self, paths: &Paths) -> PathBuf {
        match self {
            Self::Docker => paths.cache.join("docker"),
            Self::Registry => paths.cache.join("run/registry.yml"),
            Self::Http => paths.cache.join("www"),
        }
    }

    fn file(self, paths: &Paths, extension: &str) -> PathBuf {
        paths
            .cache
            .join("run")
            .join(format!("{}.{extension}", self.name()))
    }

    /// The process of this service, if this test bed started one and it lives.
    fn process(self, paths: &Paths) -> Option<Started> {
        let file = self.file(paths, "pid");
        let pid = fs_err::read_to_string(&file).ok()?.trim().parse().ok()?;
        let started = Started {
            pid,
            file,
            mark: self.mark(paths),
        };
        started.is_alive().then_some(started)
    }

    fn port(self, paths: &Paths) -> Option<u16> {
        fs_err::read_to_string(self.file(paths, "port"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }
}

/// A process that the test bed started.
#[derive(Debug)]
pub(crate) struct Started {
    pid: u32,
    file: PathBuf,
    mark: PathBuf,
}

impl Started {
    /// Whether the pid still is that process: its command line names this test bed's folder.
    fn is_alive(&self) -> bool {
        let mark = self.mark.as_os_str().as_encoded_bytes();
        fs_err::read(format!("/proc/{}/cmdline", self.pid))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == mark))
    }

    /// Asks the process to end and waits until it has.
    pub(crate) fn stop(self) -> Result<()> {
        if self.is_alive() {
            // The shell's own `kill`: the program is not on every machine.
            process::run(Command::new("sh").args(["-c", &format!("kill {}", self.pid)]))?;
            if !wait(STOPPED, || !self.is_alive()) {
                bail!("process {} does not end", self.pid);
            }
        }
        match fs_err::remove_file(&self.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Where the Docker daemon answers; starts one when none does.
pub(super) fn docker(paths: &Paths, started: &mut Vec<Started>) -> Result<PathBuf> {
    let socket = std::env::var("DOCKER_HOST")
        .ok()
        .and_then(|host| host.strip_prefix("unix://").map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from("/var/run/docker.sock"));
    let answers = || http::head_unix(&socket, "/_ping") == Some(200);
    packages::ensure(packages::SERVICES)?;
    if answers() {
        return Ok(socket);
    }
    mount_cgroups()?;
    // A pid file left by a daemon that was killed may name a living process by now, and the new one would refuse to start.
    let pidfile = paths.folder("run")?.join("dockerd.pidfile");
    if pidfile.exists() {
        fs_err::remove_file(&pidfile)?;
    }
    let mut daemon = Command::new("dockerd");
    daemon.arg("--data-root").arg(paths.folder("docker")?);
    daemon
        .arg("--exec-root")
        .arg(paths.folder("run/docker-exec")?);
    daemon
        .arg("--pidfile")
        .arg(paths.cache.join("run/dockerd.pidfile"));
    daemon.arg("-H").arg(format!("unix://{}", socket.display()));
    daemon.args(["--mtu", "1400"]);
    start(paths, Service::Docker, &mut daemon, started, answers)?;
    Ok(socket)
}

/// The port of the test bed's registry; starts it when it does not run.
pub(super) fn registry(paths: &Paths, started: &mut Vec<Started>) -> Result<u16> {
    let service = Service::Registry;
    if let (Some(_), Some(port)) = (service.process(paths), service.port(paths))
        && http::head(port, "/v2/") == Some(200)
    {
        return Ok(port);
    }
    let port = http::free_port(5000)?;
    let configuration = format!(
        "version: 0.1\n\
         log: {{level: warn, accesslog: {{disabled: true}}}}\n\
         storage:\n  \
           filesystem: {{rootdirectory: '{}'}}\n  \
           delete: {{enabled: true}}\n  \
           maintenance: {{uploadpurging: {{enabled: false}}}}\n\
         http: {{addr: '127.0.0.1:{port}'}}\n",
        paths.folder("registry")?.display()
    );
    let file = paths.cache.join("run/registry.yml");
    fs_err::write(&file, configuration)?;
    fs_err::write(service.file(paths, "port"), port.to_string())?;
    let mut server = Command::new("docker-registry");
    server.arg("serve").arg(file);
    start(paths, service, &mut server, started, || {
        http::head(port, "/v2/") == Some(200)
    })?;
    Ok(port)
}

/// The port of the http server; starts it when it does not run. It listens on the bridge too, for containers.
pub(super) fn http(paths: &Paths, bridge: Option<&str>, started: &mut Vec<Started>) -> Result<u16> {
    let service = Service::Http;
    if let (Some(_), Some(port)) = (service.process(paths), service.port(paths))
        && http::head(port, "/simple/") == Some(200)
    {
        return Ok(port);
    }
    let port = http::free_port(8899)?;
    fs_err::write(service.file(paths, "port"), port.to_string())?;
    let mut server = packages::python();
    server
        .arg(paths.scripts().join("serve.py"))
        .arg(paths.folder("www")?);
    server.arg(format!("127.0.0.1:{port}"));
    server.args(bridge.map(|address| format!("{address}:{port}")));
    start(paths, service, &mut server, started, || {
        http::head(port, "/simple/") == Some(200)
    })?;
    Ok(port)
}

/// This machine's address on Docker's default bridge, the first of its subnet; `None` when it is not an address of this machine.
pub(super) fn bridge_address() -> Option<String> {
    const SUBNET: &str = "{{(index .IPAM.Config 0).Subnet}}";
    let mut inspect = packages::docker();
    let subnet =
        process::output(inspect.args(["network", "inspect", "bridge", "-f", SUBNET])).ok()?;
    let network: Ipv4Addr = subnet.split('/').next()?.parse().ok()?;
    let address = Ipv4Addr::from(u32::from(network).checked_add(1)?);
    TcpListener::bind((address, 0))
        .is_ok()
        .then(|| address.to_string())
}

/// Stops every service that this test bed started.
pub(super) fn down(paths: &Paths) -> Result<()> {
    for service in Service::ALL.into_iter().rev() {
        if let Some(started) = service.process(paths) {
            println!("stop {} ({})", service.name(), started.pid);
            started.stop()?;
        }
    }
    Ok(())
}

/// Prints what runs.
#[expect(clippy::unnecessary_wraps, reason = "the shape of an action")]
pub(super) fn status(paths: &Paths) -> Result<()> {
    for service in Service::ALL {
        let port = service
            .port(paths)
            .map(|port| format!(", port {port}"))
            .unwrap_or_default();
        match service.process(paths) {
            Some(started) => println!("{}: process {}{port}", service.name(), started.pid),
            None => println!("{}: not started by this test bed", service.name()),
        }
    }
    Ok(())
}

fn start(
    paths: &Paths,
    service: Service,
    command: &mut Command,
    started: &mut Vec<Started>,
    answers: impl Fn() -> bool,
) -> Result<()> {
    let log = service.file(paths, "log");
    let output = fs_err::File::create(&log)?.into_file();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0) // an interrupt at the terminal is for the task, not for its services
        .spawn()
        .with_context(|| format!("start {}", service.name()))?;
    let file = service.file(paths, "pid");
    fs_err::write(&file, child.id().to_string())?;
    started.push(Started {
        pid: child.id(),
        file,
        mark: service.mark(paths),
    });
    let ready = wait(READY, || {
        answers() || child.try_wait().is_ok_and(|status| status.is_some())
    });
    if ready && answers() {
        return Ok(());
    }
    bail!("{} does not answer:\n{}", service.name(), tail(&log));
}

fn tail(log: &Path) -> String {
    let text = fs_err::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn wait(limit: Duration, condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    let mut condition = condition;
    while !condition() {
        if start.elapsed() > limit {
            return false;
        }
        sleep(STEP);
    }
    true
}

/// Docker needs the control groups mounted; a machine without an init system may not have them.
fn mount_cgroups() -> Result<()> {
    let mounts = fs_err::read_to_string("/proc/mounts")?;
    if mounts.lines().any(|line| {
        line.split(' ')
            .nth(2)
            .is_some_and(|kind| kind.starts_with("cgroup"))
    }) {
        return Ok(());
    }
    packages::ensure(packages::CGROUPS)?;
    process::run(&mut Command::new("cgroupfs-mount"))
}
