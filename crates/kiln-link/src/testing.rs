//! Writers of packages and a sink that keeps what it gets, for tests.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tar::{EntryType, Header};
use zip::write::SimpleFileOptions;

use crate::conda::CondaRequest;
use crate::entry::{Entry, Node, Sink};
use crate::hash::sha256;
use crate::limits::Limits;
use crate::target::{PythonHome, PythonTarget, Target, TargetPrefix};
use crate::wheel::WheelRequest;

pub(crate) const MTIME: u64 = 1_700_000_000;

pub(crate) fn target() -> Target {
    Target {
        prefix: TargetPrefix::new("/opt/kiln/env").expect("valid"),
        python: Some(PythonTarget::new(11, PythonHome::Conda, "x86_64")),
        limits: Limits::default(),
        bytecode: false,
    }
}

/// What a sink got: mode, mtime and content, or a link's target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    File(u32, i64, Vec<u8>),
    Link(String),
    Directory,
}

/// Keeps everything.
#[derive(Debug, Default)]
pub(crate) struct Collected(pub BTreeMap<String, Got>);

impl Sink for Collected {
    fn put(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let got = match entry.node {
            Node::File {
                mode,
                mtime,
                size,
                content,
            } => {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                assert_eq!(
                    bytes.len() as u64,
                    size,
                    "{}: the stated size is true",
                    entry.path
                );
                Got::File(mode, mtime, bytes)
            }
            Node::Symlink { target, .. } => Got::Link(target.to_owned()),
            Node::Directory => Got::Directory,
        };
        let before = self.0.insert(entry.path.to_string(), got);
        assert!(before.is_none(), "{} came twice", entry.path);
        Ok(())
    }
}

impl Collected {
    pub(crate) fn text(&self, path: &str) -> &str {
        match self.0.get(path) {
            Some(Got::File(_, _, bytes)) => std::str::from_utf8(bytes).expect("it is text"),
            other => panic!("{path} is {other:?} among {:?}", self.0.keys()),
        }
    }

    pub(crate) fn mode(&self, path: &str) -> u32 {
        match self.0.get(path) {
            Some(Got::File(mode, ..)) => *mode,
            other => panic!("{path} is {other:?}"),
        }
    }

    pub(crate) fn mtime(&self, path: &str) -> i64 {
        match self.0.get(path) {
            Some(Got::File(_, mtime, _)) => *mtime,
            other => panic!("{path} is {other:?}"),
        }
    }
}

/// One tar entry, as hostile as a test likes: names and links are written raw.
pub(crate) struct TarItem<'a> {
    pub name: &'a str,
    pub kind: EntryType,
    pub link: &'a str,
    pub mode: u32,
    pub content: &'a [u8],
}

pub(crate) fn file<'a>(name: &'a str, content: &'a [u8]) -> TarItem<'a> {
    TarItem {
        name,
        kind: EntryType::Regular,
        link: "",
        mode: 0o644,
        content,
    }
}

pub(crate) fn link<'a>(name: &'a str, kind: EntryType, link: &'a str) -> TarItem<'a> {
    TarItem {
        name,
        kind,
        link,
        mode: 0o777,
        content: b"",
    }
}

pub(crate) fn header(item: &TarItem<'_>) -> Header {
    let mut header = Header::new_ustar();
    let raw = header.as_ustar_mut().expect("it is ustar");
    raw.name[..item.name.len()].copy_from_slice(item.name.as_bytes());
    raw.linkname[..item.link.len()].copy_from_slice(item.link.as_bytes());
    header.set_entry_type(item.kind);
    header.set_mode(item.mode);
    header.set_mtime(MTIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(item.content.len() as u64);
    header.set_cksum();
    header
}

pub(crate) fn block(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(bytes.len().next_multiple_of(512), 0);
    out
}

pub(crate) fn tar(items: &[TarItem<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        out.extend(header(item).as_bytes());
        out.extend(block(item.content));
    }
    out.extend([0; 1024]);
    out
}

pub(crate) fn zip(entries: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content, mode) in entries {
        let options = SimpleFileOptions::default().unix_permissions(*mode);
        writer.start_file(*name, options).expect("the name is new");
        writer.write_all(content).expect("memory takes it");
    }
    writer.finish().expect("memory takes it").into_inner()
}

fn stored_zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        let stored = zip::CompressionMethod::Stored;
        writer
            .start_file(
                *name,
                SimpleFileOptions::default().compression_method(stored),
            )
            .expect("the name is new");
        writer.write_all(content).expect("memory takes it");
    }
    writer.finish().expect("memory takes it").into_inner()
}

/// A conda package in the making.
pub(crate) struct Conda<'a> {
    pub items: Vec<TarItem<'a>>,
    /// Extra fields by path, for `paths.json`.
    pub paths: BTreeMap<&'a str, Value>,
    /// Extra paths of the list that the archive may lack.
    pub listed: Vec<Value>,
    pub index: Value,
    pub link: Option<Value>,
    pub old_format: bool,
}

