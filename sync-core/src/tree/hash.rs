//! Where pages are cut, and what their hashes are made of. `proto/SPEC.md` is the norm for both.

use sync_proto::TreeHash;

use super::{node::Node, page::Summary};

/// Every kind of hash is keyed with its own 32 bytes, so that none can be taken for another or for a file's content id.
const LEAF_KEY: &[u8; 32] = b"synctl tree: leaf page, format 1";
const INNER_KEY: &[u8; 32] = b"synctl tree: inner page format 1";
const DIRECTORY_KEY: &[u8; 32] = b"synctl tree: directory, format 1";

/// Zero bits that each further level asks of a name: pages of 32 entries on average.
const BITS_PER_LEVEL: u32 = 5;

const KIND_DIRECTORY: u8 = 0;
const KIND_FILE: u8 = 1;
const KIND_SYMLINK: u8 = 2;

/// How many levels of pages `name` ends, from the leaves up: 0 for 31 names of 32, at most 12. A function of the name
/// alone, which is what makes equal sets of names have equal pages.
pub(super) fn rank(name: &[u8]) -> u8 {
    let hash = blake3::hash(name);
    let first = hash.as_bytes().first_chunk().map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
    (first.leading_zeros() / BITS_PER_LEVEL) as u8
}

/// The summary of a leaf page.
pub(super) fn leaf<'a>(entries: impl Iterator<Item = (&'a [u8], &'a Node)>) -> Summary {
    let mut bytes = Vec::with_capacity(4096);
    let (mut count, mut content) = (0u64, 0u64);
    for (name, node) in entries {
        bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(name);
        match node {
            Node::Directory(dir) => {
                bytes.push(KIND_DIRECTORY);
                bytes.extend_from_slice(&dir.hash().0);
            }
            Node::File { content, len, executable } => {
                bytes.push(KIND_FILE);
                bytes.extend_from_slice(&content.0);
                bytes.extend_from_slice(&len.to_le_bytes());
                bytes.push(u8::from(*executable));
            }
            Node::Symlink(target) => {
                bytes.push(KIND_SYMLINK);
                bytes.extend_from_slice(&(target.as_bytes().len() as u16).to_le_bytes());
                bytes.extend_from_slice(target.as_bytes());
            }
        }
        count += node.entries();
        content = content.saturating_add(node.bytes());
    }
    Summary { hash: blake3::keyed_hash(LEAF_KEY, &bytes).into(), entries: count, bytes: content }
}

/// The summary of a page over pages.
pub(super) fn inner<'a>(children: impl Iterator<Item = &'a Summary>) -> Summary {
    let mut hasher = blake3::Hasher::new_keyed(INNER_KEY);
    let (mut entries, mut bytes) = (0u64, 0u64);
    for child in children {
        hasher.update(&child.hash);
        entries += child.entries;
        bytes = bytes.saturating_add(child.bytes);
    }
    Summary { hash: hasher.finalize().into(), entries, bytes }
}

/// The hash of a directory whose topmost page is at `level`.
pub(super) fn directory(level: u8, top: &Summary) -> TreeHash {
    let mut bytes = [0; 33];
    let (first, rest) = bytes.split_at_mut(1);
    first.fill(level);
    rest.copy_from_slice(&top.hash);
    TreeHash(blake3::keyed_hash(DIRECTORY_KEY, &bytes).into())
}

/// The hash of a directory without entries.
pub(super) fn empty_directory() -> TreeHash {
    TreeHash(blake3::keyed_hash(DIRECTORY_KEY, &[]).into())
}
