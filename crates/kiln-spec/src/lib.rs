//! Parses, validates, canonicalises and hashes environment descriptions.
