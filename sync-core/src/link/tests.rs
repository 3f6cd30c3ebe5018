//! Over real QUIC on loopback.
