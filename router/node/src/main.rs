//! The command `mcpbus`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcpbus_node::cli::main()
}
