//! Deltas: the content of a file, said as what differs from a base that both sides hold.
//!
//! Pure. The encoder climbs a ladder, and stops at the first rung that serves (`encode`):
//!
//! 1. `trim`: the common prefix and suffix come off at the speed of `memcmp`. What is left in the middle is said as it is
//!    where it is tiny, otherwise as one zstd frame that may refer to the base around it.
//! 2. `align`, for larger content: what has only been overwritten is found at its old place, what has moved, at samples of
//!    the base. Both are copied (`plan`); the rest goes into bounded sections (`section`), as frames that refer to what it
//!    stands in place of.
//! 3. Where little is found, one frame that may refer to the base at large, by long-distance matching (`compress`).
//!
//! Files that no memory holds whole are said window by window (`window`), each against a window of the base that lies where
//! the content is expected to go on; where it does not, `landmarks` of the whole base say where it does.
//!
//! How hard each tries follows from an [`Effort`]. The bytes are laid down in `proto/SPEC.md`.
//!
//! Invariants: decoding what was encoded against the same base gives the same bytes back. Decoding anything else ends in
//! a [`DeltaError`] or in other bytes, never in a panic and never in more bytes than were declared; that they are the
//! right ones is for a hash of the whole to say.

mod align;
mod compress;
mod decode;
mod effort;
mod encode;
mod format;
mod landmarks;
mod plan;
mod section;
mod trim;
mod window;

pub use decode::{Decoder, DeltaError, decode};
pub use effort::Effort;
pub use encode::Encoder;
pub use landmarks::Landmarks;
pub(crate) use trim::common_prefix;
pub use window::Window;

#[cfg(test)]
mod tests;
