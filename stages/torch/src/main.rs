//! The program `pacer-worker`: runs one job in a process of its own. Unaware of the store and of the graph.

use std::process::ExitCode;

fn main() -> ExitCode {
    pacer_torch::worker::main()
}
