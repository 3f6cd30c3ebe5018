//! The sending half.

use std::io::{self, Read};

use sync_proto::{
    ContentId,
    limits::BLOCK_BYTES_MAX,
    message::{FileFrame, Need},
};

use super::{against::Against, compress::Compressor, known::Known, recipe::Recipe, sources::ReadSeek};
use crate::{
    chunk::{Cuts, sizes},
    delta::Effort,
};

/// What a sender wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// This frame goes to the receiver, after all before it.
    Send(FileFrame),
    /// Nothing can be sent until a [`Need`] has come.
    AwaitNeed,
    /// The last frame has been handed out: [`FileFrame::End`], or [`FileFrame::Abort`].
    Done,
}

/// Why a file can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The disk: the file can't be read. The next step is to send [`FileFrame::Abort`].
    #[error("can't read the file that is being sent")]
    Read(#[source] io::Error),
    /// The peer: it answered a page that it was not sent, or not in order.
    #[error("the receiver answered page {page} of a recipe out of turn")]
    UnexpectedNeed {
        /// The page that it names.
        page: u32,
    },
    /// The peer: its answer does not have one bit a chunk.
    #[error("the receiver's answer to page {page} of a recipe is malformed")]
    MalformedNeed {
        /// The page that it names.
        page: u32,
    },
}

/// Makes frames of a file.
///
/// Call [`Self::next`] again and again, sending what it says, until [`Step::Done`]; hand over each [`Need`] by
/// [`Self::need`] as it comes. A file that turns out shorter than it was, or to have another hash, ends in
/// [`FileFrame::Abort`].
pub struct FileSender<R> {
    source: Source<R>,
    content: ContentId,
    way: Way,
    compressor: Compressor,
    state: State,
}

/// How a file is said.
enum Way {
    /// All its bytes, unasked.
    Whole,
    /// Its chunks, and of these what the receiver lacks.
    Recipe(Recipe),
    /// What differs from the file that it replaces.
    Against(Box<Against>),
    /// What differs from the file that it replaces, of which the chunks are known.
    Known(Box<Known>),
}

/// The file, read once from its start to its end.
pub(super) struct Source<R> {
    reader: R,
    len: u64,
    read: u64,
    hasher: blake3::Hasher,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Sending,
    Aborting,
    Ended,
}

impl<R> std::fmt::Debug for FileSender<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSender")
            .field("read", &self.source.read)
            .field("len", &self.source.len)
            .finish_non_exhaustive()
    }
}

impl<R: Read> FileSender<R> {
    /// Sends what `source` gives, which is to be `len` bytes long and to have the hash `content`. `recipe` as in the
    /// file's header.
    pub fn new(source: R, len: u64, content: ContentId, recipe: bool, effort: Effort) -> Self {
        let way = if recipe { Way::Recipe(Recipe::new(len)) } else { Way::Whole };
        Self::begin(source, len, content, way, effort)
    }

    /// Sends it against `base`, which has the content of the file that the receiver has at its path. The header says that
    /// there is no recipe. Where the receiver has another file there, it finds that the hash is wrong.
    pub fn against(
        source: R,
        len: u64,
        content: ContentId,
        base: Box<dyn ReadSeek>,
        effort: Effort,
    ) -> io::Result<Self> {
        let way = Way::Against(Box::new(Against::new(base)?));
        Ok(Self::begin(source, len, content, way, effort))
    }

    /// Sends it against a file of these chunks, which the receiver has at its path. As above.
    pub fn known(source: R, len: u64, content: ContentId, replaced: &Cuts, effort: Effort) -> Self {
        Self::begin(source, len, content, Way::Known(Box::new(Known::new(replaced))), effort)
    }

    fn begin(source: R, len: u64, content: ContentId, way: Way, effort: Effort) -> Self {
        Self {
            source: Source { reader: source, len, read: 0, hasher: blake3::Hasher::new() },
            content,
            way,
            compressor: Compressor::new(effort),
            state: State::Sending,
        }
    }

    /// From the next frame that is made: the link may turn out to be another than it was taken for.
    pub fn set_effort(&mut self, effort: Effort) {
        self.compressor.set_effort(effort);
    }

    /// How many bytes of the file have been read.
    pub fn read_bytes(&self) -> u64 {
        self.source.read
    }

    /// How many bytes of memory hold content of the file.
    pub fn held_bytes(&self) -> usize {
        match &self.way {
            Way::Whole => 0,
            Way::Recipe(recipe) => recipe.held_bytes(),
            Way::Against(against) => against.held_bytes(),
            Way::Known(known) => known.held_bytes(),
        }
    }

