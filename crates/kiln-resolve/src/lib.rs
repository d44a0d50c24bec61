//! Resolves a definition to a lock: base facts, conda and PyPI.
