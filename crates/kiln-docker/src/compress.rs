//! A layer's tar as gzip: members of at most 1 MiB of input each, so that memory is bounded and the same
//! tar is the same bytes everywhere (RFC 1952 allows members in a row).

use std::io::{BufReader, Read, Write};
use std::path::Path;

use kiln_oci::Digest;
use libdeflater::{CompressionLvl, Compressor};
use sha2::{Digest as _, Sha256};

/// Input of one member.
const MEMBER_BYTES: usize = 1 << 20;
/// libdeflate's default: as small as zlib's best, at a fraction of its time.
const LEVEL: i32 = 6;

/// A compressed layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compressed {
    /// The digest of the compressed bytes.
    pub(crate) digest: Digest,
    /// Their number.
    pub(crate) size: u64,
}

/// Compresses a file into another.
pub(crate) fn file(from: &Path, to: &Path) -> std::io::Result<Compressed> {
    let mut input = BufReader::with_capacity(MEMBER_BYTES, fs_err::File::open(from)?);
    let mut output = fs_err::File::create(to)?;
    let level = CompressionLvl::new(LEVEL).expect("the level is one of libdeflate's");
    let mut compressor = Compressor::new(level);
    let mut plain = vec![0; MEMBER_BYTES];
    let mut packed = vec![0; compressor.gzip_compress_bound(MEMBER_BYTES)];
    let mut hasher = Sha256::new();
    let mut size = 0;
    loop {
        let filled = fill(&mut input, &mut plain)?;
        // An empty layer is one empty member.
        if filled == 0 && size > 0 {
            break;
        }
        let length = compressor
            .gzip_compress(&plain[..filled], &mut packed)
            .map_err(|_| std::io::Error::other("a block does not fit its bound"))?;
        let member = &mut packed[..length];
        // RFC 1952: the compressor's operating system is "unknown", wherever it runs.
        member[9] = 255;
        hasher.update(&*member);
        output.write_all(member)?;
        size += length as u64;
        if filled < plain.len() {
            break;
        }
    }
    Ok(Compressed {
        digest: Digest::from_bytes(hasher.finalize().into()),
        size,
    })
}

fn fill(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_in_a_row_read_as_one_stream_and_are_the_same_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("in");
        let bytes: Vec<u8> = (0..3 * MEMBER_BYTES + 17)
            .map(|n| (n / 7 % 251) as u8)
            .collect();
        std::fs::write(&from, &bytes).unwrap();
        let one = file(&from, &folder.path().join("one")).unwrap();
        let two = file(&from, &folder.path().join("two")).unwrap();
        assert_eq!(one, two);
        let packed = std::fs::read(folder.path().join("one")).unwrap();
        assert_eq!(
            (packed.len() as u64, Digest::of(&packed)),
            (one.size, one.digest)
        );
        let mut back = Vec::new();
        flate2::read::MultiGzDecoder::new(packed.as_slice())
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, bytes);
    }
}
