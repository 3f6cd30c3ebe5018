//! How much an agent may tell of its tree: what this side holds of it is bounded, whatever the agent says. And no symlink
//! that leads out of the root: an honest agent tells of those as problems. What is told here may be put at alpha, also by a
//! move of what is there already.
//!
//! Counted is what was told on one connection. An honest agent that is told so much by other hands in one that it goes over
//! the limit is called anew, and begins at nothing.

use sync_proto::{
    Entry, SyncPath, Target,
    limits::{TREE_BYTES_MAX, TREE_ENTRIES_MAX},
    message::ToController,
};

use crate::engine::PeerFault;

/// What was told on one connection.
#[derive(Debug, Default)]
pub(super) struct Announced {
    entries: u64,
    bytes: u64,
}

impl Announced {
    /// Counts what a message tells, before anything of it is kept.
    pub(super) fn count(&mut self, message: &ToController) -> Result<(), PeerFault> {
        match message {
            ToController::Listing(listing) => {
                for listed in listing.entries.iter() {
                    if let Entry::Symlink(target) = &listed.entry {
                        let path = listing.path.join_path(&listed.name);
                        inside(target, &path.map_err(|_| PeerFault::Malformed("a listed path"))?)?;
                    }
                    // A directory is asked for by its whole path.
                    let above = match listed.entry {
                        Entry::Directory => listing.path.as_bytes().len(),
                        Entry::File { .. } | Entry::Symlink(_) => 0,
                    };
                    self.add(&listed.name, &listed.entry, above);
                }
            }
            ToController::Changes(changes) => {
                for change in changes.changes.iter() {
                    if let Some(Entry::Symlink(target)) = &change.entry {
                        inside(target, &change.path)?;
                    }
                    if let Some(entry) = &change.entry {
                        self.add(&change.path, entry, 0);
                    }
                }
            }
            _ => {}
        }
        if self.entries > TREE_ENTRIES_MAX {
            return Err(PeerFault::TooMany("entries"));
        }
        if self.bytes > TREE_BYTES_MAX {
            return Err(PeerFault::TooMany("bytes of paths"));
        }
        Ok(())
    }

    fn add(&mut self, path: &SyncPath, entry: &Entry, above: usize) {
        let target = match entry {
            Entry::Symlink(target) => target.as_bytes().len(),
            Entry::Directory | Entry::File { .. } => 0,
        };
        self.entries += 1;
        self.bytes += (path.as_bytes().len() + target + above) as u64;
    }
}

fn inside(target: &Target, path: &SyncPath) -> Result<(), PeerFault> {
    if target.stays_inside(path) { Ok(()) } else { Err(PeerFault::Malformed("a symlink that leads out of the root")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sync_proto::{
        TreeHash,
        message::{Bounded, Change, Changes, Listed, Listing, Problems},
    };

    use super::*;

    fn path(text: &str) -> SyncPath {
        SyncPath::parse(text.as_bytes()).unwrap()
    }

    /// The same message again and again, until it is too much; and what was counted then.
    fn check(message: &ToController, fault: PeerFault) -> Announced {
        let mut announced = Announced::default();
        loop {
            if let Err(found) = announced.count(message) {
                assert_eq!(found, fault);
                return announced;
            }
        }
    }

    #[test]
    fn what_is_told_is_bounded_by_entries_and_by_bytes() {
        let listed = |name: &str, entry| Listed { name: path(name), entry, tree: TreeHash([0; 32]) };
        let listing = |at: &str, entries| {
            ToController::Listing(Listing { path: path(at), entries: Bounded::new(entries).unwrap(), last: false })
        };
        let long = Entry::Symlink(Target::new(&[b't'; 4095]).unwrap());
        check(&listing("a", vec![listed("f", long.clone()); 1000]), PeerFault::TooMany("bytes of paths"));
        let deep = vec!["d".repeat(200); 20].join("/");
        check(&listing(&deep, vec![listed("d", Entry::Directory); 1000]), PeerFault::TooMany("bytes of paths"));
        let all = check(&listing("", vec![listed("f", Entry::Directory); 16_384]), PeerFault::TooMany("entries"));
        assert!(all.entries <= TREE_ENTRIES_MAX + 16_384);
        let change = Change { path: path("f"), entry: Some(long), content: None };
        let gone = Change { path: path("f"), entry: None, content: None };
        let changes = Bounded::new(vec![change, gone]).unwrap();
        let changes = Changes { changes, settled: true, complete: true, problems: Problems::new([]), age_micros: 0 };
        check(&ToController::Changes(changes), PeerFault::TooMany("bytes of paths"));
    }

    #[test]
    fn no_symlink_that_leads_out_is_told() {
        let check = |at: &str, name: &str, target: &str, is_fine: bool| {
            let entry = Entry::Symlink(Target::new(target.as_bytes()).unwrap());
            let listed = Listed { name: path(name), entry: entry.clone(), tree: TreeHash([0; 32]) };
            let at = SyncPath::parse(at.as_bytes()).unwrap();
            let full = at.join_path(&path(name)).unwrap();
            let listing = Listing { path: at, entries: Bounded::new(vec![listed]).unwrap(), last: true };
            let changes = Bounded::new(vec![Change { path: full, entry: Some(entry), content: None }]).unwrap();
            let changes =
                Changes { changes, settled: true, complete: true, problems: Problems::new([]), age_micros: 0 };
            for message in [ToController::Listing(listing), ToController::Changes(changes)] {
                let expected =
                    if is_fine { Ok(()) } else { Err(PeerFault::Malformed("a symlink that leads out of the root")) };
                assert_eq!(Announced::default().count(&message), expected, "{message:?}");
            }
        };
        check("", "a", "b", true);
        check("d", "a", "../b", true);
        check("", "a", "../b", false);
        check("d/e", "a", "../../../b", false);
        check("d", "a", "/etc/passwd", false);
    }
}
