//! Links one conda package or wheel into a prefix.
