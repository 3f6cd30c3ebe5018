//! Sessions through the public API: real files, real QUIC on loopback.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod session {
    mod barrier;
    mod bases;
    mod chunks;
    mod content;
    mod early;
    mod endings;
    mod first;
    mod halts;
    mod ignored;
    mod lab;
    mod large;
    mod problems;
    mod reconnect;
    mod restart;
    mod roots;
    mod slow;
    mod switch;
    mod takeover;
    mod two_way;
}
