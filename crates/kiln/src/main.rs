//! The kiln daemon and command line.

fn main() {}
