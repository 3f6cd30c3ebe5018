//! Connections that have no session: few, and not for long.
//!
//! Whoever has a key may connect, so what one connection is granted is multiplied by how many there are. Those with a
//! session are bounded by the roots. Of the others only so many are kept, and the oldest gives way: there is always a place
//! for the next. What a connection may send ahead grows when it has a session, see [`allow`].

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quinn::Connection;
use tokio::sync::watch;

use crate::link::{CloseCode, allow, close};

/// Most connections that have no session.
const GUESTS_MAX: usize = 16;
/// How long a connection may have no session. Longer than one waits for a root.
const GUEST_TIME_MAX: Duration = Duration::from_secs(30);

/// The connections that have no session, oldest first.
#[derive(Debug)]
pub(super) struct Guests {
    waiting: Mutex<VecDeque<Connection>>,
    roots: usize,
}

/// One connection, and how many sessions it has.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Arc<Guests>,
    connection: Connection,
    sessions: watch::Sender<usize>,
}

/// A session of a connection, for as long as it lives.
#[derive(Debug)]
pub(super) struct Admission(Arc<Guest>);

impl Guests {
    /// None yet. There are as many sessions at most as there are `roots`.
    pub(super) fn new(roots: usize) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), roots })
    }

    /// Takes in a connection.
    pub(super) fn arrive(self: &Arc<Self>, connection: Connection) -> Arc<Guest> {
        allow(&connection, 0, self.roots);
        self.wait(connection.clone());
        Arc::new(Guest { guests: Arc::clone(self), connection, sessions: watch::Sender::new(0) })
    }

    fn wait(&self, connection: Connection) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|guest| guest.close_reason().is_none());
        waiting.push_back(connection);
        if waiting.len() > GUESTS_MAX
            && let Some(oldest) = waiting.pop_front()
        {
            let reason = "the agent has too many connections without a session: this one was the oldest";
            tracing::warn!(peer = %oldest.remote_address(), "ended a connection: {reason}");
            close(&oldest, CloseCode::Busy, reason);
        }
    }

    fn leave(&self, connection: &Connection) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|guest| guest.stable_id() != connection.stable_id());
    }
}

impl Guest {
    /// A session begins.
    pub(super) fn admit(self: &Arc<Self>) -> Admission {
        self.count(|sessions| sessions + 1);
        Admission(Arc::clone(self))
    }

    fn count(&self, change: impl Fn(usize) -> usize) {
        let guests = &self.guests;
        self.sessions.send_modify(|sessions| {
            let before = *sessions;
            *sessions = change(before);
            allow(&self.connection, *sessions, guests.roots);
            match (before, *sessions) {
                (0, 1) => guests.leave(&self.connection),
                (1, 0) => guests.wait(self.connection.clone()),
                _ => {}
            }
        });
    }

    /// Returns, with the reason, when the connection has had no session for too long.
    pub(super) async fn overdue(&self) -> String {
        let mut sessions = self.sessions.subscribe();
        loop {
            // The sender is in `self`: neither wait can fail.
            let _ = sessions.wait_for(|sessions| *sessions == 0).await;
            let busy = sessions.wait_for(|sessions| *sessions > 0);
            if tokio::time::timeout(GUEST_TIME_MAX, busy).await.is_err() {
                return format!("no session was open for {} s", GUEST_TIME_MAX.as_secs());
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.leave(&self.connection);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.count(|sessions| sessions.saturating_sub(1));
    }
}
