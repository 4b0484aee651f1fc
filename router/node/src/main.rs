//! The command `mcpbus`.

fn main() {}
