//! ingest, built so that a test can stop it at the places of `service::fail_points`.

fn main() -> std::process::ExitCode {
    service::process::main::<ingest::Arguments>()
}
