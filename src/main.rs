//! The program `pacer`. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pacer::cli::main()
}
