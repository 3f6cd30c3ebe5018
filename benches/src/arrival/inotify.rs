//! The kernel's own account of what happens to names.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::fs::Timespec;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

#[derive(Debug)]
pub(super) struct Queue {
    queue: OwnedFd,
    directories: HashMap<i32, PathBuf>,
}

impl Queue {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { queue: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?, directories: HashMap::new() })
    }

    pub(super) fn watch(&mut self, directory: &Path) -> Result<()> {
        let flags = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO;
        let watch =
            inotify::add_watch(&self.queue, directory, flags).with_context(|| directory.display().to_string())?;
        self.directories.insert(watch, directory.to_owned());
        Ok(())
    }

    /// The paths that something happened to; `None` where nothing has for a while, or more than the kernel could hold.
    pub(super) fn changed(&self, limit: Duration) -> Result<Option<Vec<PathBuf>>> {
        const LOOK_AGAIN: Duration = Duration::from_millis(250);
        let timeout = Timespec::try_from(limit.min(LOOK_AGAIN))?;
        let mut ready = [PollFd::new(&self.queue, PollFlags::IN)];
        if matches!(poll(&mut ready, Some(&timeout)), Ok(0) | Err(Errno::INTR)) {
            return Ok(None);
        }
        let mut buffer = [const { MaybeUninit::uninit() }; 16_384];
        let mut events = Reader::new(&self.queue, &mut buffer);
        let mut paths = Vec::new();
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => return Ok(None),
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    paths.extend(name.and_then(|name| Some(self.directories.get(&event.wd())?.join(name))));
                    // More may be queued than one buffer holds; what is at hand is looked at first.
                    if events.is_buffer_empty() {
                        return Ok(Some(paths));
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => return Ok(Some(paths)),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
