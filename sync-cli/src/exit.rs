//! What the exit codes mean. Scripts rely on them: they never change.

use std::{io, process::ExitCode};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; of `push`: everything is in sync; of `watch`: ended as asked.
    Done,
    /// Of `push`: conflicts or problems remain; of `why`: the path is left out.
    Remains,
    /// It could not be done.
    CouldNot,
    /// A second Ctrl-C: ended at once, without a goodbye.
    Killed,
}

impl Exit {
    /// The number that the shell sees. 2 is also what clap ends with on wrong arguments.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Remains => 1,
            Self::CouldNot => 2,
            // What a shell reports of a program that died of SIGINT.
            Self::Killed => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Whether all that happened is that nobody reads our output any more (`synctl … | head`). Not worth a word.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn codes_are_those_of_the_contract() {
        assert_eq!([Exit::Done, Exit::Remains, Exit::CouldNot, Exit::Killed].map(Exit::code), [0, 1, 2, 130]);
    }

    #[test]
    fn a_broken_pipe_is_seen_beneath_its_context() {
        let error = |kind| Err::<(), _>(io::Error::from(kind)).context("writing").expect_err("is an error");
        assert!(is_broken_pipe(&error(io::ErrorKind::BrokenPipe)));
        assert!(!is_broken_pipe(&error(io::ErrorKind::StorageFull)));
        assert!(!is_broken_pipe(&anyhow::anyhow!("broken pipe")));
    }
}
