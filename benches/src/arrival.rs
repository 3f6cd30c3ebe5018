//! When a save is visible at the receiver. The kernel says that something happened to a name (inotify); that it is the
//! save is proved by reading the file.

#[cfg(target_os = "linux")]
#[path = "arrival/inotify.rs"]
mod queue;
#[cfg(not(target_os = "linux"))]
#[path = "arrival/polling.rs"]
mod queue;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use queue::Queue;

/// Watches the directories of the files that are expected to change.
#[derive(Debug)]
pub(crate) struct Arrivals {
    queue: Queue,
    expected: HashMap<PathBuf, Vec<u8>>,
}

impl Arrivals {
    /// Nothing of `expected` may have arrived yet.
    pub(crate) fn watch(expected: HashMap<PathBuf, Vec<u8>>) -> Result<Self> {
        let mut queue = Queue::new()?;
        for path in expected.keys() {
            queue.watch(path.parent().context("a file stands in a directory")?)?;
        }
        Ok(Self { queue, expected })
    }

    pub(crate) fn one(path: &Path, content: &[u8]) -> Result<Self> {
        Self::watch(HashMap::from([(path.to_owned(), content.to_vec())]))
    }

    /// Waits until everything has arrived; gives the moment the last was seen.
    pub(crate) fn wait(self, limit: Duration) -> Result<Instant> {
        Ok(self.wait_for_all(limit)?.1)
    }

    /// The same; gives the moments the first and the last were seen.
    pub(crate) fn wait_for_all(mut self, limit: Duration) -> Result<(Instant, Instant)> {
        let deadline = Instant::now() + limit;
        let mut last = Instant::now();
        let mut first = None;
        while !self.expected.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{} files have not arrived after {limit:?}", self.expected.len());
            // All of them are looked at where nothing tells which.
            let changed = self.queue.changed(left)?.unwrap_or_else(|| self.expected.keys().cloned().collect());
            for path in changed {
                if self.expected.get(&path).is_some_and(|content| fs::read(&path).is_ok_and(|found| found == *content))
                {
                    last = Instant::now();
                    first.get_or_insert(last);
                    self.expected.remove(&path);
                }
            }
        }
        Ok((first.unwrap_or(last), last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_seen_when_the_content_is_there_and_not_before() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        fs::write(&path, b"old")?;
        let arrivals = Arrivals::one(&path, b"new")?;
        let beside = path.with_extension("tmp");
        let saver = std::thread::spawn(move || -> Result<Instant> {
            fs::write(&path, b"ne")?;
            std::thread::sleep(Duration::from_millis(30));
            fs::write(&beside, b"new")?;
            let saved = Instant::now();
            fs::rename(&beside, &path)?;
            Ok(saved)
        });
        let seen = arrivals.wait(Duration::from_secs(10))?;
        let saved = saver.join().map_err(|_| anyhow::anyhow!("the saver panicked"))??;
        assert!(seen >= saved && seen - saved < Duration::from_millis(200), "{:?}", seen - saved);
        Ok(())
    }
}
