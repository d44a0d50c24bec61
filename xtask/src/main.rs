//! Tasks of the kiln repository.

fn main() {}
