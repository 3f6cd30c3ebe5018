//! The file that is being received: written from its start to its end.

use std::io::{self, Read, Seek, SeekFrom, Write};

/// Chunks are gathered to about this many bytes before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// Zeros from this length on are skipped where nothing stands, and so become a hole where the file system has them.
const HOLE_BYTES_MIN: usize = 4096;

/// A file that grows by appending, and of which all that stands can be read.
pub(super) struct Output<W> {
    out: W,
    /// Gathered, and not yet written: the bytes just before `end`.
    gathered: Vec<u8>,
    /// What has been appended, in bytes.
    end: u64,
    /// How long the file is, in bytes: it may hold more than was appended (what stood in it before), or less (`gathered`,
    /// or zeros that were skipped).
    stands: u64,
    /// How long it was when it was opened, in bytes.
    stood: u64,
    /// Where the file's own position is known to be.
    position: u64,
}

impl<W: Read + Write + Seek> Output<W> {
    /// Begins at the start of `out`, whatever it holds.
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        let stood = out.seek(SeekFrom::End(0))?;
        Ok(Self { out, gathered: Vec::new(), end: 0, stands: stood, stood, position: stood })
    }

    /// How many bytes have been appended.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How many bytes the file held when it was opened.
    pub(super) fn stood(&self) -> u64 {
        self.stood
    }

    /// Appends `bytes`, over whatever stands there.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let start = self.end - self.gathered.len() as u64;
        if bytes.len() >= HOLE_BYTES_MIN && self.end >= self.stands && is_zero(bytes) {
            self.flush()?;
        } else if self.gathered.len() + bytes.len() <= WRITE_BYTES {
            self.gathered.extend_from_slice(bytes);
        } else if self.gathered.is_empty() {
            self.write(start, bytes)?;
        } else {
            self.flush()?;
            self.gathered.extend_from_slice(bytes);
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Appends the `len` bytes that stand there already.
    pub(super) fn keep(&mut self, len: u64) -> io::Result<()> {
        self.flush()?;
        self.end += len;
        Ok(())
    }

    /// Reads what was appended, or stands, at `offset`. What lies beyond the end of the file are zeros that were skipped.
    pub(super) fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.flush()?;
        let stands = usize::try_from(self.stands.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (real, skipped) = bytes.split_at_mut(stands.min(bytes.len()));
        skipped.fill(0);
        if !real.is_empty() {
            self.seek(offset)?;
            self.out.read_exact(real)?;
            self.position += real.len() as u64;
        }
        Ok(())
    }

    /// Writes what is gathered, and makes the file as long as what was appended where it is shorter.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.stands < self.end {
            self.write(self.end - 1, &[0])?;
        }
        self.out.flush()
    }

    /// Gives the file back.
    pub(super) fn into_inner(self) -> W {
        self.out
    }

    /// Writes what is gathered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        if !gathered.is_empty() {
            self.write(self.end - gathered.len() as u64, &gathered)?;
        }
        self.gathered = gathered;
        self.gathered.clear();
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.seek(offset)?;
        self.out.write_all(bytes)?;
        self.position += bytes.len() as u64;
        self.stands = self.stands.max(self.position);
        Ok(())
    }

    fn seek(&mut self, offset: u64) -> io::Result<()> {
        if self.position != offset {
            self.position = self.out.seek(SeekFrom::Start(offset))?;
        }
        Ok(())
    }
}

/// Whether there is nothing but zeros in `bytes`.
fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; HOLE_BYTES_MIN] = [0; HOLE_BYTES_MIN];
    // Most content is told by its first bytes; the rest is compared at the speed of `memcmp`.
    bytes.chunks(HOLE_BYTES_MIN).all(|block| ZEROS.starts_with(block))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::io::Cursor;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_is_appended_stands(
            stood in vec(any::<u8>(), 0..20_000),
            pieces in vec((1_usize..150_000, any::<u8>(), any::<bool>()), 0..12),
        ) {
            let mut output = Output::new(Cursor::new(stood.clone())).unwrap();
            let mut expected = Vec::new();
            for (len, byte, zero) in pieces {
                let start = expected.len();
                // Now and then what stands is kept as it is.
                if byte < 40 && stood.len() >= start + len {
                    output.keep(len as u64).unwrap();
                    expected.extend_from_slice(&stood[start..start + len]);
                } else {
                    expected.resize(start + len, if zero { 0 } else { byte });
                    output.append(&expected[start..]).unwrap();
                }
                if byte % 3 == 0 {
                    let mut back = vec![1; expected.len() - start / 2];
                    output.read((start / 2) as u64, &mut back).unwrap();
                    prop_assert_eq!(&back, &expected[start / 2..]);
                }
            }
            prop_assert_eq!(output.end(), expected.len() as u64);
            output.finish().unwrap();
            if let Some(left) = stood.get(expected.len()..) {
                expected.extend_from_slice(left);
            }
            prop_assert_eq!(output.into_inner().into_inner(), expected);
        }
    }

    /// Counts what is written.
    struct Counting(Cursor<Vec<u8>>, usize);

    impl Read for Counting {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.0.read(bytes)
        }
    }

    impl Seek for Counting {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    impl Write for Counting {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn chunks_are_gathered_and_zeros_are_skipped() {
        let mut output = Output::new(Counting(Cursor::default(), 0)).unwrap();
        for _ in 0..64 {
            output.append(&[7; 16 << 10]).unwrap();
        }
        for _ in 0..64 {
            output.append(&[0; 16 << 10]).unwrap();
        }
        output.finish().unwrap();
        let Counting(bytes, writes) = output.into_inner();
        assert_eq!(bytes.get_ref().len(), 2 << 20);
        // 1 MiB in four writes, and one byte at the end of the hole.
        assert_eq!(writes, 5);
    }
}
