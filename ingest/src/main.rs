//! The binary: reads the settings, starts the app, runs it until it is told to stop.

fn main() -> std::process::ExitCode {
    service::process::main::<ingest::Arguments>()
}
