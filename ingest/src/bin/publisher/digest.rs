//! What a file holds, as one number: ids and progress are bound to it.

use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// The SHA-256 of the whole content, and its length.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn of(mut file: &File) -> io::Result<([u8; 32], u64)> {
    let (mut digest, mut length) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((digest.finalize().into(), length));
        }
        digest.update(buffer.get(..read).unwrap_or_default());
        length += read as u64;
    }
}

/// In hexadecimal digits.
pub(crate) fn text(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
