//! Messages to frames and back: the one module that knows how a message is encoded.
//!
//! A frame is a `u32`, little-endian, the length of its body, and the body: one bincode 2 message (little-endian, variable
//! integers). bincode is unmaintained and pinned; nothing of it shows outside this module and the derives, so that it can
//! be replaced behind `SPEC.md` and the golden vectors.

use bincode::{
    BorrowDecode, Decode, Encode,
    config::{Configuration, Limit, LittleEndian, Varint},
    de::{BorrowDecoder, Decoder, read::Reader},
    enc::{Encoder, write::Writer},
    error::{DecodeError as BincodeDecodeError, EncodeError as BincodeEncodeError},
};

use crate::{
    entry::Target,
    limits::{
        BLOCK_BYTES_MAX, FILE_FRAME_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX, SENTENCE_BYTES_MAX,
        TARGET_BYTES_MAX,
    },
    message::{Blob, Bounded, FileFrame, Sentence},
    path::{Name, PathError, SyncPath},
};

/// Bytes of a frame before its body.
pub const FRAME_HEADER_BYTES: usize = 4;

/// Most bytes before the content in the frame of a block: the header, the number of the variant, the length.
const RAW_HEAD_BYTES_MAX: usize = FRAME_HEADER_BYTES + 2 * 9;

/// No body may be larger than this, whatever the stream: the bound on what decoding may allocate.
const BODY_BYTES_MAX: usize = crate::limits::BUNDLE_FRAME_BYTES_MAX;

/// bincode's own limit counts the size of what it decodes to, not of what it reads: up to eight for a byte (a `u64`
/// below 251), and lists ahead of their items. It must allow all that a body of [`BODY_BYTES_MAX`] can hold, which is
/// what bounds memory: blobs take none before their bytes are there, lists little before their items are.
const DECODED_BYTES_MAX: usize = 16 * BODY_BYTES_MAX;

const CONFIG: Configuration<LittleEndian, Varint, Limit<DECODED_BYTES_MAX>> =
    bincode::config::standard().with_limit::<DECODED_BYTES_MAX>();

/// What can travel in a frame. Implemented by every type of [`crate::message`]; the bound to write outside this crate,
/// where bincode does not show.
pub trait Message: Encode + Decode<()> {}

impl<T: Encode + Decode<()>> Message for T {}

/// Why a message can't be framed. The caller built one that breaks a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message of {len} bytes is over the frame limit of {max}")]
pub struct EncodeError {
    /// How long the body is, in bytes; [`usize::MAX`] where it could not be measured.
    pub len: usize,
    /// How long it may be.
    pub max: usize,
}

/// Why bytes from the peer are no message. The peer is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame's length is over the limit of its stream.
    #[error("frame of {len} bytes is over the limit of {max}")]
    FrameTooLarge {
        /// What the header says.
        len: usize,
        /// What the stream allows.
        max: usize,
    },
    /// The body is no message of this kind.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// Bytes are left after the message.
    #[error("{0} bytes left after the message")]
    Trailing(usize),
}

/// Appends `message` as one frame to `out`, whose body may be at most `max` bytes. On error `out` is as it was.
pub fn encode_frame<T: Encode>(message: &T, out: &mut Vec<u8>, max: usize) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    // The limit in CONFIG binds decoding; what is encoded is measured after.
    let encoded = bincode::encode_into_std_write(message, out, CONFIG);
    let body = out.len() - start - FRAME_HEADER_BYTES;
    let failed = match encoded {
        Ok(_) if body <= max.min(BODY_BYTES_MAX) => None,
        Ok(_) => Some(body),
        Err(_) => Some(usize::MAX),
    };
    if let Some(len) = failed {
        out.truncate(start);
        return Err(EncodeError { len, max });
    }
    if let (Some(header), Ok(len)) = (out.get_mut(start..start + FRAME_HEADER_BYTES), u32::try_from(body)) {
        header.copy_from_slice(&len.to_le_bytes());
    }
    Ok(())
}

