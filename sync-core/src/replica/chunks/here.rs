//! Where a chunk stands in the root, for who receives.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
};

use sync_proto::{ContentId, SyncPath, message::Chunk};

use super::{
    ChunkIndex, REMEMBERED_BYTES_MIN, Shared,
    kept::{Kept, Number},
};
use crate::{
    chunk::Mark,
    replica::{
        bases::Bases,
        transfer::{Elsewhere, Spot},
    },
    sys::DirHandle,
    tree::{self, Node, Tree},
};

/// Most files that are held open to take chunks from.
const FILES_MAX: usize = 32;

/// The chunks of a root, for one file that is received. What it says of a chunk is a hint: who reads it has to verify it.
pub struct Here {
    shared: Arc<Shared>,
    root: DirHandle,
    tree: Tree,
    /// Contents that are kept outside the tree.
    bases: Option<Arc<Bases>>,
    /// `None`: not to be had.
    files: Vec<(Number, Option<File>)>,
    /// Where the known contents stand now, once one of them was not where it was.
    moved: Option<HashMap<ContentId, SyncPath>>,
}

impl ChunkIndex {
    /// What may be taken from the files of `root` that are in `tree`, and from `bases`. `None`: nothing is known of any.
    pub fn here(&self, root: DirHandle, tree: Tree, bases: Option<Arc<Bases>>) -> Option<Here> {
        if self.shared.kept().as_ref().is_none_or(Kept::is_empty) {
            return None;
        }
        Some(Here { shared: Arc::clone(&self.shared), root, tree, bases, files: Vec::new(), moved: None })
    }
}

impl Elsewhere for Here {
    fn find(&mut self, chunk: &Chunk) -> Option<Spot> {
        let (number, offset) = self.shared.kept().as_mut()?.find(Mark::of(chunk))?;
        let at = match self.files.iter().position(|(known, _)| *known == number) {
            Some(at) => at,
            None if self.files.len() < FILES_MAX => {
                let file = self.open(number);
                self.files.push((number, file));
                self.files.len() - 1
            }
            None => return None,
        };
        self.files.get(at)?.1.as_ref()?;
        Some(Spot { file: at, offset })
    }

    fn read(&mut self, spot: Spot, bytes: &mut [u8]) -> io::Result<()> {
        let file = self.files.get_mut(spot.file).and_then(|(_, file)| file.as_mut()).ok_or(io::ErrorKind::NotFound)?;
        file.seek(SeekFrom::Start(spot.offset))?;
        file.read_exact(bytes)
    }
}

impl Here {
    /// A file that has this content, as far as the tree says; else the one that had it.
    fn open(&mut self, number: Number) -> Option<File> {
        let (content, path) = {
            let kept = self.shared.kept();
            let known = kept.as_ref()?.numbered(number)?;
            (known.content, known.path.clone())
        };
        let stands = self.tree.get(&path);
        if stands.and_then(content_of) == Some(content) {
            return self.open_at(&path);
        }
        let is_file = matches!(stands, Some(Node::File { .. }));
        if let Some(base) = self.bases.as_ref().and_then(|bases| bases.find(content)) {
            return Some(base);
        }
        match self.moved().get(&content).cloned() {
            Some(now) => self.open_at(&now),
            // Most of it may be as it was.
            None => is_file.then(|| self.open_at(&path)).flatten(),
        }
    }

    /// Looks through the tree, once.
    fn moved(&mut self) -> &HashMap<ContentId, SyncPath> {
        let Self { moved, tree, shared, .. } = self;
        moved.get_or_insert_with(|| {
            let kept = shared.kept();
            let is_known = |content: &ContentId| kept.as_ref().is_some_and(|kept| kept.of(*content).is_some());
            tree::walk(tree.root())
                .filter_map(|(path, node, _)| match node {
                    Node::File { len, .. } if *len < REMEMBERED_BYTES_MIN => None,
                    node => Some((content_of(node).filter(is_known)?, path)),
                })
                .collect()
        })
    }

    fn open_at(&self, path: &SyncPath) -> Option<File> {
        let (parent, name) = path.split_last()?;
        Some(self.root.resolve(&parent).ok()?.open_file(name).ok()?.0)
    }
}

fn content_of(node: &Node) -> Option<ContentId> {
    match node {
        Node::File { content, .. } => Some(*content),
        _ => None,
    }
}