impl<'a> Conda<'a> {
    pub(crate) fn new(items: Vec<TarItem<'a>>) -> Self {
        let index = json!({
            "name": "pkg", "version": "1.0", "build": "h0_0", "build_number": 0,
            "depends": [], "timestamp": 1_600_000_000_000u64, "license": "MIT",
        });
        Self {
            items,
            paths: BTreeMap::new(),
            listed: vec![],
            index,
            link: None,
            old_format: false,
        }
    }

    fn info(&self) -> Vec<(String, String)> {
        let paths: Vec<Value> = self
            .items
            .iter()
            .filter(|item| item.kind != EntryType::Directory)
            .map(|item| {
                let mut entry = json!({"_path": item.name, "path_type": "hardlink"});
                if item.kind == EntryType::Regular {
                    entry["sha256"] = json!(hex::encode(sha256(item.content)));
                    entry["size_in_bytes"] = json!(item.content.len());
                }
                for (key, value) in self
                    .paths
                    .get(item.name)
                    .and_then(Value::as_object)
                    .into_iter()
                    .flatten()
                {
                    entry[key] = value.clone();
                }
                entry
            })
            .chain(self.listed.iter().cloned())
            .collect();
        let mut info = vec![
            ("info/index.json".to_owned(), self.index.to_string()),
            (
                "info/paths.json".to_owned(),
                json!({"paths": paths, "paths_version": 1}).to_string(),
            ),
            ("info/about.json".to_owned(), "{}".to_owned()),
        ];
        if let Some(link) = &self.link {
            info.push(("info/link.json".to_owned(), link.to_string()));
        }
        info
    }

    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let info = self.info();
        let info: Vec<TarItem<'_>> = info.iter().map(|(n, t)| file(n, t.as_bytes())).collect();
        if self.old_format {
            let mut bytes = tar(&self.items);
            bytes.truncate(bytes.len() - 1024);
            bytes.extend(tar(&info));
            let mut packed = Vec::new();
            bzip2::read::BzEncoder::new(bytes.as_slice(), bzip2::Compression::fast())
                .read_to_end(&mut packed)
                .expect("memory takes it");
            let path = folder.join("pkg-1.0-h0_0.tar.bz2");
            fs_err::write(&path, packed).expect("the folder takes it");
            return path;
        }
        let zst = |bytes: Vec<u8>| zstd::encode_all(bytes.as_slice(), 1).expect("memory takes it");
        let path = folder.join("pkg-1.0-h0_0.conda");
        let bytes = stored_zip(&[
            ("metadata.json", br#"{"conda_pkg_format_version": 2}"#),
            ("pkg-pkg-1.0-h0_0.tar.zst", &zst(tar(&self.items))),
            ("info-pkg-1.0-h0_0.tar.zst", &zst(tar(&info))),
        ]);
        fs_err::write(&path, bytes).expect("the folder takes it");
        path
    }
}

pub(crate) fn conda_request(path: &Path) -> CondaRequest {
    CondaRequest {
        name: "pkg".into(),
        version: "1.0".into(),
        build: "h0_0".into(),
        build_number: 0,
        subdir: "linux-64".into(),
        channel: "https://u:secret@c.example/t/tk-secret/ch".into(),
        url: "https://u:secret@c.example/t/tk-secret/ch/linux-64/pkg-1.0-h0_0.conda".into(),
        file_name: path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned(),
        sha256: "00".repeat(32),
        md5: None,
        size_bytes: Some(7),
        noarch: None,
        depends: vec!["python >=3".into()],
        requested_spec: None,
    }
}

/// A wheel `pkg-1.0-py3-none-any.whl` with these files beside its metadata; RECORD lists them all,
/// after `twist` has had its way with it.
pub(crate) fn wheel(
    folder: &Path,
    files: &[(&str, &[u8], u32)],
    twist: impl Fn(String) -> String,
) -> PathBuf {
    use std::fmt::Write as _;

    use base64::Engine as _;
    let metadata: Vec<(&str, &[u8], u32)> = vec![
        (
            "pkg-1.0.dist-info/METADATA",
            b"Metadata-Version: 2.1\nName: Pkg\nVersion: 1.0.0\n\nx",
            0o644,
        ),
        (
            "pkg-1.0.dist-info/WHEEL",
            b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            0o644,
        ),
    ];
    let mut all: Vec<(&str, &[u8], u32)> = files.to_vec();
    all.extend(
        metadata
            .into_iter()
            .filter(|(name, ..)| !files.iter().any(|(n, ..)| n == name)),
    );
    let mut record = String::new();
    for (name, content, _) in all.iter().filter(|(name, ..)| !name.ends_with('/')) {
        let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha256(content));
        let name = name.replace('"', "\"\"");
        let size = content.len();
        writeln!(record, "\"{name}\",sha256={hash},{size}").expect("a String takes it");
    }
    record.push_str("pkg-1.0.dist-info/RECORD,,\n");
    let record = twist(record);
    all.push(("pkg-1.0.dist-info/RECORD", record.as_bytes(), 0o644));
    let path = folder.join("pkg-1.0-py3-none-any.whl");
    fs_err::write(&path, zip(&all)).expect("the folder takes it");
    path
}

pub(crate) fn wheel_request() -> WheelRequest {
    WheelRequest {
        name: "pkg".into(),
        version: "1.0".into(),
        file_name: "pkg-1.0-py3-none-any.whl".into(),
        requested: true,
    }
}
