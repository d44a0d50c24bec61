//! A stream as gzip members in a row, hashed on both sides.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::Receiver;

use kiln_oci::Digest;
use sha2::{Digest as _, Sha256};

use crate::compress::{Block, Compressors, MEMBER_BYTES, MemberCompressor};

/// What a stream became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// The digest of the packed bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// The digest of the plain bytes: a layer's `diff_id`.
    pub diff_id: Digest,
    /// Their number.
    pub plain_size: u64,
}

/// Writes a stream as gzip members of at most [`MEMBER_BYTES`] of input each (RFC 1952 allows members in a
/// row). The same writes and [cuts](Self::cut) give the same bytes, whoever compresses; memory is bounded by the
/// number of threads.
pub struct MemberWriter<W> {
    out: W,
    compressors: Compressors,
    own: Option<MemberCompressor>,
    block: Block,
    waiting: VecDeque<Receiver<io::Result<Block>>>,
    spare: Vec<Block>,
    plain: Sha256,
    packed: Sha256,
    plain_size: u64,
    size: u64,
}

impl<W: Write> MemberWriter<W> {
    /// A writer of nothing yet.
    pub fn new(out: W, compressors: &Compressors) -> Self {
        Self {
            out,
            compressors: compressors.clone(),
            own: None,
            block: empty(),
            waiting: VecDeque::new(),
            spare: Vec::new(),
            plain: Sha256::new(),
            packed: Sha256::new(),
            plain_size: 0,
            size: 0,
        }
    }

    /// Ends the member, so that what follows begins one of its own; tells the packed bytes so far.
    pub fn cut(&mut self) -> io::Result<u64> {
        if !self.block.plain.is_empty() {
            self.end_member()?;
        }
        self.settle(0)?;
        Ok(self.size)
    }

    /// Ends the stream. One of no bytes is one empty member.
    pub fn finish(mut self) -> io::Result<(W, Packed)> {
        if self.plain_size == 0 {
            self.end_member()?;
        }
        self.cut()?;
        self.out.flush()?;
        let packed = Packed {
            digest: Digest::from_bytes(self.packed.finalize().into()),
            size: self.size,
            diff_id: Digest::from_bytes(self.plain.finalize().into()),
            plain_size: self.plain_size,
        };
        Ok((self.out, packed))
    }

    fn end_member(&mut self) -> io::Result<()> {
        let next = self.spare.pop().unwrap_or_else(empty);
        let mut block = std::mem::replace(&mut self.block, next);
        self.plain.update(&block.plain);
        let window = self.compressors.window();
        if window == 0 {
            let own = self.own.get_or_insert_with(MemberCompressor::new);
            own.pack(&block.plain, &mut block.packed)?;
            return self.take(block);
        }
        self.settle(window - 1)?;
        self.waiting.push_back(self.compressors.submit(block));
        Ok(())
    }

    /// Writes finished blocks until at most so many are on their way.
    fn settle(&mut self, left: usize) -> io::Result<()> {
        while self.waiting.len() > left {
            let Some(first) = self.waiting.pop_front() else {
                break;
            };
            let block = first
                .recv()
                .map_err(|_| io::Error::other("the compressing thread is gone"))??;
            self.take(block)?;
        }
        Ok(())
    }

    fn take(&mut self, mut block: Block) -> io::Result<()> {
        self.packed.update(&block.packed);
        self.size += block.packed.len() as u64;
        self.out.write_all(&block.packed)?;
        block.plain.clear();
        self.spare.push(block);
        Ok(())
    }
}

impl<W: Write> Write for MemberWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(MEMBER_BYTES - self.block.plain.len());
        self.block.plain.extend_from_slice(&bytes[..taken]);
        self.plain_size += taken as u64;
        if self.block.plain.len() == MEMBER_BYTES {
            self.end_member()?;
        }
        Ok(taken)
    }

    /// Ends no member: where they end is part of the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn empty() -> Block {
    Block {
        plain: Vec::new(),
        packed: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    fn pack(parts: &[&[u8]], compressors: &Compressors) -> (Vec<u8>, Packed) {
        let mut writer = MemberWriter::new(Vec::new(), compressors);
        for part in parts {
            writer.write_all(part).unwrap();
            writer.cut().unwrap();
        }
        writer.finish().unwrap()
    }

    fn unpack(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes)
            .read_to_end(&mut plain)
            .unwrap();
        plain
    }

    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|n| ((n / 7) ^ (n >> 9)) as u8).collect()
    }

    #[test]
    fn members_in_a_row_read_as_one_stream_and_both_sides_are_hashed() {
        for length in [0, 1, MEMBER_BYTES - 1, MEMBER_BYTES, 3 * MEMBER_BYTES + 17] {
            let plain = sample(length);
            let (bytes, packed) = pack(&[&plain], &Compressors::inline());
            let expected = Packed {
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
                diff_id: Digest::of(&plain),
                plain_size: length as u64,
            };
            assert_eq!((unpack(&bytes), packed), (plain, expected));
        }
    }

    #[test]
    fn the_compressor_is_the_one_whose_layers_are_out_there() {
        // Where this fails, packed bytes are others than before: raise the format's version.
        let (_, packed) = pack(&[&sample(5000)], &Compressors::inline());
        assert_eq!(
            packed.digest.to_hex(),
            "54f9d81077e9795e0e9f92215f47ccab1877b2821b9353e0cf78b9c86a285243"
        );
    }

    #[test]
    fn a_failed_writer_fails_the_stream_and_threads_stay_usable() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self
                    .0
                    .checked_sub(bytes.len())
                    .ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let compressors = Compressors::threads(2).unwrap();
        let mut writer = MemberWriter::new(Full(100_000), &compressors);
        let noise: Vec<u8> = (0..20 * MEMBER_BYTES as u64)
            .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
            .collect();
        let error = writer.write_all(&noise).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        drop(writer);
        assert_eq!(unpack(&pack(&[b"x"], &compressors).0), b"x");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn the_bytes_do_not_depend_on_threads_or_on_how_they_are_written(
            lengths in prop::collection::vec(0_usize..2_500_000, 0..4),
            threads in 1_usize..5,
            step in 1_usize..300_000,
        ) {
            let parts: Vec<Vec<u8>> = lengths.iter().map(|length| sample(*length)).collect();
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let one = pack(&parts, &Compressors::inline());
            let compressors = Compressors::threads(threads).unwrap();
            let mut writer = MemberWriter::new(Vec::new(), &compressors);
            for part in &parts {
                for chunk in part.chunks(step) {
                    writer.write_all(chunk).unwrap();
                }
                writer.cut().unwrap();
            }
            prop_assert_eq!(writer.finish().unwrap(), one);
        }
    }
}
