//! Evergate.

fn main() {}
