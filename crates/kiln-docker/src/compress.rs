//! A layer's tar as gzip, as kiln writes it everywhere.

use std::io::{Read, Write};
use std::path::Path;

use kiln_layer::{Compressors, MemberWriter, Packed};

const COPY_BYTES: usize = 256 << 10;

/// Compresses a file into another.
pub(crate) fn file(from: &Path, to: &Path) -> std::io::Result<Packed> {
    let mut input = fs_err::File::open(from)?;
    let output = fs_err::File::create(to)?;
    let mut packed = MemberWriter::new(output, &Compressors::of_machine()?);
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = match input.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            break;
        }
        packed.write_all(&buffer[..read])?;
    }
    Ok(packed.finish()?.1)
}

#[cfg(test)]
mod tests {
    use kiln_oci::Digest;

    use super::*;

    #[test]
    fn a_layer_is_told_by_what_it_packs_and_unpacks_to() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("in"), folder.path().join("out"));
        let bytes: Vec<u8> = (0..3 << 20).map(|n: u32| (n / 7 % 251) as u8).collect();
        std::fs::write(&from, &bytes).unwrap();
        let layer = file(&from, &to).unwrap();
        let packed = std::fs::read(&to).unwrap();
        assert_eq!(layer.size, packed.len() as u64);
        assert_eq!(layer.digest, Digest::of(&packed));
        assert_eq!(layer.diff_id, Digest::of(&bytes));
    }
}
