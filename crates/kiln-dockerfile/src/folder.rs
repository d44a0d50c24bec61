//! A plan as a folder of its own, which builds with plain `docker build`.

use std::collections::HashMap;
use std::fmt::Write as _;

use kiln_lock::Lock;
use kiln_oci::Digest;

use crate::context::{Content, ContextFile};
use crate::plan::{Plan, Tool};
use crate::user_dockerfile::UserDockerfile;

/// The user's own Dockerfile where it has a context, and the context.
const USER_DOCKERFILE: &str = "user.Dockerfile";
const USER_TAR: &str = "user.tar";
const FETCH: &str = include_str!("fetch.sh");

fn text(path: &str, text: String) -> ContextFile {
    ContextFile {
        path: path.to_owned(),
        mode: 0o644,
        content: Content::Bytes(text.into_bytes()),
    }
}

/// A list of archives (SHA-256, path, address or `-` where there is none) and a script that fetches them; no
/// files when there are no archives.
fn fetched<'a>(
    lock: &Lock,
    archives: impl Iterator<Item = (&'a Digest, &'a str)>,
) -> Vec<ContextFile> {
    let conda = lock
        .conda
        .iter()
        .map(|package| (&package.sha256, &package.url));
    let wheels = lock.pip.iter().map(|wheel| (&wheel.sha256, &wheel.url));
    let addresses: HashMap<_, _> = conda.chain(wheels).collect();
    let mut lines = String::new();
    for (digest, path) in archives {
        let plain = |url: &&&String| url.starts_with("http") && !url.contains(char::is_whitespace);
        let address = addresses.get(digest).filter(plain);
        let address = address.map_or("-", |url| url.as_str());
        let _ = writeln!(lines, "{} {path} {address}", digest.to_hex());
    }
    if lines.is_empty() {
        return Vec::new();
    }
    let script = ContextFile {
        mode: 0o755,
        ..text("fetch.sh", FETCH.to_owned())
    };
    vec![text("archives.txt", lines), script]
}

/// What installs a lock on a machine, without any image: the lock, `kiln-install`, and a script that fetches
/// the archives into `archives/`.
pub fn install_folder(lock: &Lock) -> Vec<ContextFile> {
    let conda = lock
        .conda
        .iter()
        .map(|package| (&package.sha256, &package.file_name));
    let wheels = lock
        .pip
        .iter()
        .map(|wheel| (&wheel.sha256, &wheel.file_name));
    let archives: Vec<_> = conda
        .chain(wheels)
        .map(|(digest, name)| (digest, format!("archives/{name}")))
        .collect();
    let archives = archives
        .iter()
        .map(|(digest, path)| (*digest, path.as_str()));
    let mut files = fetched(lock, archives);
    files.push(text("lock.json", lock.to_json()));
    files.push(ContextFile {
        path: "kiln-install".into(),
        mode: 0o755,
        content: Content::InstallBinary,
    });
    files
}

impl UserDockerfile {
    /// The shell lines that build it in a [folder](Plan::folder) with Docker; nothing that the user wrote
    /// stands in them.
    pub fn commands(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut file = "";
        if self.context.is_some() {
            lines.push(format!(
                "mkdir -p user && tar --extract --file {USER_TAR} --directory user"
            ));
            file = " -f user.Dockerfile";
        }
        let image = &self.image;
        lines.push(format!(
            "DOCKER_BUILDKIT=1 docker build -t {image}{file} user"
        ));
        lines
    }
}

impl Plan {
    /// The name of the image, `azureml/azureml_<hash>`.
    pub fn image_name(&self) -> String {
        self.spec_hash.image_name()
    }

    /// What a builder is sent: the Dockerfile and its context, sorted by path.
    pub fn build_context(&self) -> Vec<ContextFile> {
        let mut files = self.context.clone();
        files.push(text("Dockerfile", self.dockerfile.to_text()));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    /// What an ejected folder holds, sorted by path: the build context, the lock, a page for people, the
    /// user's own Dockerfile, and a script that fetches archives anew.
    pub fn folder(&self) -> Vec<ContextFile> {
        let mut files = self.build_context();
        files.push(text("README.md", self.readme()));
        files.push(text("lock.json", self.lock.to_json()));
        if let Some(user) = &self.user_dockerfile {
            match &user.context {
                None => files.push(text("user/Dockerfile", user.text.clone())),
                Some(context) => {
                    files.push(text(USER_DOCKERFILE, user.text.clone()));
                    files.push(ContextFile {
                        path: USER_TAR.to_owned(),
                        mode: 0o644,
                        content: Content::Archive(context.tar),
                    });
                }
            }
        }
        let archives = self.context.iter().filter_map(|file| match &file.content {
            Content::Archive(digest) => Some((digest, file.path.as_str())),
            Content::Bytes(_) | Content::InstallBinary | Content::Link(_) => None,
        });
        files.extend(fetched(&self.lock, archives));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    fn readme(&self) -> String {
        let image = self.image_name();
        let mut page = format!(
            "# {image}\n\nkiln wrote this folder from the lock of one environment (`lock.json`). It builds \
             with Docker and BuildKit, without kiln:\n\n```\n"
        );
        if let Some(user) = &self.user_dockerfile {
            for line in user.commands() {
                let _ = writeln!(page, "{line}");
            }
        }
        page.push_str("DOCKER_BUILDKIT=1 docker build");
        for secret in &self.secrets {
            let _ = write!(page, " --secret id={},src=FILE", secret.id);
        }
        let _ = writeln!(page, " -t {image} .\n```");
        for secret in &self.secrets {
            let _ = write!(page, "\nThe secret `{}` is {}.\n", secret.id, secret.what);
        }
        page.push_str(match self.tool {
            Tool::Nothing => "\nNothing is installed: the environment is the base's own.\n",
            Tool::Layers => "\nThe packages are layers of the image itself; nothing is installed here.\n",
            Tool::CondaEnvCreate => {
                "\nThe base's conda installs the packages from channels that are folders here; every archive is \
                 compared with `kiln/SHA256SUMS` first. The build needs no network beside the base image.\n"
            }
            Tool::KilnInstall => {
                "\n`kiln/kiln-install` compares every archive in `kiln/archives` with the SHA-256 in the lock and \
                 installs them. The build needs no network beside the base image.\n"
            }
            Tool::Conda | Tool::Micromamba | Tool::Pip => {
                "\nThe packages are fetched from the addresses in the lock, by their hashes.\n"
            }
        });
        if self.tool == Tool::Micromamba {
            page.push_str(
                "micromamba comes from its official image, named by a tag: name its digest in the `Dockerfile` if \
                 the folder must build alike for ever.\n",
            );
        }
        if self
            .context
            .iter()
            .any(|file| matches!(file.content, Content::Archive(_)))
        {
            page.push_str(
                "\nThe archives may be left out of version control: `./fetch.sh` fetches those that are missing \
                 and compares all with their SHA-256. Passwords are read from `~/.netrc`.\n",
            );
        }
        page
    }
}
