//! Errors of the file system as problems at paths.

use std::io;

use sync_proto::{
    Name, SyncPath,
    limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX},
    message::{Problem, ProblemKind, Sentence},
};

use super::hash::TooLarge;

/// A fifo, a socket, a device: never opened, never synchronised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a file, a directory or a symlink")]
pub struct UnsupportedKind;

/// A symlink that leads out of the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("symlink to an absolute path or out of the root")]
pub struct LeadsOut;

/// The problem that `error` is at `path`.
pub fn at(path: &SyncPath, error: &io::Error) -> Problem {
    Problem { path: path.clone(), kind: kind(error), detail: Sentence::new(error.to_string()) }
}

/// Longest name, in bytes, that a path in `directory` can have.
pub(super) fn name_bytes_max(directory: &SyncPath) -> usize {
    if directory.depth() >= PATH_DEPTH_MAX {
        return 0;
    }
    let above = if directory.is_root() { 0 } else { directory.as_bytes().len() + 1 };
    PATH_BYTES_MAX.saturating_sub(above).min(NAME_BYTES_MAX)
}

/// The problem with a name that has no room in a path, at the path that begins like it; and as much of the name. `None`:
/// no name has.
pub(super) fn too_long<'a>(directory: &SyncPath, name: &'a [u8]) -> Option<(Name<'a>, Problem)> {
    let mut end = name_bytes_max(directory).min(name.len());
    // Not in the middle of a character.
    while name.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) && end > 1 {
        end -= 1;
    }
    let cut = Name::new(name.get(..end)?).ok()?;
    let detail = if name.len() > NAME_BYTES_MAX {
        format!("a name of {} bytes, shown cut; at most {NAME_BYTES_MAX} can be carried", name.len())
    } else {
        let len = directory.as_bytes().len() + 1 + name.len();
        format!("a path of {len} bytes, shown cut; at most {PATH_BYTES_MAX} can be carried")
    };
    let path = directory.join(cut).ok()?;
    Some((cut, Problem { path, kind: ProblemKind::BadName, detail: Sentence::new(detail) }))
}

/// What kind of obstacle an error is.
pub fn kind(error: &io::Error) -> ProblemKind {
    if let Some(inner) = error.get_ref() {
        if inner.is::<UnsupportedKind>() {
            return ProblemKind::UnsupportedKind;
        }
        if inner.is::<LeadsOut>() {
            return ProblemKind::BadTarget;
        }
        if inner.is::<TooLarge>() {
            return ProblemKind::TooLarge;
        }
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => ProblemKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ProblemKind::NoSpace,
        io::ErrorKind::ReadOnlyFilesystem => ProblemKind::ReadOnly,
        io::ErrorKind::InvalidFilename => ProblemKind::BadName,
        io::ErrorKind::OutOfMemory => ProblemKind::Exhausted,
        _ => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => ProblemKind::Exhausted,
            _ => ProblemKind::Io,
        },
    }
}

/// Whether an error says that nothing stands there (any more).
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether an obstacle may be gone without an event to tell of it: what it stands at is looked at again after a time.
pub fn may_pass(kind: ProblemKind) -> bool {
    matches!(kind, ProblemKind::Exhausted | ProblemKind::Io)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A directory whose path has `bytes` bytes.
    fn directory(bytes: usize) -> SyncPath {
        let text: String = (0..bytes).map(|at| if at % 100 == 99 && at + 1 < bytes { '/' } else { 'd' }).collect();
        SyncPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_without_room_is_told_as_far_as_it_has_room() {
        let check = |directory: &SyncPath, name: &str, cut: &str, detail: &str| {
            assert!(name.len() > name_bytes_max(directory));
            let (found, problem) = too_long(directory, name.as_bytes()).unwrap();
            assert_eq!((found.as_bytes(), problem.kind), (cut.as_bytes(), ProblemKind::BadName));
            assert_eq!(problem.path, directory.join(found).unwrap());
            assert!(problem.detail.to_string().starts_with(detail), "{}", problem.detail);
        };
        let (root, n) = (SyncPath::root(), "n".repeat(300));
        check(&root, &n, &n[..255], "a name of 300 bytes");
        check(&root, &"é".repeat(200), &"é".repeat(127), "a name of 400 bytes");
        check(&directory(10), &n, &n[..255], "a name of 300 bytes");
        check(&directory(4000), &n[..200], &n[..94], "a path of 4201 bytes");
        check(&directory(4093), "nn", "n", "a path of 4096 bytes");
        assert_eq!(too_long(&directory(4094), b"n"), None);
        let deepest = SyncPath::parse(["d"; PATH_DEPTH_MAX].join("/").as_bytes()).unwrap();
        assert_eq!((name_bytes_max(&deepest), too_long(&deepest, b"n")), (0, None));
    }

    /// Whatever has room is a path.
    #[test]
    fn a_name_with_room_can_be_joined() {
        for bytes in [1, 99, 3_800, 3_839, 3_840, 4_000, 4_092, 4_093] {
            let directory = directory(bytes);
            let room = name_bytes_max(&directory);
            let longest = vec![b'n'; room];
            let joined = directory.join(Name::new(&longest).unwrap()).unwrap();
            assert!(room == NAME_BYTES_MAX || joined.as_bytes().len() == PATH_BYTES_MAX);
        }
        assert_eq!(name_bytes_max(&SyncPath::root()), NAME_BYTES_MAX);
    }
}
