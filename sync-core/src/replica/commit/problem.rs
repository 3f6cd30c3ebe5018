//! What the file system refuses, as the outcome of an operation.

use std::io::{self, ErrorKind};

use rustix::io::Errno;
use sync_proto::{
    SyncPath,
    message::{Outcome, Problem, ProblemKind, Sentence},
};

/// The outcome of an operation at `path` that the file system refused.
pub(super) fn failed(path: &SyncPath, error: &io::Error) -> Outcome {
    Outcome::Failed(Problem { path: path.clone(), kind: kind(error), detail: Sentence::new(error.to_string()) })
}

/// The outcome of an operation that can't be done at all.
pub(super) fn refused(path: &SyncPath, kind: ProblemKind, sentence: &str) -> Outcome {
    Outcome::Failed(Problem { path: path.clone(), kind, detail: Sentence::new(sentence) })
}

/// The outcome where a directory or a name that is needed could not be had: it is missing, or something else than was
/// expected stands there.
pub(super) fn missing(path: &SyncPath, error: &io::Error) -> Outcome {
    if is_absent(error) { Outcome::Mismatch } else { failed(path, error) }
}

/// Whether an error says that no such name is there, or that a directory on the way is none.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) || is(error, Errno::LOOP)
}

/// Whether an error is this one.
pub(super) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn kind(error: &io::Error) -> ProblemKind {
    match error.kind() {
        ErrorKind::PermissionDenied => ProblemKind::Denied,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ProblemKind::NoSpace,
        ErrorKind::ReadOnlyFilesystem => ProblemKind::ReadOnly,
        ErrorKind::InvalidFilename => ProblemKind::BadName,
        ErrorKind::FileTooLarge => ProblemKind::TooLarge,
        ErrorKind::OutOfMemory => ProblemKind::Exhausted,
        _ if is(error, Errno::MFILE) || is(error, Errno::NFILE) => ProblemKind::Exhausted,
        _ => ProblemKind::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        for (errno, expected) in [
            (Errno::ACCESS, ProblemKind::Denied),
            (Errno::PERM, ProblemKind::Denied),
            (Errno::NOSPC, ProblemKind::NoSpace),
            (Errno::DQUOT, ProblemKind::NoSpace),
            (Errno::ROFS, ProblemKind::ReadOnly),
            (Errno::NAMETOOLONG, ProblemKind::BadName),
            (Errno::MFILE, ProblemKind::Exhausted),
            (Errno::NFILE, ProblemKind::Exhausted),
            (Errno::NOMEM, ProblemKind::Exhausted),
            (Errno::FBIG, ProblemKind::TooLarge),
            (Errno::IO, ProblemKind::Io),
        ] {
            let error = io::Error::from(errno);
            let Outcome::Failed(problem) = missing(&SyncPath::root(), &error) else { panic!("{errno}") };
            assert_eq!(problem.kind, expected, "{errno}");
        }
        for errno in [Errno::NOENT, Errno::NOTDIR, Errno::LOOP] {
            assert_eq!(missing(&SyncPath::root(), &errno.into()), Outcome::Mismatch);
        }
    }
}
