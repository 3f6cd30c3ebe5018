//! The receiving half. The sender is believed in nothing.

use std::{
    collections::VecDeque,
    io::{self, Read, Seek, Write},
};

use sync_proto::{
    ContentId, Entry,
    limits::{BLOCK_BYTES_MAX, CHUNK_BYTES_MAX, FILE_BYTES_MAX},
    message::{BatchId, Blob, Chunk, FileFrame, FileHeader, Need, RecipePage},
};
use zstd_safe::DCtx;

use super::{
    PAGE_BYTES_MAX, PAGES_IN_FLIGHT_MAX,
    base::Base,
    error::{ReceiveError, Violation},
    output::Output,
    sources::{Elsewhere, Place, ReadSeek, Sources, Spot},
};
use crate::chunk::{Cuts, Mark, ONE_CHUNK_BYTES, Sizes, sizes};

/// After so many chunks that were not where they were said to be elsewhere, none is looked for there any more.
const MISSES_MAX: u32 = 64;

/// What a frame leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to say.
    None,
    /// This goes to the sender.
    Need(Need),
    /// The file is whole: its length and its hash are those of the entry, and all of it has been written.
    Complete,
}

/// Where a chunk that was announced comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The sender.
    Peer,
    /// One of the sources.
    Here,
    /// Elsewhere, where it was seen.
    Elsewhere(Spot),
    /// It stands in the output already, at its own place.
    InPlace,
}

/// Makes a file of frames.
///
/// Hand over each frame by [`Self::handle`], in order, until it says [`Reply::Complete`] or fails. It may read and write
/// files: not for a thread that others wait for.
pub struct FileReceiver<W> {
    batch: BatchId,
    len: u64,
    content: ContentId,
    /// `None`: all bytes come unasked.
    recipe: Option<Recipe>,
    base: Base,
    output: Output<W>,
    hasher: blake3::Hasher,
    decompressor: Option<DCtx<'static>>,
    received: u64,
    closed: bool,
}

/// What has been announced.
struct Recipe {
    sizes: Sizes,
    sources: Sources,
    /// Announced, and not yet written: in order, all of at most [`PAGES_IN_FLIGHT_MAX`] pages.
    pending: VecDeque<(Chunk, Origin)>,
    /// Where each of these pages ends in the file.
    page_ends: VecDeque<u64>,
    next_page: u32,
    /// How much of the file has been announced, in bytes.
    announced: u64,
    /// What has come of the first pending chunk.
    under_way: Vec<u8>,
    /// Where else chunks may be.
    elsewhere: Option<Box<dyn Elsewhere>>,
    misses: u32,
    /// All that has been announced.
    cuts: Cuts,
}

impl<W> std::fmt::Debug for FileReceiver<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileReceiver").field("received", &self.received).field("len", &self.len).finish_non_exhaustive()
    }
}

impl<W: Read + Write + Seek> FileReceiver<W> {
    /// Receives into `out` the file that `header` announces. What stands in `out` is taken for an earlier part of the same
    /// file. `resources` are files that may have chunks of it, first of all the one that is replaced.
    pub fn new(header: &FileHeader, out: W, mut resources: Vec<Box<dyn ReadSeek>>) -> Result<Self, ReceiveError> {
        let Entry::File { content, len, .. } = header.entry else {
            return Err(Violation::NotAFile.into());
        };
        if len > FILE_BYTES_MAX {
            return Err(Violation::FileTooLarge { len }.into());
        }
        let output = Output::new(out).map_err(ReceiveError::Output)?;
        if output.stood() > len {
            return Err(ReceiveError::OutputTooLong { stood: output.stood(), len });
        }
        let base = Base::new((!header.recipe && !resources.is_empty()).then(|| resources.swap_remove(0)));
        let recipe = header.recipe.then(|| Recipe {
            sizes: sizes(len),
            sources: Sources::new(resources),
            pending: VecDeque::new(),
            page_ends: VecDeque::new(),
            next_page: 0,
            announced: 0,
            under_way: Vec::new(),
            elsewhere: None,
            misses: 0,
            cuts: Cuts::default(),
        });
        Ok(Self {
            batch: header.batch,
            len,
            content,
            recipe,
            base,
            output,
            hasher: blake3::Hasher::new(),
            decompressor: None,
            received: 0,
            closed: false,
        })
    }

