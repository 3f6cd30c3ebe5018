//! The barrier of the twin: a file of ours whose event says that those of all earlier changes have been read.
//!
//! What the platform has noted and not told yet can't be seen from here. But it tells changes in their order: an empty file
//! that is made now, a *cookie*, is told after all that was changed before. It lies in `.synctl`, which takes no part, so
//! that it is no news to anybody; where there is no `.synctl`, none is made for it.
//!
//! No name is used twice: it has the process number (for a person who finds it), a random number of the watcher, and one that
//! counts. So nothing that is told of an earlier cookie, given up on or left behind, is taken for the one that is awaited.
//!
//! A crash leaves one empty file at most, removed by the first drain of the next watcher. Should that take one that another
//! watcher awaits, no harm is done: that it was made is told all the same.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crossbeam_channel::RecvTimeoutError;
use notify::{Event, RecursiveMode, Watcher as _};
use sync_proto::Name;

use super::{Drained, Events, Hint, RECURSIVE, ended, io_error, push};
use crate::{
    replica::stage::{HOME, fixed, names},
    sys::DirHandle,
};

/// How long a cookie is waited for. Where it does not come, this is added to the time of a scan.
const COOKIE_TIME_MAX: Duration = Duration::from_millis(500);

/// Whether changes in different directories are told in the order in which they were made. kqueue, which is asked file by
/// file, does not promise that.
const ORDERED: bool = RECURSIVE || cfg!(target_os = "linux");

/// What every name begins with.
const PREFIX: &str = "cookie-";

/// Makes the cookies of one watcher.
pub(super) struct Cookies {
    random: u64,
    next: u64,
    /// Whether what a killed process has left is removed.
    swept: bool,
}

/// A cookie on the disk, removed with this value.
struct Cookie {
    home: DirHandle,
    name: String,
    absolute: PathBuf,
}

impl Events {
    /// Appends what is told of all that was changed before the call. That needs a cookie in the `.synctl` of `root`, which is
    /// given where this program writes to it; without one, and where it is not told in time, what is still on its way from
    /// the kernel is missed.
    pub fn drain(&mut self, root: Option<&DirHandle>, hints: &mut Vec<Hint>) -> io::Result<Drained> {
        let first = hints.len();
        let home = self.shared.root.join(HOME);
        let made = match root {
            Some(root) if ORDERED => self.make_cookie(root, &home),
            Some(_) | None => Err(ErrorKind::Unsupported.into()),
        };
        let drained = match &made {
            Ok(cookie) => self.read_until(cookie, first, hints),
            Err(error) => {
                tracing::debug!("no cookie can be made in {}: {error}", home.display());
                self.take(first, hints).map(|()| Drained::BestEffort)
            }
        };
        if !RECURSIVE && root.is_some() {
            // Whatever else is done there, the removal of the cookie to begin with, is no reason to wake up. One that is gone
            // already is what was wanted.
            let _ = self.shared.backend().unwatch(&home);
        }
        drained
    }

    fn make_cookie(&mut self, root: &DirHandle, home: &Path) -> io::Result<Cookie> {
        let handle = root.open_dir(fixed(HOME))?;
        if !RECURSIVE {
            self.shared.backend().watch(home, RecursiveMode::NonRecursive).map_err(io_error)?;
        }
        self.cookies.make(handle, home)
    }

    /// Reads on until the cookie is told, or that events were dropped: the rescan that this asks for finds all there is.
    fn read_until(&self, cookie: &Cookie, first: usize, hints: &mut Vec<Hint>) -> io::Result<Drained> {
        let deadline = Instant::now() + COOKIE_TIME_MAX;
        loop {
            if self.shared.lost.swap(false, Ordering::AcqRel) {
                push(hints, first, Hint::Lost);
                return Ok(Drained::Exact);
            }
            let event = match self.events.recv_deadline(deadline) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => return Ok(Drained::BestEffort),
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
            };
            let is_answered = cookie.is_answered_by(&event);
            self.decode(event, first, hints)?;
            if is_answered {
                return Ok(Drained::Exact);
            }
            // An event that is there is received at any time, and somebody who never stops writing would keep us for ever.
            if Instant::now() >= deadline {
                return Ok(Drained::BestEffort);
            }
        }
    }
}

impl Cookies {
    pub(super) fn new() -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { random: u64::from_le_bytes(random), next: 0, swept: false })
    }

    /// Makes one in `home`, which stands at `absolute` and is watched.
    fn make(&mut self, home: DirHandle, absolute: &Path) -> io::Result<Cookie> {
        if !self.swept {
            sweep(&home)?;
            self.swept = true;
        }
        let name = format!("{PREFIX}{}-{:016x}-{}", std::process::id(), self.random, self.next);
        self.next += 1;
        home.create_new(Name::new(name.as_bytes()).map_err(io::Error::other)?, 0o600)?;
        Ok(Cookie { absolute: absolute.join(&name), home, name })
    }
}

impl Cookie {
    /// Whether this event proves that all before the cookie has been told: it is about the cookie, or says that everything is
    /// to be looked at anyway.
    fn is_answered_by(&self, event: &notify::Result<Event>) -> bool {
        event.as_ref().is_ok_and(|event| event.need_rescan() || event.paths.contains(&self.absolute))
    }
}

impl Drop for Cookie {
    fn drop(&mut self) {
        if let Ok(name) = Name::new(self.name.as_bytes()) {
            // One that can't be removed is swept away at the next start.
            self.home.remove_file(name).ok();
        }
    }
}

/// Removes all cookies there are.
fn sweep(home: &DirHandle) -> io::Result<()> {
    for name in names(home)?.iter().filter(|name| name.starts_with(PREFIX.as_bytes())) {
        let Ok(name) = Name::new(name) else { continue };
        match home.remove_file(name) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