    /// The chunks of the file, once all of it has been sent, where it was cut for that.
    pub fn cuts(&self) -> Option<Cuts> {
        let cuts = match &self.way {
            Way::Whole | Way::Against(_) => None,
            Way::Recipe(recipe) => Some(recipe.cuts()),
            Way::Known(known) => known.cuts(sizes(self.source.len)),
        };
        cuts?.clone().whole(self.source.len)
    }

    /// What to do next.
    #[expect(clippy::should_implement_trait, reason = "a step can fail and be followed by others: no iterator")]
    pub fn next(&mut self) -> Result<Step, SendError> {
        let step = match self.state {
            State::Ended => Ok(Step::Done),
            State::Aborting => Ok(self.end(FileFrame::Abort)),
            State::Sending => self.step(),
        };
        step.map_err(|error| {
            self.state = State::Aborting;
            SendError::Read(error)
        })
    }

    /// Takes the receiver's answer to a page.
    pub fn need(&mut self, need: &Need) -> Result<(), SendError> {
        match &mut self.way {
            Way::Recipe(recipe) => recipe.answered(need),
            Way::Whole | Way::Against(_) | Way::Known(_) => Err(SendError::UnexpectedNeed { page: need.page }),
        }
    }

    fn step(&mut self) -> io::Result<Step> {
        // Told as soon as it can be: what is yet to be sent would be in vain.
        if self.source.is_read() && !self.source.has_hash(self.content) {
            return Ok(self.end(FileFrame::Abort));
        }
        let recipe = match &mut self.way {
            Way::Whole => {
                if self.source.is_read() {
                    return Ok(self.end(FileFrame::End));
                }
                let mut block = Vec::new();
                let whole = self.source.fill(&mut block, BLOCK_BYTES_MAX)?;
                return Ok(if whole { self.send(block) } else { self.end(FileFrame::Abort) });
            }
            Way::Against(against) => {
                return Ok(match against.next(&mut self.source, &mut self.compressor)? {
                    Some(frame) => Step::Send(frame),
                    None if self.source.is_read() => self.end(FileFrame::End),
                    None => self.end(FileFrame::Abort),
                });
            }
            Way::Known(known) => {
                return Ok(match known.next(&mut self.source, &mut self.compressor)? {
                    Some(frame) => Step::Send(frame),
                    None if self.source.is_read() => self.end(FileFrame::End),
                    None => self.end(FileFrame::Abort),
                });
            }
            Way::Recipe(recipe) => recipe,
        };
        recipe.drop_sent();
        // The next page goes before the blocks of those before it: its answer travels while they do.
        if recipe.has_room() && !self.source.is_read() {
            return Ok(match recipe.announce(&mut self.source)? {
                Some(page) => Step::Send(FileFrame::Recipe(page)),
                None => self.end(FileFrame::Abort),
            });
        }
        if let Some(block) = recipe.next_block() {
            return Ok(self.send(block));
        }
        Ok(if recipe.is_sent() { self.end(FileFrame::End) } else { Step::AwaitNeed })
    }

    fn send(&mut self, block: Vec<u8>) -> Step {
        Step::Send(self.compressor.frame(block))
    }

    fn end(&mut self, frame: FileFrame) -> Step {
        self.state = State::Ended;
        Step::Send(frame)
    }
}

impl<R: Read> Source<R> {
    /// How many bytes are left to read, or as many as memory can have.
    pub(super) fn left(&self) -> usize {
        usize::try_from(self.len - self.read).unwrap_or(usize::MAX)
    }

    /// Whether all has been read.
    pub(super) fn is_read(&self) -> bool {
        self.read == self.len
    }

    /// Reads until `bytes` has `len` of them, or the file, as long as it was said to be, has been read. `false` where the
    /// file got shorter than that.
    pub(super) fn fill(&mut self, bytes: &mut Vec<u8>, len: usize) -> io::Result<bool> {
        let before = bytes.len();
        let lacking = (len.saturating_sub(before) as u64).min(self.len - self.read);
        bytes.reserve_exact(lacking as usize);
        self.reader.by_ref().take(lacking).read_to_end(bytes)?;
        let new = bytes.get(before..).unwrap_or_default();
        self.hasher.update(new);
        self.read += new.len() as u64;
        Ok(new.len() as u64 == lacking)
    }

    fn has_hash(&self, content: ContentId) -> bool {
        self.hasher.finalize() == content.0
    }
}