/// The frame of [`FileFrame::Raw`] as far as its `len` bytes, which are to follow: for content that is not to be copied.
pub fn encode_raw_head(len: usize) -> Result<Vec<u8>, EncodeError> {
    if len > BLOCK_BYTES_MAX {
        return Err(EncodeError { len, max: BLOCK_BYTES_MAX });
    }
    let mut head = Vec::with_capacity(RAW_HEAD_BYTES_MAX);
    encode_frame(&FileFrame::Raw(Blob(Vec::new())), &mut head, FILE_FRAME_BYTES_MAX)?;
    // An empty one ends with its length, in one byte.
    head.pop();
    let encoded = bincode::encode_into_std_write(len as u64, &mut head, CONFIG);
    let body = head.len() - FRAME_HEADER_BYTES + len;
    let error = EncodeError { len: body, max: FILE_FRAME_BYTES_MAX };
    if encoded.is_err() || body > FILE_FRAME_BYTES_MAX {
        return Err(error);
    }
    let header = head.first_chunk_mut::<FRAME_HEADER_BYTES>().ok_or(error)?;
    *header = u32::try_from(body).map_err(|_| error)?.to_le_bytes();
    Ok(head)
}

/// Where `frame` begins with [`FileFrame::Raw`]: how many bytes of it go before the content, and how many are the content. `None`
/// where it is another, or where there is too little of it to tell; what is malformed is not told here.
pub fn raw_head(frame: &[u8]) -> Option<(usize, usize)> {
    let body = u32::from_le_bytes(*frame.first_chunk()?) as usize;
    // One byte of the variant, and a length of one, three or five.
    [2, 4, 6].into_iter().find_map(|before| {
        let len = body.checked_sub(before)?;
        let head = encode_raw_head(len).ok()?;
        (head.len() == FRAME_HEADER_BYTES + before && frame.starts_with(&head)).then_some((head.len(), len))
    })
}

/// Reads the length in a frame's header and checks it against `max`, before anything is allocated.
pub fn frame_len(header: [u8; FRAME_HEADER_BYTES], max: usize) -> Result<usize, DecodeError> {
    let len = u32::from_le_bytes(header) as usize;
    let max = max.min(BODY_BYTES_MAX);
    if len > max { Err(DecodeError::FrameTooLarge { len, max }) } else { Ok(len) }
}

/// Reads one message from the body of a frame: the whole of it and nothing more.
pub fn decode<T: Decode<()>>(body: &[u8]) -> Result<T, DecodeError> {
    let (message, read) =
        bincode::decode_from_slice(body, CONFIG).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    match body.len() - read {
        0 => Ok(message),
        left => Err(DecodeError::Trailing(left)),
    }
}

/// Most items for which room is made before they have arrived: a count alone never takes more memory than this many.
const RESERVE_ITEMS_MAX: usize = 256;

fn write_len<E: Encoder>(encoder: &mut E, len: usize) -> Result<(), BincodeEncodeError> {
    (len as u64).encode(encoder)
}

fn read_len<D: Decoder>(decoder: &mut D, max: usize, what: &'static str) -> Result<usize, BincodeDecodeError> {
    let len = u64::decode(decoder)?;
    usize::try_from(len)
        .ok()
        .filter(|&len| len <= max)
        .ok_or_else(|| BincodeDecodeError::OtherString(format!("{len} {what} where at most {max} are allowed")))
}

/// Reads `len` bytes, which have been checked against their own limit; the decoder's limit is claimed first.
fn read_bytes<D: Decoder>(decoder: &mut D, len: usize) -> Result<Vec<u8>, BincodeDecodeError> {
    decoder.claim_container_read::<u8>(len)?;
    // A length that the rest of the frame can't hold is refused before memory is taken for it.
    if let Some(rest) = decoder.reader().peek_read(len) {
        let bytes = rest.to_vec();
        decoder.reader().consume(len);
        return Ok(bytes);
    }
    Err(BincodeDecodeError::UnexpectedEnd { additional: len })
}

