//! Random bytes from the system: for passwords, ids and ports.

use anyhow::Result;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// `N` random bytes as `2 N` hexadecimal digits: safe in a URL, a settings file and SQL.
pub(crate) fn hex<const N: usize>() -> Result<String> {
    let mut text = String::with_capacity(2 * N);
    for byte in bytes::<N>()? {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}
