//! The `tidemill` command.

use mimalloc::MiMalloc;

/// Records of Kafka are allocated by the client's thread and freed by those of the plan. The C
/// library's allocator and its locks took half of such a job's processor time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    tidemill::cli::main()
}
