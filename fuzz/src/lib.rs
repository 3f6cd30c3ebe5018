//! What each fuzz target does with its input, apart from the fuzzer: so that `cargo test` runs the seeds, and whatever was
//! once found, on any toolchain.
//!
//! Each takes any bytes, and panics where an invariant of the code under test does not hold.

mod chunks;
mod content;
mod disk;
mod engine;
mod ignore;
mod state;
mod vocabulary;
mod wire;

pub use chunks::chunks;
pub use content::{delta_decode, delta_round_trip, delta_sections, file_receiver, pattern, zstd_bound};
pub use disk::batches_on_disk;
pub use engine::engine_peer;
pub use ignore::ignore_file;
pub use state::state_files;
pub use wire::{hello, messages, paths};

/// Takes a little-endian `u16` off the front; 0 where there is none.
fn take_u16(data: &mut &[u8]) -> usize {
    let Some((bytes, rest)) = data.split_first_chunk::<2>() else {
        return 0;
    };
    *data = rest;
    usize::from(u16::from_le_bytes(*bytes))
}

/// Takes as many bytes off the front as a `u16` before them says, or all that there are.
fn take_bytes<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let len = take_u16(data);
    let (bytes, rest) = data.split_at(len.min(data.len()));
    *data = rest;
    bytes
}

/// Panics where text that is shown to people could do more than be read.
fn assert_safe_to_show(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?} is shown as it is");
}
