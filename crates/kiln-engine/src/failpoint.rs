//! Points at which a test ends the process as a crash would: one before each transition of a build, and where the
//! outside learns of it first, one after.

/// Aborts the process when this is the point that `KILN_FAILPOINT` names; nothing in release builds.
pub(crate) fn failpoint(name: &str) {
    if cfg!(debug_assertions) && std::env::var("KILN_FAILPOINT").is_ok_and(|wanted| wanted == name)
    {
        std::process::abort();
    }
}
