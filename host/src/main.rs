//! The `tidemill` command.

fn main() -> std::process::ExitCode {
    tidemill::cli::main()
}
