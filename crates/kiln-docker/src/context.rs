//! The build context of a plan, as one tar.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kiln_dockerfile::{Content, ContextFile, Sources, write_tar};
use kiln_engine::Archives;

struct Files<'a> {
    archives: &'a dyn Archives,
    install_binary: &'a Path,
}

impl Sources for Files<'_> {
    fn open(&self, content: &Content) -> io::Result<(u64, Box<dyn io::Read + '_>)> {
        let path = match content {
            Content::Archive(digest) => self
                .archives
                .path(digest)
                .ok_or_else(|| io::Error::other(format!("the archive {digest} was not fetched")))?,
            Content::InstallBinary => self.install_binary.to_owned(),
            _ => return Err(io::Error::other("the content is in the plan itself")),
        };
        let file = fs_err::File::open(path)?;
        Ok((file.metadata()?.len(), Box::new(file)))
    }
}

/// Writes the tar in memory, where the session that sends it to the engine needs it.
pub(crate) async fn tar(
    files: Vec<ContextFile>,
    archives: Arc<dyn Archives>,
    install_binary: Arc<Path>,
) -> io::Result<Bytes> {
    let written = tokio::task::spawn_blocking(move || {
        let sources = Files {
            archives: archives.as_ref(),
            install_binary: &install_binary,
        };
        let mut bytes = Vec::new();
        write_tar(&files, &sources, &mut bytes).map(|()| Bytes::from(bytes))
    });
    written.await.map_err(io::Error::other)?
}
