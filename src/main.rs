//! `homeostat`: see [`homeostat::cli`].

use std::process::ExitCode;

/// Events are decoded on one thread and dropped on others; the system's allocator makes the threads wait for each other there.
/// Without huge pages (`no_thp`), which made 11 MB of an idle process 47.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    homeostat::cli::main()
}