    /// Takes chunks from there too. Without a recipe it is of no use.
    pub fn take_from(&mut self, elsewhere: Box<dyn Elsewhere>) {
        if let Some(recipe) = &mut self.recipe {
            recipe.elsewhere = Some(elsewhere);
        }
    }

    /// The chunks of the file, where it came with a recipe, after [`Reply::Complete`].
    pub fn cuts(&self) -> Option<Cuts> {
        self.recipe.as_ref()?.cuts.clone().whole(self.len)
    }

    /// Whether it was said by deltas against the file that is replaced: one that is changed again and again.
    pub fn has_deltas(&self) -> bool {
        self.base.has_deltas()
    }

    /// How many bytes of the file are there, received or found here.
    pub fn done_bytes(&self) -> u64 {
        self.output.end()
    }

    /// How many bytes of the file came from the sender, decoded.
    pub fn received_bytes(&self) -> u64 {
        self.received
    }

    /// Gives the output back: the whole file after [`Reply::Complete`], otherwise what has come of it.
    pub fn into_output(mut self) -> W {
        // What can't be written now is sent again another time.
        let _ = self.output.flush();
        self.output.into_inner()
    }

    /// Takes the next frame. After an error, and after [`Reply::Complete`], every frame is one too many.
    pub fn handle(&mut self, frame: FileFrame) -> Result<Reply, ReceiveError> {
        if self.closed {
            return Err(Violation::AfterEnd.into());
        }
        let reply = match frame {
            FileFrame::Recipe(page) => self.page(&page).map(Reply::Need),
            FileFrame::Raw(bytes) => self.block(&bytes).map(|()| Reply::None),
            FileFrame::Zstd { len, bytes } => {
                self.decompress(len as usize, &bytes).and_then(|block| self.block(&block)).map(|()| Reply::None)
            }
            FileFrame::End => self.end().map(|()| Reply::Complete),
            FileFrame::Abort => Err(ReceiveError::Aborted),
            FileFrame::Copy { offset, len } => self.copy(offset, len).map(|()| Reply::None),
            FileFrame::Delta { offset, base_len, len, bytes } => {
                self.delta(offset, base_len, len, &bytes).map(|()| Reply::None)
            }
        };
        self.closed = !matches!(reply, Ok(Reply::None | Reply::Need(_)));
        reply
    }

    /// Takes a page of the recipe: says what is missing of it, and writes what is not and whose turn it is.
    fn page(&mut self, page: &RecipePage) -> Result<Need, ReceiveError> {
        let recipe = self.recipe.as_mut().ok_or(Violation::UnexpectedPage)?;
        recipe.check(page, self.output.end(), self.len)?;
        recipe.sources.index(recipe.sizes);
        let mut missing = vec![0_u8; page.chunks.len().div_ceil(8)];
        for (index, chunk) in page.chunks.iter().enumerate() {
            let origin = recipe.origin(&mut self.output, chunk)?;
            if let (Origin::Peer, Some(bits)) = (origin, missing.get_mut(index / 8)) {
                *bits |= 1 << (index % 8);
            }
            // From now on it is here, or will be when its turn comes: the same chunk later in the file is not sent.
            recipe.sources.remember(chunk, recipe.announced);
            recipe.cuts.push(Mark::of(chunk));
            recipe.pending.push_back((*chunk, origin));
            recipe.announced += u64::from(chunk.len);
        }
        recipe.next_page += 1;
        recipe.page_ends.push_back(recipe.announced);
        self.advance()?;
        let missing = Blob::new(missing).expect("a page has no more chunks than a need has bits");
        Ok(Need { batch: self.batch, page: page.page, missing })
    }

    /// Takes the next bytes from the file that is replaced.
    fn copy(&mut self, offset: u64, len: u64) -> Result<(), ReceiveError> {
        self.check_reference(len)?;
        if len == 0 {
            return Err(Violation::EmptyCopy.into());
        }
        let Self { base, hasher, output, .. } = self;
        base.copy(offset, len, |bytes| {
            hasher.update(bytes);
            output.append(bytes).map_err(ReceiveError::Output)
        })
    }

