//! `homeostat`: see [`homeostat::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    homeostat::cli::main()
}
