//! Deltas: the content of a file, said as what differs from a base that both sides hold.
//!
//! Pure. The encoder takes the common prefix and suffix off, then says what is left in the middle as it is where it is
//! tiny, otherwise as one zstd frame that may refer back into the base; the smaller one wins. The bytes are laid down in
//! `proto/SPEC.md`.
//!
//! Invariants: decoding what was encoded against the same base gives the same bytes back. Decoding anything else ends in
//! a [`DeltaError`] or in other bytes, never in a panic and never in more bytes than were declared; that they are the
//! right ones is for a hash of the whole to say.

mod decode;
mod encode;
mod format;

pub use decode::{Decoder, DeltaError, decode};
pub use encode::{Effort, Encoder};

#[cfg(test)]
mod tests;
