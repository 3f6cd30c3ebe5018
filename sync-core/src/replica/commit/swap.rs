//! Putting something in place of something else, and taking it back where that was not what was expected.
//!
//! One exchange puts the new content at the path and what stood there into the stage, where it is looked at: there is no
//! moment at which anybody's bytes have no name. Where it is not what was expected, a second exchange gives it back. If a
//! third writer came between the two, the newest stays at the path, and the other is kept beside the stage.

use std::io::{self, ErrorKind};

use rustix::io::Errno;
use sync_proto::{Entry, Name, message::Outcome};

use super::{
    Stop,
    check::{holds, is_still, same_but_ctime},
    problem::{is, is_absent},
};
use crate::{
    replica::stage::Staged,
    sys::{DirHandle, Stat},
};

/// How often giving back is tried while others keep making and removing the name.
const ATTEMPTS: usize = 4;

/// Where a name is, and what was found there.
pub(super) struct Place<'a> {
    pub(super) dir: &'a DirHandle,
    pub(super) name: Name<'a>,
    pub(super) before: &'a Stat,
    pub(super) expected: &'a Entry,
}

/// Why nothing was exchanged.
pub(super) enum NotSwapped {
    /// The name can't be renamed: it is a mount point.
    Busy,
    Stop(Stop),
    Io(io::Error),
}

/// Exchanges what is staged, which looks like `ours`, with what stands at `place`. Afterwards there is nothing of either
/// in the stage that anybody needs.
pub(super) fn swap(staged: &mut Staged<'_>, ours: &Stat, place: &Place<'_>) -> Result<Outcome, NotSwapped> {
    let stop = |stop: Stop| Err(NotSwapped::Stop(stop));
    staged.name_for_exchange(ours.stamp.inode, place.name).map_err(NotSwapped::Io)?;
    let stage = staged.stage().dir();
    match stage.exchange(staged.name(), place.dir, place.name) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Unsupported => return replace(staged, place),
        Err(error) if error.kind() == ErrorKind::CrossesDevices => return stop(Stop::OtherMount),
        Err(error) if is_absent(&error) => return stop(Stop::Outcome(Outcome::Mismatch)),
        Err(error) if is(&error, Errno::BUSY) => return Err(NotSwapped::Busy),
        Err(error) => return Err(NotSwapped::Io(error)),
    }
    // From here on the stage holds what is not ours.
    staged.hold();
    if matches!(is_still(stage, staged.name(), place.before, place.expected), Ok(true)) {
        staged.release();
        return Ok(Outcome::Applied);
    }
    Ok(give_back(staged, ours, place))
}

fn give_back(staged: &mut Staged<'_>, ours: &Stat, place: &Place<'_>) -> Outcome {
    let stage = staged.stage().dir();
    for _ in 0..ATTEMPTS {
        match stage.exchange(staged.name(), place.dir, place.name) {
            Ok(()) if stage.stat(staged.name()).is_ok_and(|out| same_but_ctime(ours, &out)) => {
                staged.release();
                return Outcome::Mismatch;
            }
            Ok(()) => {
                // Somebody has replaced ours already, or written to it: that is the newest, and goes back. What comes out
                // now is kept, whoever wrote it.
                stage.exchange(staged.name(), place.dir, place.name).ok();
                break;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match stage.rename_noreplace(staged.name(), place.dir, place.name) {
                    Ok(()) => return Outcome::Mismatch,
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    Err(_) => break,
                }
            }
            Err(_) => break,
        }
    }
    Outcome::Displaced(staged.keep(place.name))
}

/// Where nothing can be exchanged: a look, and a rename over it. What somebody puts there between the two is lost; there
/// is no way to tell.
fn replace(staged: &mut Staged<'_>, place: &Place<'_>) -> Result<Outcome, NotSwapped> {
    let now = match place.dir.stat(place.name) {
        Ok(now) => now,
        Err(error) if is_absent(&error) => return Ok(Outcome::Mismatch),
        Err(error) => return Err(NotSwapped::Io(error)),
    };
    let same = now.stamp == place.before.stamp && same_but_ctime(place.before, &now);
    if !same && holds(place.dir, place.name, place.expected, None).map_err(NotSwapped::Io)?.is_none() {
        return Ok(Outcome::Mismatch);
    }
    match staged.stage().dir().rename_replace(staged.name(), place.dir, place.name) {
        Ok(()) => {
            staged.hold();
            Ok(Outcome::Applied)
        }
        Err(error) if error.kind() == ErrorKind::CrossesDevices => Err(NotSwapped::Stop(Stop::OtherMount)),
        Err(error) if is(&error, Errno::BUSY) => Err(NotSwapped::Busy),
        // A directory has come to stand there.
        Err(error) if is_absent(&error) || error.kind() == ErrorKind::IsADirectory => Ok(Outcome::Mismatch),
        Err(error) => Err(NotSwapped::Io(error)),
    }
}