    /// Makes the next bytes of a window of the file that is replaced.
    fn delta(&mut self, offset: u64, base_len: u32, len: u32, delta: &[u8]) -> Result<(), ReceiveError> {
        self.check_reference(u64::from(len))?;
        let bytes = self.base.decode(offset, base_len, len, delta)?;
        self.received += delta.len() as u64;
        self.hasher.update(&bytes);
        self.output.append(&bytes).map_err(ReceiveError::Output)
    }

    fn check_reference(&self, len: u64) -> Result<(), Violation> {
        if self.recipe.is_some() {
            return Err(Violation::UnexpectedReference);
        }
        if len > self.len - self.output.end() {
            return Err(Violation::TooLong { declared: self.len });
        }
        Ok(())
    }

    /// Decodes a block into memory for as much as it may have.
    fn decompress(&mut self, len: usize, bytes: &[u8]) -> Result<Vec<u8>, ReceiveError> {
        if len == 0 || len > BLOCK_BYTES_MAX {
            return Err(Violation::BlockBytes { len }.into());
        }
        let context = match &mut self.decompressor {
            Some(context) => context,
            none => {
                none.insert(DCtx::try_create().ok_or_else(|| ReceiveError::Output(io::ErrorKind::OutOfMemory.into()))?)
            }
        };
        let mut block = Vec::with_capacity(len);
        match context.decompress(&mut block, bytes) {
            Ok(decoded) if decoded == len => Ok(block),
            _ => Err(Violation::DamagedBlock.into()),
        }
    }

    /// Takes the next bytes that were missing.
    fn block(&mut self, mut bytes: &[u8]) -> Result<(), ReceiveError> {
        if bytes.is_empty() {
            return Err(Violation::BlockBytes { len: 0 }.into());
        }
        self.received += bytes.len() as u64;
        let Some(recipe) = &mut self.recipe else {
            if bytes.len() as u64 > self.len - self.output.end() {
                return Err(Violation::TooLong { declared: self.len }.into());
            }
            self.hasher.update(bytes);
            return self.output.append(bytes).map_err(ReceiveError::Output);
        };
        // After `advance` the first chunk that is pending, if any, is one that the sender owes.
        while let Some(&(chunk, _)) = recipe.pending.front() {
            let lacking = (chunk.len as usize).saturating_sub(recipe.under_way.len());
            let Some((now, later)) = bytes.split_at_checked(lacking) else {
                recipe.under_way.extend_from_slice(bytes);
                return Ok(());
            };
            let whole = if recipe.under_way.is_empty() {
                now
            } else {
                recipe.under_way.extend_from_slice(now);
                recipe.under_way.as_slice()
            };
            if blake3::hash(whole) != chunk.id.0 {
                return Err(Violation::WrongChunk { offset: self.output.end() }.into());
            }
            self.hasher.update(whole);
            self.output.append(whole).map_err(ReceiveError::Output)?;
            recipe.under_way.clear();
            recipe.pending.pop_front();
            bytes = later;
            Self::copy_pending(recipe, &mut self.output, &mut self.hasher)?;
            if bytes.is_empty() {
                return Ok(());
            }
        }
        Err(Violation::Unasked.into())
    }

    fn advance(&mut self) -> Result<(), ReceiveError> {
        match &mut self.recipe {
            Some(recipe) => Self::copy_pending(recipe, &mut self.output, &mut self.hasher),
            None => Ok(()),
        }
    }

    /// Writes the chunks that are to be had here, up to the first that the sender owes.
    fn copy_pending(
        recipe: &mut Recipe,
        output: &mut Output<W>,
        hasher: &mut blake3::Hasher,
    ) -> Result<(), ReceiveError> {
        let mut bytes = Vec::new();
        while let Some(&(chunk, origin)) = recipe.pending.front() {
            if origin == Origin::Peer {
                break;
            }
            bytes.resize(chunk.len as usize, 0);
            let offset = output.end();
            match origin {
                Origin::InPlace => output.read(offset, &mut bytes).map_err(ReceiveError::Output)?,
                Origin::Elsewhere(spot) => recipe.read_elsewhere(spot, &mut bytes)?,
                Origin::Here | Origin::Peer => match recipe.sources.find(&chunk).ok_or(ReceiveError::SourceChanged)? {
                    Place::Output { offset } => output.read(offset, &mut bytes).map_err(ReceiveError::Output)?,
                    Place::Resource { index, offset } => {
                        recipe.sources.read(index, offset, &mut bytes).map_err(|_| ReceiveError::SourceChanged)?;
                    }
                },
            }
            if blake3::hash(&bytes) != chunk.id.0 {
                return Err(ReceiveError::SourceChanged);
            }
            hasher.update(&bytes);
            let done =
                if origin == Origin::InPlace { output.keep(u64::from(chunk.len)) } else { output.append(&bytes) };
            done.map_err(ReceiveError::Output)?;
            recipe.pending.pop_front();
        }
        while recipe.page_ends.front().is_some_and(|&end| end <= output.end()) {
            recipe.page_ends.pop_front();
        }
        Ok(())
    }

