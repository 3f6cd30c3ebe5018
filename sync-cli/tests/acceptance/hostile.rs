//! Fault 45: peers that hold a valid key and lie, in both roles, and strangers that hold none.
//!
//! The victim is a real process. Each lie ends as it should: the connection with a code and a sentence that names the
//! fault, or the operation with an outcome; never in a panic, and never in more memory than is stated here and in
//! `SECURITY.md`. Meanwhile an honest session of the same agent goes on.
//!
//! `SYNCTL_HOSTILE_SCALE` (1) multiplies what floods send.

mod agent;
mod controller;
mod floods;
mod honest;
mod liar;
mod peer;
mod strangers;
mod two_way;

/// Most memory by which any one attack makes its victim grow, in bytes.
const GROWTH_BYTES_MAX: u64 = 256 << 20;

/// How many times as much floods send.
fn scale() -> usize {
    std::env::var("SYNCTL_HOSTILE_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}
