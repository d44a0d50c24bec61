//! Points at which a test ends the process as a crash would.

/// Aborts the process when this is the point that `KILN_FAILPOINT` names; nothing without the feature
/// `failpoints`.
pub(crate) fn failpoint(name: &str) {
    #[cfg(feature = "failpoints")]
    if std::env::var("KILN_FAILPOINT").is_ok_and(|wanted| wanted == name) {
        std::process::abort();
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}
