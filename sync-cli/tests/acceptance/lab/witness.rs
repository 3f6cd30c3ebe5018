//! Threads that look at the target all the time and remember what must never be seen.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::OFlags;

use super::fixture::is_whole;

/// Reads every file of a tree again and again: each must be whole, always.
pub(in super::super) struct Witness {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

/// What a witness saw.
#[derive(Debug, Default)]
pub(in super::super) struct Seen {
    pub(in super::super) whole: u64,
    pub(in super::super) partial: Vec<String>,
}

impl Witness {
    /// Every file that ever stands in `root` must have been made by `body`.
    pub(in super::super) fn start(root: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (root, stopped) = (root.to_owned(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                look(&root, &mut seen);
                std::thread::sleep(Duration::from_millis(1));
            }
            look(&root, &mut seen);
            seen
        });
        Self { stop, thread: Some(thread) }
    }

    pub(in super::super) fn finish(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn look(directory: &Path, seen: &mut Seen) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name() != ".synctl") {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => look(&path, seen),
            Ok(kind) if kind.is_file() => match read(&path) {
                Some(content) if is_whole(&content) => seen.whole += 1,
                Some(content) => seen.partial.push(format!("{}: {} bytes", path.display(), content.len())),
                None => {}
            },
            _ => {}
        }
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).ok()?;
    let mut content = Vec::new();
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?.read_to_end(&mut content).ok()?;
    Some(content)
}

/// Looks at one file all the time: from the start on it is there, and it is never empty.
pub(in super::super) struct Presence {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Absences>>,
}

/// How often a look found nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Absences {
    pub(in super::super) missing: u64,
    pub(in super::super) empty: u64,
}

impl Presence {
    pub(in super::super) fn start(path: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut absences = Absences::default();
            while !stopped.load(Ordering::Relaxed) {
                match fs::metadata(&path) {
                    Err(_) => absences.missing += 1,
                    Ok(metadata) if metadata.len() == 0 => absences.empty += 1,
                    Ok(_) => {}
                }
                std::thread::sleep(Duration::from_micros(50));
            }
            absences
        });
        Self { stop, thread: Some(thread) }
    }

    pub(in super::super) fn finish(mut self) -> Absences {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
