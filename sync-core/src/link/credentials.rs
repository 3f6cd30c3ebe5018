//! Who this side is, and whom it accepts.

use super::{
    identity::{Identity, PublicKey},
    keyfile::KeyError,
    secret::Secret,
};

/// Which of the two sides a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The side with the plan: it dials.
    Controller,
    /// The side that serves roots: it listens.
    Agent,
}

/// Where keys come from: decides what a person is told to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Secret,
    Keys,
}

/// One side's key pair, and exactly the keys that it accepts.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub(super) identity: Identity,
    pub(super) peers: Vec<PublicKey>,
    pub(super) origin: Origin,
}

impl Credentials {
    /// Derives both sides' keys from a shared secret; this side is `role`, and accepts the other role alone.
    pub fn from_secret(secret: &Secret, role: Role) -> Result<Self, KeyError> {
        let other = match role {
            Role::Controller => Role::Agent,
            Role::Agent => Role::Controller,
        };
        let peer = secret.identity(other)?.public_key();
        Ok(Self { identity: secret.identity(role)?, peers: vec![peer], origin: Origin::Secret })
    }

    /// This side is `identity`, and accepts `peers` alone. With an empty list it accepts nobody.
    pub fn from_keys(identity: Identity, peers: Vec<PublicKey>) -> Self {
        Self { identity, peers, origin: Origin::Keys }
    }

    /// This side's public key.
    pub fn public_key(&self) -> PublicKey {
        self.identity.public_key()
    }

    /// What to check where the agent's key is not among those accepted.
    pub(super) fn advice_to_controller(&self) -> &'static str {
        match self.origin {
            Origin::Secret => "it was not given the same secret: check --secret-file or SYNCTL_SECRET on both sides",
            Origin::Keys => "its key is not one of the known agents: check the list of known agents on this side",
        }
    }

    /// What to check where the controller's key is not among those accepted.
    pub(super) fn advice_to_agent(&self) -> &'static str {
        match self.origin {
            Origin::Secret => "it was not given the same secret: check --secret-file or SYNCTL_SECRET on both sides",
            Origin::Keys => "its key is not one of the authorized keys: check the list of authorized keys on this side",
        }
    }
}
