//! Chores: check, tidy, bench.

fn main() {}
