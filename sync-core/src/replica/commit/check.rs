//! Whether what stands on the disk is what an operation expects.
//!
//! Stat data decides where it is the same as the index has; where it differs the content does, so that a mere `touch` is
//! no conflict.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    time::{Duration, SystemTime},
};

use sync_proto::{ContentId, Entry, Name};

use crate::{
    sys::{self, DirHandle, Kind, Stat},
    tree::{Node, Stamp},
};

/// The file system's clock advances by ticks of up to 10 ms: of what changed so recently, one more change may leave the
/// stat data the same. Such a file is judged by its content.
const RECENT: Duration = Duration::from_millis(20);

/// Bytes read at once when a file is hashed.
const HASH_BUFFER_BYTES: usize = 256 << 10;

/// What the index knows of a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) node: &'a Node,
    pub(super) stamp: Option<Stamp>,
}

/// Says what stands at `name` where it is `expected`, a file or a symlink; `None` where it is something else.
pub(super) fn holds(
    dir: &DirHandle,
    name: Name<'_>,
    expected: &Entry,
    known: Option<Known<'_>>,
) -> io::Result<Option<Stat>> {
    let stat = match dir.stat(name) {
        Ok(stat) => stat,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match expected {
        Entry::Symlink(target) if stat.kind == Kind::Symlink => {
            let points = present(dir.read_link(name))?;
            Ok(points.is_some_and(|points| points == *target).then_some(stat))
        }
        Entry::File { content, len, executable } if stat.kind == Kind::File => {
            if stat.len != *len || stat.executable != *executable {
                return Ok(None);
            }
            if let Some(known) = known
                && known.stamp == Some(stat.stamp)
                && !is_recent(&stat)
                && let Node::File { content: hashed, len: hashed_len, .. } = known.node
                && *hashed_len == stat.len
            {
                return Ok((hashed == content).then_some(stat));
            }
            has_content(dir, name, *content, &stat)
        }
        _ => Ok(None),
    }
}

/// Whether what was moved or exchanged to `name` still is what `before` was taken of, and found to be `expected`. The
/// rename itself changes the ctime, which therefore does not count.
pub(super) fn is_still(dir: &DirHandle, name: Name<'_>, before: &Stat, expected: &Entry) -> io::Result<bool> {
    let now = dir.stat(name)?;
    if same_but_ctime(before, &now) && !is_recent(&now) {
        return Ok(true);
    }
    Ok(holds(dir, name, expected, None)?.is_some())
}

/// Whether two looks saw the same thing unchanged, as far as can be told when it was renamed in between.
pub(super) fn same_but_ctime(before: &Stat, now: &Stat) -> bool {
    before.kind == now.kind
        && before.len == now.len
        && before.mode == now.mode
        && before.device == now.device
        && before.stamp.inode == now.stamp.inode
        && before.stamp.mtime_ns == now.stamp.mtime_ns
}

/// The stamp of a file of ours that was renamed to its place: `None` where somebody has written to it since.
pub(super) fn stamp_unless_written(file: &File, before: &Stat) -> Option<Stamp> {
    let now = sys::stat_file(file).ok()?;
    (before.len == now.len && before.stamp.mtime_ns == now.stamp.mtime_ns).then_some(now.stamp)
}

fn is_recent(stat: &Stat) -> bool {
    let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else { return true };
    let changed = Duration::from_nanos(u64::try_from(stat.stamp.mtime_ns).unwrap_or(0));
    now.abs_diff(changed) < RECENT
}

fn has_content(dir: &DirHandle, name: Name<'_>, content: ContentId, stat: &Stat) -> io::Result<Option<Stat>> {
    let Some((mut file, opened)) = present(dir.open_file(name))? else { return Ok(None) };
    if opened.stamp.inode != stat.stamp.inode || opened.len != stat.len || hash(&mut file)? != content {
        return Ok(None);
    }
    // What was written while it was read is somebody's work: not what was expected.
    let after = sys::stat_file(&file)?;
    Ok((after.len == opened.len && after.stamp.mtime_ns == opened.stamp.mtime_ns).then_some(after))
}

/// `None` where it is gone, or became another kind of thing, since it was looked at.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::InvalidData) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reads to the end and says what it was.
pub(super) fn hash(file: &mut File) -> io::Result<ContentId> {
    let len = file.metadata()?.len();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(usize::MAX).saturating_add(1).min(HASH_BUFFER_BYTES)];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(ContentId(*hasher.finalize().as_bytes())),
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
    }
}
