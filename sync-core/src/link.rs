//! link
/// x
#[derive(Debug)]
pub struct Credentials;
