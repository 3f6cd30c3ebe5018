//! From what travelled to a staged file that is verified.
//!
//! Nothing that a peer says is believed: lengths are bounded before memory is taken, and what comes out counts only if its
//! BLAKE3 is the entry's. What does not is [`Outcome::BaseMissing`]: to be sent whole.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read, Seek, Write},
};

use sync_proto::{
    ContentId, Entry, Name, SyncPath,
    limits::INLINE_CONTENT_BYTES_MAX,
    message::{Content, Expected, Outcome},
    reserved::is_reserved_path,
};

use super::{
    check,
    problem::{failed, is_absent},
};
use crate::{
    delta,
    replica::stage::{Stage, Staged},
    sys::{self, DirHandle, Stat},
};

/// Longest base and longest result of a delta, both of which are in memory at once. What is longer is streamed.
pub const DELTA_BYTES_MAX: u64 = 64 << 20;

/// Content up to this length is copied through memory: cheaper than asking the file system to share blocks.
const COPY_IN_MEMORY_BYTES_MAX: u64 = 256 << 10;

/// Decoders, made at first use.
#[derive(Default)]
pub(super) struct Decoders {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    delta: delta::Decoder,
}

/// A file in the stage, whole and verified.
pub(super) struct NewFile<'a> {
    pub(super) staged: Staged<'a>,
    pub(super) file: File,
    /// As it was when it was whole.
    pub(super) stat: Stat,
}

/// Where an operation finds content that is here already.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) root: &'a DirHandle,
    /// What the operation replaces.
    pub(super) base: Option<(&'a DirHandle, Name<'a>)>,
}

/// A file that an operation wants.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) path: &'a SyncPath,
    pub(super) expected: &'a Expected,
    pub(super) entry: &'a Entry,
    pub(super) content: &'a Content,
}

/// The content of such a file, as bytes or as a file of the replica.
enum Source<'a> {
    Bytes(Cow<'a, [u8]>),
    File(File),
}

/// Writes the content of `entry`, a file, to `create`'s file.
pub(super) fn write<T>(
    decoders: &mut Decoders,
    here: Here<'_>,
    wanted: Wanted<'_>,
    create: impl FnOnce(u32) -> io::Result<(T, File)>,
) -> Result<(T, File, Stat), Outcome> {
    let Wanted { path, entry, .. } = wanted;
    let Entry::File { content: id, len, executable } = entry else { return Err(Outcome::Mismatch) };
    let source = source(decoders, here, wanted, (*id, *len))?;
    let write = || {
        let (holder, mut file) = create(if *executable { 0o755 } else { 0o644 })?;
        match &source {
            Source::Bytes(bytes) => file.write_all(bytes)?,
            Source::File(from) => sys::reflink_or_copy(from, &file, *len)?,
        }
        let stat = sys::stat_file(&file)?;
        Ok((holder, file, stat))
    };
    let (holder, mut file, stat) = write().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Outcome::BaseMissing,
        _ => failed(path, &error),
    })?;
    // Bytes were verified before they were written; a file may have been written to while it was copied.
    if matches!(source, Source::File(_)) {
        let hash = file.rewind().and_then(|()| check::hash(&mut file)).map_err(|error| failed(path, &error))?;
        if hash != *id {
            return Err(Outcome::BaseMissing);
        }
    }
    Ok((holder, file, stat))
}

/// The same, into the stage.
pub(super) fn stage<'a>(
    decoders: &mut Decoders,
    here: Here<'_>,
    stage: &'a Stage,
    wanted: Wanted<'_>,
) -> Result<NewFile<'a>, Outcome> {
    let (staged, file, stat) = write(decoders, here, wanted, |mode| stage.new_file(mode))?;
    Ok(NewFile { staged, file, stat })
}

fn source<'a>(
    decoders: &mut Decoders,
    here: Here<'_>,
    wanted: Wanted<'a>,
    (id, len): (ContentId, u64),
) -> Result<Source<'a>, Outcome> {
    let path = wanted.path;
    let bytes = match wanted.content {
        Content::None => Cow::Borrowed(&[][..]),
        Content::Raw(bytes) => Cow::Borrowed(&bytes[..]),
        Content::Zstd(frame) => Cow::Owned(inflate(decoders, frame, len)?),
        Content::Delta(bytes) => Cow::Owned(patch(decoders, here, wanted, bytes, len)?),
        Content::CopyOf(from) => {
            let mut file = open_copy(here, path, from, len)?;
            if len > COPY_IN_MEMORY_BYTES_MAX {
                return Ok(Source::File(file));
            }
            Cow::Owned(read_whole(&mut file, len).map_err(|error| failed(path, &error))?)
        }
        // Of what is replaced only the bit changes: there is nothing to write.
        Content::Unchanged => return Err(Outcome::BaseMissing),
    };
    let verified = bytes.len() as u64 == len && *blake3::hash(&bytes).as_bytes() == id.0;
    if verified { Ok(Source::Bytes(bytes)) } else { Err(Outcome::BaseMissing) }
}

fn inflate(decoders: &mut Decoders, frame: &[u8], len: u64) -> Result<Vec<u8>, Outcome> {
    let capacity = usize::try_from(len)
        .ok()
        .filter(|&capacity| capacity <= INLINE_CONTENT_BYTES_MAX)
        .ok_or(Outcome::BaseMissing)?;
    let decoder = match &mut decoders.zstd {
        Some(decoder) => decoder,
        none => none.insert(zstd::bulk::Decompressor::new().map_err(|_| Outcome::BaseMissing)?),
    };
    decoder.decompress(frame, capacity).map_err(|_| Outcome::BaseMissing)
}

fn patch(
    decoders: &mut Decoders,
    here: Here<'_>,
    wanted: Wanted<'_>,
    bytes: &[u8],
    len: u64,
) -> Result<Vec<u8>, Outcome> {
    let path = wanted.path;
    let Expected::Entry(Entry::File { len: base_len, .. }) = wanted.expected else { return Err(Outcome::BaseMissing) };
    let Some((dir, name)) = here.base else { return Err(Outcome::BaseMissing) };
    if *base_len > DELTA_BYTES_MAX || len > DELTA_BYTES_MAX {
        return Err(Outcome::BaseMissing);
    }
    let (mut file, stat) = dir.open_file(name).map_err(|error| copy_failed(path, &error))?;
    if stat.len != *base_len {
        return Err(Outcome::BaseMissing);
    }
    let base = read_whole(&mut file, stat.len).map_err(|error| failed(path, &error))?;
    decoders.delta.decode(&base, bytes, len).map_err(|_| Outcome::BaseMissing)
}

fn open_copy(here: Here<'_>, path: &SyncPath, from: &SyncPath, len: u64) -> Result<File, Outcome> {
    if is_reserved_path(from) {
        return Err(super::not_ours(from));
    }
    let (parent, name) = from.split_last().ok_or(Outcome::BaseMissing)?;
    let dir = here.root.resolve(&parent).map_err(|error| copy_failed(path, &error))?;
    let (file, stat) = dir.open_file(name).map_err(|error| copy_failed(path, &error))?;
    if stat.len == len { Ok(file) } else { Err(Outcome::BaseMissing) }
}

/// Content that is not there, or no file, or may not be read, can be sent instead.
fn copy_failed(path: &SyncPath, error: &io::Error) -> Outcome {
    let elsewhere = matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied);
    if elsewhere || is_absent(error) { Outcome::BaseMissing } else { failed(path, error) }
}

/// Reads at most `len` bytes, which has been checked to be little.
fn read_whole(file: &mut File, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX))?;
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}
