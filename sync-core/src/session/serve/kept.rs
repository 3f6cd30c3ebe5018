//! The index of a served root in its `.synctl`, kept from one run of the agent to the next.

use std::io::{self, ErrorKind};

use sync_proto::message::ReplicaId;

use crate::{replica::stage::fixed, store::index, sys::DirHandle, tree::Tree};

/// The file, and what it is called while it is being written.
const INDEX: &str = "index";
const INDEX_NEW: &str = "index.new";

/// What the replica had when it was last kept; empty where that is not known.
pub(super) fn load(home: &DirHandle, replica: ReplicaId) -> Tree {
    home.open_file(fixed(INDEX)).ok().and_then(|(file, _)| index::read(file, replica)).unwrap_or_default()
}

/// Keeps it for the next start.
pub(super) fn save(home: &DirHandle, replica: ReplicaId, tree: &Tree) -> io::Result<()> {
    match home.remove_file(fixed(INDEX_NEW)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = home.create_new(fixed(INDEX_NEW), 0o600)?;
    let written = index::write(&mut file, replica, tree);
    let done = written.and_then(|()| home.rename_replace(fixed(INDEX_NEW), home, fixed(INDEX)));
    if done.is_err() {
        // A full disk, mostly: no reason to make it fuller.
        let _ = home.remove_file(fixed(INDEX_NEW));
    }
    done
}
