//! What a link could hold in flight when it was last used, by host: the first congestion window of the next connection.
//!
//! A first window is a guess, and made for fast links (`docs/design/003-first-window.md`). To a slow one it sends more than
//! its queue holds, with every connection anew; what was found out the last time spares it that. Kept in memory, and in the
//! state directory where there is one. Losing it costs a round trip or two.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::link::FIRST_WINDOW_BYTES_MAX;

/// The window is never taken for smaller, in bytes: a handful of saves.
const WINDOW_BYTES_MIN: u64 = 64 << 10;
/// Most hosts that are remembered; the ones used longest ago are forgotten.
const HOSTS_MAX: usize = 128;
/// Most bytes of the file that are read.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// By how much of a hundred a window must have changed to be written again.
const CHANGE_PERCENT: u64 = 20;
const FILE: &str = "windows";

/// The window of one host's link.
#[derive(Debug)]
pub(super) struct Window {
    host: String,
    file: Option<PathBuf>,
    bytes: Option<u64>,
}

impl Window {
    /// What is known of a host. A file that can't be read, or is damaged, knows nothing.
    pub(super) fn of(host: &str, state_dir: Option<&Path>) -> Self {
        let file = state_dir.map(|dir| dir.join(FILE));
        let known = file.as_deref().and_then(|file| read(file).ok()).unwrap_or_default();
        let bytes = known.into_iter().find(|(known, _)| known == host).map(|(_, bytes)| bytes);
        Self { host: host.to_owned(), file, bytes }
    }

    /// What to begin with, in bytes; `None`: as with any link. Twice what was found: a window grows only with bulk, so that one
    /// which was small by chance would stay so for as long as there are only saves.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.bytes.map(|bytes| bytes.saturating_mul(2).min(FIRST_WINDOW_BYTES_MAX))
    }

    /// A connection had this window, in bytes. Gives what is to be written to the disk, if that is worth it.
    pub(super) fn found(&mut self, bytes: u64) -> Option<Unwritten> {
        let bytes = bytes.clamp(WINDOW_BYTES_MIN, FIRST_WINDOW_BYTES_MAX);
        let before = self.bytes.replace(bytes).unwrap_or(FIRST_WINDOW_BYTES_MAX);
        if before.abs_diff(bytes) * 100 < before * CHANGE_PERCENT {
            return None;
        }
        Some(Unwritten { file: self.file.clone()?, host: self.host.clone(), bytes })
    }
}

/// What is to be written, by a thread that may wait for the disk.
#[derive(Debug)]
pub(super) struct Unwritten {
    file: PathBuf,
    host: String,
    bytes: u64,
}

impl Unwritten {
    /// Writes it, with what others have written since. A session that ends at the same time may win.
    pub(super) fn write(self) -> io::Result<()> {
        let mut known = read(&self.file).unwrap_or_default();
        known.retain(|(host, _)| *host != self.host);
        known.push((self.host, self.bytes));
        let first = known.len().saturating_sub(HOSTS_MAX);
        let dir = self.file.parent().ok_or(io::ErrorKind::NotFound)?;
        let staged = dir.join(format!("{FILE}.{}", std::process::id()));
        let mut file = fs::File::create(&staged)?;
        for (host, bytes) in known.into_iter().skip(first) {
            writeln!(file, "{bytes} {host}")?;
        }
        fs::rename(&staged, &self.file)
    }
}

/// A line a host: the bytes, a space, the host.
fn read(file: &Path) -> io::Result<Vec<(String, u64)>> {
    let mut text = String::new();
    fs::File::open(file)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    let line = |line: &str| {
        let (bytes, host) = line.split_once(' ')?;
        let bytes: u64 = bytes.parse().ok()?;
        (WINDOW_BYTES_MIN..=FIRST_WINDOW_BYTES_MAX).contains(&bytes).then(|| (host.to_owned(), bytes))
    };
    Ok(text.lines().filter_map(line).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SLOW: u64 = 200_000;

    #[test]
    fn what_was_found_is_there_for_the_next_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let window = || Window::of("pod.example", Some(dir.path()));
        assert_eq!(window().bytes(), None);
        for (found, kept) in [(SLOW, SLOW), (1, WINDOW_BYTES_MIN), (u64::MAX, FIRST_WINDOW_BYTES_MAX)] {
            let mut now = window();
            now.found(found).unwrap().write().unwrap();
            let next = (2 * kept).min(FIRST_WINDOW_BYTES_MAX);
            assert_eq!((now.bytes(), window().bytes()), (Some(next), Some(next)));
        }
        assert_eq!(Window::of("other.example", Some(dir.path())).bytes(), None);
    }

    #[test]
    fn a_small_difference_is_not_written_and_a_fast_link_never() {
        let mut window = Window::of("pod.example", Some(Path::new("state")));
        assert!(window.found(FIRST_WINDOW_BYTES_MAX).is_none());
        assert!(window.found(SLOW).is_some());
        assert!(window.found(SLOW + SLOW / 10).is_none());
        // Without a state directory it is known as long as the process lives.
        let mut window = Window::of("pod.example", None);
        assert!(window.found(SLOW).is_none() && window.bytes() == Some(2 * SLOW));
    }

    /// With nothing but saves a connection ends with the window that it began with.
    #[test]
    fn a_window_that_was_small_by_chance_does_not_stay_so() {
        let mut window = Window::of("pod.example", None);
        window.found(0);
        let mut connections = 0;
        while let Some(bytes) = window.bytes().filter(|bytes| *bytes < FIRST_WINDOW_BYTES_MAX) {
            window.found(bytes);
            connections += 1;
            assert!(connections < 5, "{bytes} bytes");
        }
    }

    #[test]
    fn no_more_hosts_than_the_bound_and_damage_is_no_window() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..HOSTS_MAX + 10 {
            Window::of(&number.to_string(), Some(dir.path())).found(SLOW).unwrap().write().unwrap();
        }
        let known = read(&dir.path().join(FILE)).unwrap();
        assert_eq!((known.len(), known.first().unwrap().0.as_str()), (HOSTS_MAX, "10"));
        fs::write(dir.path().join(FILE), "1 a\n99999999999 a\nx a\na\n\u{0}\n").unwrap();
        assert_eq!(Window::of("a", Some(dir.path())).bytes(), None);
    }
}
