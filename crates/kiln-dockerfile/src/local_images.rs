//! A plan for one build on an engine: its helping images have names of the build's own, and the files
//! that steps mount come from an image, because an engine takes an image as a stream and a context
//! only as a whole.

use kiln_oci::{ParseReferenceError, Reference};

use crate::ast::{Instruction, Mount};
use crate::base::FromReference;
use crate::context::ContextFile;
use crate::plan::Plan;
use crate::steps::FOLDER;

/// Images of an engine that one build alone uses. Their host can never be reached (RFC 2606), so that
/// no registry is asked for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalImages {
    /// What the user's own Dockerfile makes.
    pub base: Reference,
    /// What steps mount.
    pub files: Reference,
    /// What the build makes.
    pub result: Reference,
}

impl LocalImages {
    /// The images of a build.
    ///
    /// # Errors
    /// When the build's id can't be a tag.
    pub fn of(build_id: &str) -> Result<Self, ParseReferenceError> {
        let image = |name: &str| format!("kiln.invalid/{name}:{build_id}").parse();
        Ok(Self {
            base: image("base")?,
            files: image("files")?,
            result: image("build")?,
        })
    }
}

impl Plan {
    /// Moves the files that steps mount out of the context; they are answered, and the engine must
    /// have them as [`LocalImages::files`] when it builds. Empty where nothing is mounted.
    #[must_use]
    pub fn on_engine(mut self, images: &LocalImages) -> (Self, Vec<ContextFile>) {
        let folder = format!("{FOLDER}/");
        let (files, context) = self
            .context
            .into_iter()
            .partition(|file| file.path.starts_with(&folder));
        self.context = context;
        if let Some(user) = &mut self.user_dockerfile {
            user.image = images.base.to_string();
        }
        for instruction in &mut self.dockerfile.instructions {
            match instruction {
                Instruction::From { image, stage: None } if self.user_dockerfile.is_some() => {
                    *image = FromReference::local(&images.base);
                }
                Instruction::Run { mounts, .. } => {
                    for mount in mounts {
                        if let Mount::Context { source, target } = *mount {
                            *mount = Mount::Image {
                                image: images.files.to_string(),
                                source: format!("/{source}"),
                                target,
                            };
                        }
                    }
                }
                _ => {}
            }
        }
        (self, files)
    }
}
