//! Alpha's root, opened and watched, with what is known of its past: all that may be long to read when a session starts, on a
//! thread of its own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{StartError, mailbox::Mailbox, memory::Memory, past::Past};
use crate::{
    ignore::{Protected, Rules},
    replica::{
        Replica, ReplicaOptions,
        bases::{BASES_BYTES_MAX, Bases},
        chunks::ChunkIndex,
        commit::{CommitOptions, Committer},
        contents::Contents,
        repository::Repository,
    },
    sys::DirHandle,
};

/// What is to be watched.
pub(super) struct Watched {
    /// The root, and for which destination.
    pub(super) key: Vec<u8>,
    pub(super) alpha: PathBuf,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) memory: Memory,
    pub(super) rules: Rules,
    /// What may not be changed there; `None`: nothing is.
    pub(super) protected: Option<Protected>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) contents: Arc<Contents>,
}

/// What is watched.
pub(super) struct Watching {
    pub(super) memory: Memory,
    pub(super) root: DirHandle,
    pub(super) replica: Replica,
    /// In the modes that change something there.
    pub(super) committer: Option<Arc<Committer>>,
    pub(super) past: Past,
}

impl Watched {
    /// Begins to watch. Blocks, on the disk.
    pub(super) fn begin(self) -> Result<Watching, StartError> {
        let Self { key, alpha, state_dir, mut memory, rules, protected, mailbox, contents } = self;
        let unreadable = |source| StartError::Source { path: alpha.clone(), source };
        // A person's files: what was done is on the disk before anybody believes it.
        let open = |protected| Committer::open(&alpha, CommitOptions::for_a_person(protected)).map(Arc::new);
        let committer = protected.map(open).transpose()?;
        let options = ReplicaOptions {
            rules,
            contents: Some(contents),
            hint: memory.hint(),
            committer: committer.clone(),
            repository: Repository::around(&alpha),
        };
        let root = DirHandle::open_root(&alpha).map_err(unreadable)?;
        let replica =
            Replica::start(&alpha, options, move |observation| mailbox.put(observation)).map_err(unreadable)?;
        let past = state_dir.map_or_else(Past::default, |dir| past(&dir, &key, &root));
        Ok(Watching { memory, root, replica, committer, past })
    }
}

/// What is kept in `state_dir` of the large files of `root`. Without it more travels, and that is all. `key` says which root,
/// and which destination: no agent is told of chunks that another one has.
fn past(state_dir: &Path, key: &[u8], root: &DirHandle) -> Past {
    let Ok(home) = DirHandle::open_root(state_dir) else { return Past::default() };
    let chunks = root.try_clone().and_then(|root| ChunkIndex::among(&home, key, root));
    Past { bases: Bases::open(&home, BASES_BYTES_MAX).ok().map(Arc::new), chunks: chunks.ok().map(Arc::new) }
}
