//! The files of a plan as the engine takes them: the build context in memory, small; the archives as
//! an image of their own, streamed, because they may be larger than memory.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use bytes::Bytes;
use futures::TryStreamExt as _;
use kiln_api::Failure;
use kiln_dockerfile::{Content, ContextFile, Sources, UserContext, write_tar};
use kiln_engine::Archives;
use kiln_oci::Reference;
use tokio_util::io::{ReaderStream, SyncIoBridge};

use crate::classify::engine_failure;
use crate::push::BUILD_LABEL;

/// What may wait between the archives and the engine.
const PIPE_BYTES: usize = 256 << 10;

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

/// Where archives and the installer lie.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) archives: Arc<dyn Archives>,
    pub(crate) install_binary: Arc<Path>,
}

impl Places {
    fn write(&self, files: &[ContextFile], out: impl Write) -> io::Result<()> {
        let sources = Files {
            archives: self.archives.as_ref(),
            install_binary: &self.install_binary,
        };
        write_tar(files, &sources, out)
    }

    /// Writes the tar of a small context in memory, where the session that sends it needs it.
    pub(crate) fn context(&self, files: &[ContextFile]) -> io::Result<Bytes> {
        let mut bytes = Vec::new();
        self.write(files, &mut bytes).map(|()| bytes.into())
    }

    /// The tar of a user's own context, in memory too: its size has a limit.
    pub(crate) async fn user_tar(&self, context: &UserContext) -> io::Result<Bytes> {
        let digest = context.tar;
        let missing = || io::Error::other(format!("the build context {digest} is gone"));
        let path = self.archives.path(&digest).ok_or_else(missing)?;
        fs_err::tokio::read(path).await.map(Bytes::from)
    }

    /// Gives the engine files as an image of one layer.
    pub(crate) async fn import(
        &self,
        client: &Docker,
        image: &Reference,
        build_id: &str,
        files: Vec<ContextFile>,
    ) -> Result<(), Failure> {
        let (writer, reader) = tokio::io::duplex(PIPE_BYTES);
        let places = self.clone();
        let writing = tokio::task::spawn_blocking(move || {
            // Dropped at the end: the engine's read ends.
            let mut pipe = SyncIoBridge::new(writer);
            places.write(&files, &mut pipe)?;
            pipe.shutdown()
        });
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(&image.without_version().to_string())
            .tag(build_id)
            .changes(vec![format!("LABEL {BUILD_LABEL}={build_id}")])
            .build();
        let body = bollard::body_try_stream(ReaderStream::new(reader));
        let imported = client
            .create_image(Some(options), Some(body), None)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await;
        // What broke the stream is the cause of the engine's complaint.
        match writing.await.map_err(io::Error::other) {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(kiln_engine::failure::of_io("the archives", &error));
            }
            Err(error) => return Err(kiln_engine::failure::of_io("the archives", &error)),
            Ok(_) => {}
        }
        imported.map_err(|error| engine_failure("take the archives", &error))
    }
}