    /// Checks that the file is what was declared.
    fn end(&mut self) -> Result<(), ReceiveError> {
        let received = self.output.end();
        if received != self.len {
            return Err(Violation::Incomplete { received, declared: self.len }.into());
        }
        if self.hasher.finalize() != self.content.0 {
            // The sender may have taken another file for the one that is here.
            return Err(if self.base.is_used() { ReceiveError::SourceChanged } else { ReceiveError::WrongContent });
        }
        self.output.finish().map_err(ReceiveError::Output)
    }
}

impl Recipe {
    /// Checks all that a page says, before anything is done about it.
    fn check(&self, page: &RecipePage, done: u64, declared: u64) -> Result<(), Violation> {
        if page.page != self.next_page {
            return Err(Violation::PageOutOfOrder { page: page.page, expected: self.next_page });
        }
        if self.page_ends.iter().filter(|&&end| end > done).count() >= PAGES_IN_FLIGHT_MAX {
            return Err(Violation::TooManyPages);
        }
        if let Some(chunk) = page.chunks.iter().find(|chunk| chunk.len == 0 || chunk.len as usize > CHUNK_BYTES_MAX) {
            return Err(Violation::ChunkBytes { len: chunk.len });
        }
        let bytes = page.chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        if bytes == 0 || bytes > PAGE_BYTES_MAX as u64 {
            return Err(Violation::PageBytes { bytes });
        }
        if bytes > declared - self.announced {
            return Err(Violation::TooLong { declared });
        }
        // The last chunk of the file is as long as what is left.
        let is_last = self.announced + bytes == declared;
        let within = page.chunks.len() - usize::from(is_last);
        let min = if declared < ONE_CHUNK_BYTES { 1 } else { self.sizes.min() };
        if let Some(chunk) = page.chunks.iter().take(within).find(|chunk| (chunk.len as usize) < min) {
            return Err(Violation::ShortChunk { len: chunk.len, min });
        }
        Ok(())
    }

    /// Where the next chunk that is announced can be had.
    fn origin<W: Read + Write + Seek>(
        &mut self,
        output: &mut Output<W>,
        chunk: &Chunk,
    ) -> Result<Origin, ReceiveError> {
        let offset = self.announced;
        if offset + u64::from(chunk.len) <= output.stood() {
            let mut bytes = vec![0; chunk.len as usize];
            output.read(offset, &mut bytes).map_err(ReceiveError::Output)?;
            if blake3::hash(&bytes) == chunk.id.0 {
                return Ok(Origin::InPlace);
            }
        }
        if self.sources.find(chunk).is_some() {
            return Ok(Origin::Here);
        }
        Ok(self.find_elsewhere(chunk).map_or(Origin::Peer, Origin::Elsewhere))
    }

    /// Where a chunk is elsewhere: read now, since it may not be what it was, and what is promised can't be asked for again.
    fn find_elsewhere(&mut self, chunk: &Chunk) -> Option<Spot> {
        let elsewhere = self.elsewhere.as_mut().filter(|_| self.misses < MISSES_MAX)?;
        let spot = elsewhere.find(chunk)?;
        let mut bytes = vec![0; chunk.len as usize];
        let is_it = elsewhere.read(spot, &mut bytes).is_ok() && blake3::hash(&bytes) == chunk.id.0;
        self.misses += u32::from(!is_it);
        is_it.then_some(spot)
    }

    fn read_elsewhere(&mut self, spot: Spot, bytes: &mut [u8]) -> Result<(), ReceiveError> {
        let elsewhere = self.elsewhere.as_mut().ok_or(ReceiveError::SourceChanged)?;
        elsewhere.read(spot, bytes).map_err(|_| ReceiveError::SourceChanged)
    }
}
