//! Copying the content of one open file to another.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
};

use super::platform;

/// Bytes copied at once.
const COPY_BUFFER_BYTES: usize = 256 << 10;

/// Makes `to`, which is empty, hold the first `len` bytes of `from`: shared blocks where the file system can, a copy
/// inside the kernel or through this process elsewhere. The positions of both files don't matter; that of `to` is left
/// anywhere. [`ErrorKind::UnexpectedEof`] where `from` is shorter. What comes out is to be verified by its hash: `from`
/// may be written meanwhile.
pub fn reflink_or_copy(from: &File, to: &File, len: u64) -> io::Result<()> {
    platform::reflink_or_copy(from, to, len)?;
    if to.metadata()?.len() == len { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// Writes the first `len` bytes of `from` over those of `to`, in place.
pub fn copy(from: &File, to: &File, len: u64) -> io::Result<()> {
    copy_from(from, to, 0, len)
}

/// Copies the bytes from `start` up to `len`.
pub(super) fn copy_from(from: &File, to: &File, start: u64, len: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    let mut at = start;
    while at < len {
        let wanted = usize::try_from(len - at).unwrap_or(usize::MAX).min(COPY_BUFFER_BYTES);
        let read = match from.read_at(buffer.get_mut(..wanted).unwrap_or_default(), at) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all_at(buffer.get(..read).unwrap_or_default(), at)?;
        at += read as u64;
    }
    Ok(())
}
