//! What a person gets: the real `synctl` and a separate `sync-agent` process, over real QUIC on loopback, on real
//! files. Judged by comparing both trees with a reader of this suite's own and, where it is installed, by rsync.
//!
//! Tests are named after the fault they provoke (`fault_07_…`). What a machine can't provoke (a mount without
//! privileges, a program that is not installed) is left out with a line that begins `SKIPPED` and says why.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod acceptance {
    mod clocks;
    mod editors;
    mod endings;
    mod hostile;
    mod kill_points;
    mod kills;
    mod kinds;
    mod lab;
    mod names;
    mod network;
    mod power;
    mod refusals;
    mod replaced;
    mod repositories;
    mod restarts;
    mod restore;
    mod running;
    mod scenario;
    mod shapes;
    mod space;
    mod storms;
    mod two_way;
    mod versions;
    mod watching;
}
