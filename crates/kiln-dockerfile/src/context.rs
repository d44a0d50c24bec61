//! The build context: files in memory, archives by digest, and the tar of both.

use std::io::{self, Read, Write};

use kiln_oci::Digest;

/// A file of the build context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextFile {
    /// The relative path, with `/`, without `.` and `..`.
    pub path: String,
    /// The permission bits.
    pub mode: u32,
    /// What it holds.
    pub content: Content,
}

/// What a file of the context holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The archive with this digest.
    Archive(Digest),
    /// The `kiln-install` program for the image's platform.
    InstallBinary,
    /// A symbolic link to this path of the image.
    Link(String),
}

/// Gives what a plan names and does not hold.
pub trait Sources {
    /// Opens an archive or the installer; answers its size in bytes and its content.
    fn open(&self, content: &Content) -> io::Result<(u64, Box<dyn Read + '_>)>;
}

/// Writes files as a tar: in the given order, owner 0, modification time 0, so that the same plan gives the
/// same bytes.
///
/// # Errors
/// When a source or `out` fails, or a source is shorter or longer than it said.
pub fn write_tar<'a>(
    files: impl IntoIterator<Item = &'a ContextFile>,
    sources: &dyn Sources,
    out: impl Write,
) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(file.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        match &file.content {
            Content::Bytes(bytes) => {
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, &file.path, bytes.as_slice())?;
            }
            Content::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                tar.append_link(&mut header, &file.path, target)?;
            }
            content @ (Content::Archive(_) | Content::InstallBinary) => {
                let (size, reader) = sources.open(content)?;
                header.set_size(size);
                let mut reader = Exact {
                    reader,
                    left: size,
                    path: &file.path,
                };
                tar.append_data(&mut header, &file.path, &mut reader)?;
            }
        }
    }
    tar.into_inner()?.flush()
}

/// Reads as many bytes as were announced, or fails.
struct Exact<'a> {
    reader: Box<dyn Read + 'a>,
    left: u64,
    path: &'a str,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        let wrong = if n == 0 {
            self.left != 0 && !buffer.is_empty()
        } else {
            n as u64 > self.left
        };
        if wrong {
            let message = format!("{} is not as long as it was said to be", self.path);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u64, &'static [u8]);

    impl Sources for Fixed {
        fn open(&self, _: &Content) -> io::Result<(u64, Box<dyn Read + '_>)> {
            Ok((self.0, Box::new(self.1)))
        }
    }

    fn file(path: &str, content: Content) -> ContextFile {
        ContextFile {
            path: path.into(),
            mode: 0o644,
            content,
        }
    }

    #[test]
    fn a_tar_has_every_file_and_nothing_of_the_machine() {
        let long = format!("{}file", "deep/".repeat(40));
        let files = [
            file("a", Content::Bytes(b"one".to_vec())),
            file("link", Content::Link("/opt/kiln/env".into())),
            file(&long, Content::Archive(Digest::of(b"archive"))),
        ];
        let tar = |sources: Fixed| -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            write_tar(&files, &sources, &mut bytes).map(|()| bytes)
        };
        let bytes = tar(Fixed(7, b"archive")).expect("it is written");
        assert_eq!(bytes, tar(Fixed(7, b"archive")).expect("it is written"));
        let mut archive = tar::Archive::new(bytes.as_slice());
        let found: Vec<_> = archive
            .entries()
            .expect("it is a tar")
            .map(|entry| {
                let mut entry = entry.expect("an entry");
                let (header, mut text) = (entry.header().clone(), String::new());
                entry.read_to_string(&mut text).expect("text");
                let path = entry.path().expect("a path").display().to_string();
                (path, header.mtime().ok(), header.uid().ok(), text)
            })
            .collect();
        let expected = [("a", "one"), ("link", ""), (long.as_str(), "archive")];
        assert_eq!(found.len(), expected.len());
        for (found, (path, text)) in found.iter().zip(expected) {
            assert_eq!((found.0.as_str(), found.3.as_str()), (path, text));
            assert_eq!((found.1, found.2), (Some(0), Some(0)));
        }
        for size in [6, 8] {
            let error = tar(Fixed(size, b"archive")).expect_err("the size is wrong");
            assert!(error.to_string().contains("not as long"), "{error}");
        }
    }
}