impl<T: Encode, const MAX: usize> Encode for Bounded<T, MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        write_len(encoder, self.len())?;
        self.iter().try_for_each(|item| item.encode(encoder))
    }
}

impl<T: Decode<Context>, Context, const MAX: usize> Decode<Context> for Bounded<T, MAX> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, BincodeDecodeError> {
        let len = read_len(decoder, MAX, "items")?;
        decoder.claim_container_read::<T>(len)?;
        let mut items = Vec::with_capacity(len.min(RESERVE_ITEMS_MAX));
        for _ in 0..len {
            decoder.unclaim_bytes_read(size_of::<T>());
            items.push(T::decode(decoder)?);
        }
        Ok(Self(items))
    }
}

impl<const MAX: usize> Encode for Blob<MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        write_len(encoder, self.len())?;
        encoder.writer().write(self)
    }
}

impl<Context, const MAX: usize> Decode<Context> for Blob<MAX> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, BincodeDecodeError> {
        let len = read_len(decoder, MAX, "bytes")?;
        read_bytes(decoder, len).map(Self)
    }
}

impl Encode for Sentence {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        write_len(encoder, self.0.len())?;
        encoder.writer().write(self.0.as_bytes())
    }
}

impl<Context> Decode<Context> for Sentence {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, BincodeDecodeError> {
        let len = read_len(decoder, SENTENCE_BYTES_MAX, "bytes of text")?;
        String::from_utf8(read_bytes(decoder, len)?)
            .map(Self)
            .map_err(|error| BincodeDecodeError::OtherString(error.to_string()))
    }
}

impl Encode for Target {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        write_len(encoder, self.as_bytes().len())?;
        encoder.writer().write(self.as_bytes())
    }
}

impl<Context> Decode<Context> for Target {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, BincodeDecodeError> {
        let len = read_len(decoder, TARGET_BYTES_MAX, "bytes of symlink target")?;
        Self::new(&read_bytes(decoder, len)?).map_err(|error| BincodeDecodeError::OtherString(error.to_string()))
    }
}

impl Encode for SyncPath {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        write_len(encoder, self.depth())?;
        self.components().try_for_each(|name| {
            write_len(encoder, name.as_bytes().len())?;
            encoder.writer().write(name.as_bytes())
        })
    }
}

impl<Context> Decode<Context> for SyncPath {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, BincodeDecodeError> {
        let invalid = |error: PathError| BincodeDecodeError::OtherString(error.to_string());
        let depth = read_len(decoder, PATH_DEPTH_MAX, "path components")?;
        let mut joined = Vec::new();
        for index in 0..depth {
            let len = read_len(decoder, NAME_BYTES_MAX, "bytes of name")?;
            if joined.len() + len + 1 > PATH_BYTES_MAX + 1 {
                return Err(invalid(PathError::PathTooLong));
            }
            let bytes = read_bytes(decoder, len)?;
            // Checked one by one: joined first, a component `a/b` would pass for two.
            let name = Name::new(&bytes).map_err(invalid)?;
            if index > 0 {
                joined.push(b'/');
            }
            joined.extend_from_slice(name.as_bytes());
        }
        Self::parse(&joined).map_err(invalid)
    }
}

// The derives on messages want these too; nothing here borrows from the frame.

impl<'de, T: Decode<Context>, Context, const MAX: usize> BorrowDecode<'de, Context> for Bounded<T, MAX> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, BincodeDecodeError> {
        Self::decode(decoder)
    }
}

impl<'de, Context, const MAX: usize> BorrowDecode<'de, Context> for Blob<MAX> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, BincodeDecodeError> {
        Self::decode(decoder)
    }
}

bincode::impl_borrow_decode!(Sentence);
bincode::impl_borrow_decode!(Target);
bincode::impl_borrow_decode!(SyncPath);

#[cfg(test)]
mod tests;
