//! How much time content may take before it leaves: by what its link turns out to be, asked for anew whenever something is made.

use quinn::Connection;

use crate::{
    delta::Effort,
    link::{self, Speed},
};

/// The pace of a connection.
#[derive(Debug, Clone)]
pub(super) struct Pace(Connection);

impl Pace {
    pub(super) fn of(connection: &Connection) -> Self {
        Self(connection.clone())
    }

    /// Just now.
    pub(super) fn effort(&self) -> Effort {
        let Speed { bytes_per_second, round_trip } = link::speed(&self.0);
        Effort::for_link(bytes_per_second, round_trip)
    }
}
