//! The lock of an environment, facts about its base image, and the keys made from them.

mod facts;
mod keys;
mod lock;

pub use facts::{BaseFacts, CondaInstall, Interpreter};
pub use keys::{IMAGE_FORMAT_VERSION, ImageInputs, ImageKey, LockHash};
pub use lock::{
    ChannelPriority, CondaPackage, IndexStrategy, LOCK_FORMAT_VERSION, Lock, LockedBase,
    LockedPython, ParseLockError, PythonSource, ResolverSettings, Wheel,
};
