//! A small world, so that what a fuzzer makes up meets itself: few paths, few contents.

use sync_proto::{ContentId, Entry, SyncPath, Target};

/// Bytes as choices. At their end every choice is the first.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

const NAMES: [&str; 14] = [
    "a",
    "b",
    "a/x",
    "a/y",
    "b/x",
    "a/x/deep",
    "a/x/deep/er",
    "c",
    "c/.synctl/d",
    ".synctl",
    ".SYNCTL/stage",
    "out",
    "out/canary",
    "ignored.o",
];

impl Choices<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of `count`.
    pub(crate) fn of(&mut self, count: usize) -> usize {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(byte) % count.max(1)
    }

    pub(crate) fn path(&mut self) -> SyncPath {
        let text = NAMES[self.of(NAMES.len())];
        SyncPath::parse(text.as_bytes()).expect("a path")
    }

    pub(crate) fn content(&mut self) -> Vec<u8> {
        let content = self.of(6);
        vec![content as u8; [0, 1, 3, 40, 40, 5000][content]]
    }

    /// A file, a symlink or a directory.
    pub(crate) fn entry(&mut self) -> Entry {
        match self.of(5) {
            0 => Entry::Directory,
            1 => Entry::Symlink(Target::new(b"../outside").expect("a target")),
            kind => {
                let content = self.content();
                file(&content, kind == 2)
            }
        }
    }
}

pub(crate) fn file(content: &[u8], executable: bool) -> Entry {
    Entry::File { content: ContentId(*blake3::hash(content).as_bytes()), len: content.len() as u64, executable }
}
