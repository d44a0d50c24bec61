//! Artefacts that are made once and again only when what they are made from has changed.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::paths::Paths;
use crate::process;

/// The note beside an artefact of what it was made from.
#[derive(Debug)]
pub(crate) struct Stamp {
    name: String,
    file: PathBuf,
    hasher: DefaultHasher,
}

impl Stamp {
    /// The stamp of the artefact `name`.
    pub(crate) fn new(paths: &Paths, name: &str) -> Result<Self> {
        let file = paths
            .folder("stamps")?
            .join(name.replace([' ', '/', ':'], "-"));
        Ok(Self {
            name: name.to_owned(),
            file,
            hasher: DefaultHasher::new(),
        })
    }

    /// Adds the contents of files as inputs.
    pub(crate) fn files<P: AsRef<Path>>(mut self, files: &[P]) -> Result<Self> {
        for file in files {
            self.hasher.write(&fs_err::read(file.as_ref())?);
            self.hasher.write_u8(0xff);
        }
        Ok(self)
    }

    /// Adds a text as input, the stamp of another artefact for one.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.hasher.write(text.as_bytes());
        self.hasher.write_u8(0xff);
        self
    }

    /// Makes the artefact unless it stands as these inputs make it; returns the text of the stamp.
    ///
    /// `product` is what must exist for the stamp to count.
    pub(crate) fn make(self, product: &Path, work: impl FnOnce() -> Result<()>) -> Result<String> {
        let stamp = format!("{:016x}", self.hasher.finish());
        let kept = fs_err::read_to_string(&self.file).is_ok_and(|text| text == stamp);
        if !kept || !product.exists() {
            process::stage(&self.name, work)?;
            fs_err::write(&self.file, &stamp)?;
        }
        Ok(stamp)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::Stamp;
    use crate::paths::Paths;

    #[test]
    fn an_artefact_is_made_again_when_an_input_or_the_product_changed() {
        let cache = std::env::temp_dir().join(format!("kiln-stamp-{}", std::process::id()));
        let paths = Paths {
            root: cache.clone(),
            cache: cache.clone(),
        };
        let product = cache.join("product");
        let made = Cell::new(0);
        let make = |input: &str| {
            let work = || {
                made.set(made.get() + 1);
                Ok(fs_err::write(&product, input)?)
            };
            Stamp::new(&paths, "an artefact")
                .unwrap()
                .text(input)
                .make(&product, work)
                .unwrap()
        };
        let first = make("one");
        assert_eq!((make("one"), made.get()), (first.clone(), 1));
        assert_ne!(make("two"), first);
        fs_err::remove_file(&product).unwrap();
        make("two");
        assert_eq!(made.get(), 3);
        fs_err::remove_dir_all(&cache).unwrap();
    }
}
