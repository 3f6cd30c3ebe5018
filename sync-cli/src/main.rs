//! synctl
fn main() {}
