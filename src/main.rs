//! Entry: parse, dispatch, exit code.

fn main() {}
