//! Several packages in one layer, made of their segments without compressing anything again.

use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use kiln_oci::Digest;
use sha2::{Digest as _, Sha256};

use crate::compress::Compressors;
use crate::directories::Directories;
use crate::member::MemberWriter;
use crate::package::{END, Layer, PackageLayer};

/// Why a group was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// Reading or writing failed.
    #[error("a layer could not be made of its packages")]
    Io(#[source] io::Error),
    /// A package's layer is not what its digest says.
    #[error("the package's layer {digest} is damaged")]
    Corrupt {
        /// Which.
        digest: Digest,
    },
}

/// Writes the layer of several packages, in the given order, from their own layers' bytes.
///
/// What is read is compared with each layer's digest; it is unpacked on its way, since a `diff_id` can't be composed
/// of others.
pub fn write_group<W: Write, R: Read>(
    out: W,
    packages: impl IntoIterator<Item = (PackageLayer, R)>,
    directories: &Directories,
) -> Result<(W, Layer), GroupError> {
    let mut group = Group {
        out,
        plain: Sha256::new(),
        packed: Sha256::new(),
        size: 0,
    };
    group.member(&directories.entries())?;
    for (package, bytes) in packages {
        group.segment(&package, bytes)?;
    }
    group.member(&END)?;
    group.out.flush().map_err(GroupError::Io)?;
    let layer = Layer {
        digest: Digest::from_bytes(group.packed.finalize().into()),
        diff_id: Digest::from_bytes(group.plain.finalize().into()),
        size: group.size,
    };
    Ok((group.out, layer))
}

struct Group<W> {
    out: W,
    plain: Sha256,
    packed: Sha256,
    size: u64,
}

impl<W: Write> Group<W> {
    /// One of the parts that are small: compressed here.
    fn member(&mut self, plain: &[u8]) -> Result<(), GroupError> {
        let mut member = MemberWriter::new(Vec::new(), &Compressors::inline());
        member.write_all(plain).map_err(GroupError::Io)?;
        let (packed, _) = member.finish().map_err(GroupError::Io)?;
        self.plain.update(plain);
        self.packed.update(&packed);
        self.size += packed.len() as u64;
        self.out.write_all(&packed).map_err(GroupError::Io)
    }

    fn segment(&mut self, package: &PackageLayer, bytes: impl Read) -> Result<(), GroupError> {
        let corrupt = || GroupError::Corrupt {
            digest: package.layer.digest,
        };
        let mut whole = Hashing {
            inner: bytes,
            hasher: Sha256::new(),
        };
        skip(&mut whole, package.segment_offset)?;
        let passed = Passing {
            inner: (&mut whole).take(package.segment_size),
            out: &mut self.out,
            packed: &mut self.packed,
            size: 0,
            failure: None,
        };
        let mut plain = MultiGzDecoder::new(passed);
        let mut buffer = vec![0; 128 << 10];
        let unpacked = loop {
            // No bytes are no member.
            if package.segment_size == 0 {
                break Ok(());
            }
            match plain.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(read) => self.plain.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break Err(corrupt()),
            }
        };
        let Passing { size, failure, .. } = plain.into_inner();
        // Its own failure comes out of the decoder as one of the data.
        if let Some(error) = failure {
            return Err(GroupError::Io(error));
        }
        unpacked?;
        skip(&mut whole, u64::MAX)?;
        let found = Digest::from_bytes(whole.hasher.finalize().into());
        if found != package.layer.digest || size != package.segment_size {
            return Err(corrupt());
        }
        self.size += size;
        Ok(())
    }
}

fn skip(reader: &mut impl Read, bytes: u64) -> Result<(), GroupError> {
    io::copy(&mut reader.take(bytes), &mut io::sink())
        .map(drop)
        .map_err(GroupError::Io)
}

/// Hashes what is read.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// Writes what is read into the group.
struct Passing<'a, R, W> {
    inner: R,
    out: &'a mut W,
    packed: &'a mut Sha256,
    size: u64,
    failure: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Passing<'_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let passed = self.inner.read(buffer).and_then(|read| {
            self.out.write_all(&buffer[..read])?;
            Ok(read)
        });
        match passed {
            Ok(read) => {
                self.packed.update(&buffer[..read]);
                self.size += read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(error);
                Err(kind.into())
            }
        }
    }
}
