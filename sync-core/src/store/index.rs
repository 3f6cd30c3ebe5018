//! The index of a root in one file: its tree with stat data, so that the next start reads no content again that has not
//! changed. A snapshot whose generation says of which replica it is. Losing it costs time, never content.

use std::{fs::File, io};

use sync_proto::message::ReplicaId;

use super::{record::Fault, sent::Sent, snapshot};
use crate::tree::Tree;

/// Writes the index of `replica`. Does not wait for the disk: what is torn is found out by its checks.
pub(crate) fn write(file: &mut File, replica: ReplicaId, tree: &Tree) -> io::Result<()> {
    snapshot::check_depth(tree).map_err(io::Error::other)?;
    snapshot::write(file, generation(replica), tree, &Sent::default()).map(drop)
}

/// Reads what [`write`] wrote; `None` where it is another replica's, damaged, or can't be read.
pub(crate) fn read(file: File, replica: ReplicaId) -> Option<Tree> {
    match snapshot::read(file) {
        Ok((header, tree, ..)) => (header.generation == generation(replica)).then_some(tree),
        Err(Fault::Unknown(reason)) => {
            tracing::debug!("the index is not used: {reason}");
            None
        }
        Err(Fault::Io(error)) => {
            tracing::debug!("the index is not used: {error}");
            None
        }
    }
}

/// Half of a random number is random enough.
fn generation(replica: ReplicaId) -> u64 {
    let [bytes @ .., _, _, _, _, _, _, _, _] = replica.0;
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{Seek, Write};

    use sync_proto::{ContentId, Entry, SyncPath};

    use super::*;
    use crate::tree::{Node, Stamp};

    #[test]
    fn it_is_read_by_the_replica_that_wrote_it_alone_and_only_whole() {
        let (ours, other) = (ReplicaId([1; 16]), ReplicaId([2; 16]));
        let stamp = Some(Stamp { mtime_ns: 3, ctime_ns: 4, inode: 5 });
        let path = SyncPath::parse(b"a").unwrap();
        let entry = Entry::File { content: ContentId([7; 32]), len: 1, executable: false };
        let mut tree = Tree::new();
        tree.insert(&path, Node::from_entry(entry), stamp).unwrap();
        let check = |damage: &dyn Fn(&mut File), replica, expected: Option<&Tree>| {
            let mut file = tempfile::tempfile().unwrap();
            write(&mut file, ours, &tree).unwrap();
            damage(&mut file);
            file.rewind().unwrap();
            let found = read(file, replica);
            assert_eq!(found.as_ref().map(Tree::hash), expected.map(Tree::hash));
            assert_eq!(found.and_then(|found| found.stamp(&path)), expected.and(stamp));
        };
        check(&|_| {}, ours, Some(&tree));
        check(&|_| {}, other, None);
        check(&|file| file.set_len(file.metadata().unwrap().len() - 1).unwrap(), ours, None);
        check(&|file| file.write_all(b"more").unwrap(), ours, None);
        check(&|file| file.set_len(0).unwrap(), ours, None);
    }
}
