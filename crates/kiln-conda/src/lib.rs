//! Conda channels and the conda solver behind kiln's own types.
