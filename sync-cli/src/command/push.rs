//! `synctl push`: brings everything over once. Its exit code can be relied on: 0 is said only after the other side has
//! confirmed everything that was on disk when the agent was first reached.

use std::{future::Future, io, pin::Pin};

use sync_core::{
    engine::Mode,
    session::{
        FlushError, Session,
        event::{Event, Status},
    },
};

use super::session::{self, Running};
use crate::{args::SessionArgs, exit::Exit};

/// How often a connection that stood may be lost before it is given up.
const LOSSES_MAX: u32 = 3;

pub(super) async fn run(args: &SessionArgs) -> anyhow::Result<Exit> {
    let mut running = match session::start(args, Mode::OneWaySafe).await? {
        Ok(running) => running,
        Err(exit) => return Ok(exit),
    };
    let end = bring_over(&mut running).await?;
    if let End::Incomplete { conflicts, problems } = end {
        crate::complaint::complain(remains(conflicts, problems));
    }
    if let End::CouldNot(Some(reason)) = &end {
        crate::complaint::complain(reason);
    }
    running.finish(end.exit()).await
}

/// How a push ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Synced,
    Incomplete {
        conflicts: usize,
        problems: usize,
    },
    /// With the reason, where no event has said it.
    CouldNot(Option<String>),
}

impl End {
    fn exit(&self) -> Exit {
        match self {
            Self::Synced => Exit::Done,
            Self::Incomplete { .. } => Exit::Remains,
            Self::CouldNot(_) => Exit::CouldNot,
        }
    }
}

type Flush<'a> = Pin<Box<dyn Future<Output = Result<(), FlushError>> + 'a>>;

/// Shows events until the flush that starts with the connection has come to its end.
async fn bring_over(running: &mut Running) -> io::Result<End> {
    let Running { session, events, interrupts, output, .. } = running;
    let session: &Session = session;
    let mut link = Link::default();
    let mut flush: Option<Flush<'_>> = None;
    let mut listened_to = true;
    loop {
        let flushed = async {
            match &mut flush {
                Some(flush) => flush.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What is said comes before what it led to.
            biased;
            () = interrupts.next() => return Ok(End::CouldNot(Some("interrupted before everything was in sync".to_owned()))),
            event = events.next() => {
                let Some(mut event) = event else { return Ok(End::CouldNot(None)) };
                let next = link.after(&event);
                if let (Next::GiveUp, Event::Disconnected { retry_in, .. }) = (next, &mut event) {
                    // The session would try again; a push does not, and must not say so.
                    *retry_in = None;
                }
                // What ends it goes to stderr, for a person; a program wants it among the events too.
                let reason = (next == Next::GiveUp).then(|| reason_of(&event)).flatten();
                if listened_to && (reason.is_none() || output.is_for_programs()) {
                    match output.show(&event) {
                        Ok(()) => {}
                        // Nobody reads: the work is done all the same, and the exit code tells.
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => listened_to = false,
                        Err(error) => return Err(error),
                    }
                }
                // What was lost may have said that the connection stands.
                let lost = matches!(event, Event::EventsLost { .. });
                let next = if lost && flush.is_none() && session.status().connected { Next::Flush } else { next };
                match next {
                    Next::Flush => flush = Some(Box::pin(session.flush())),
                    Next::Wait => {}
                    Next::GiveUp => return Ok(End::CouldNot(reason)),
                }
            }
            result = flushed => {
                flush = None;
                if let Some(end) = after_flush(result, &session.status()) {
                    return Ok(end);
                }
            }
        }
    }
}

/// Why a push gives up, in the words of the event that ends it.
fn reason_of(event: &Event) -> Option<String> {
    match event {
        Event::Disconnected { reason, .. } | Event::Halted { reason } => Some(reason.clone()),
        Event::Stopped { reason } => reason.clone(),
        _ => None,
    }
}

/// What a push does after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Flush,
    Wait,
    GiveUp,
}

/// What a push knows of its connection.
#[derive(Debug, Default)]
struct Link {
    connected: bool,
    losses: u32,
}

impl Link {
    /// A connection that can't be made ends a push; one that stood and was lost may come back.
    fn after(&mut self, event: &Event) -> Next {
        match event {
            Event::Connected { .. } => {
                self.connected = true;
                Next::Flush
            }
            Event::Disconnected { retry_in, stood, .. } => {
                let stood = std::mem::take(&mut self.connected) || *stood;
                self.losses += 1;
                if stood && retry_in.is_some() && self.losses <= LOSSES_MAX { Next::Wait } else { Next::GiveUp }
            }
            Event::Halted { .. } | Event::Stopped { .. } => Next::GiveUp,
            _ => Next::Wait,
        }
    }
}

/// How it ends, given what the flush came to; `None`: not yet, the connection was lost under it.
fn after_flush(result: Result<(), FlushError>, status: &Status) -> Option<End> {
    match result {
        Ok(()) if status.conflicts.is_empty() && status.problems.is_empty() => Some(End::Synced),
        Ok(()) => Some(End::Incomplete { conflicts: status.conflicts.len(), problems: status.problems.len() }),
        Err(FlushError::Incomplete { conflicts, problems }) => Some(End::Incomplete { conflicts, problems }),
        // The event that says so decides whether to wait.
        Err(FlushError::Disconnected(_)) => None,
        Err(error) => Some(End::CouldNot(Some(error.to_string()))),
    }
}

fn remains(conflicts: usize, problems: usize) -> String {
    let counted = |number: usize, one| crate::output::units::counted(number as u64, one);
    let what = match (conflicts, problems) {
        (_, 0) => counted(conflicts, "conflict"),
        (0, _) => counted(problems, "problem"),
        _ => format!("{} and {}", counted(conflicts, "conflict"), counted(problems, "problem")),
    };
    format!("not everything is in sync: {what} above; everything else was brought over")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn connected() -> Event {
        Event::Connected { round_trip: Duration::ZERO }
    }

    fn lost(retried: bool) -> Event {
        Event::Disconnected { reason: "gone".to_owned(), stood: false, retry_in: retried.then_some(Duration::ZERO) }
    }

    /// The agent was there, and is gone before both sides have been scanned.
    fn lost_early() -> Event {
        Event::Disconnected { reason: "gone".to_owned(), stood: true, retry_in: Some(Duration::ZERO) }
    }

    #[track_caller]
    fn check(events: &[Event], expected: &[Next]) {
        let mut link = Link::default();
        assert_eq!(events.iter().map(|event| link.after(event)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_agent_that_is_not_there_ends_it_at_once() {
        check(&[Event::Connecting { destination: "d".to_owned() }, lost(true)], &[Next::Wait, Next::GiveUp]);
    }

    #[test]
    fn a_connection_that_stood_may_come_back_but_not_for_ever() {
        check(&[connected(), lost(true), connected()], &[Next::Flush, Next::Wait, Next::Flush]);
        check(&[connected(), lost(true), lost(true)], &[Next::Flush, Next::Wait, Next::GiveUp]);
        check(&[connected(), lost(false)], &[Next::Flush, Next::GiveUp]);
        check(&[lost_early(), lost_early(), connected()], &[Next::Wait, Next::Wait, Next::Flush]);
        let mut link = Link::default();
        assert_eq!((1..100).take_while(|_| link.after(&lost_early()) == Next::Wait).count(), LOSSES_MAX as usize);
        let mut link = Link::default();
        let rounds = (1..100).take_while(|_| {
            link.after(&connected());
            link.after(&lost(true)) == Next::Wait
        });
        assert_eq!(rounds.count(), LOSSES_MAX as usize);
    }

    #[test]
    fn a_halt_ends_it() {
        check(&[connected(), Event::Halted { reason: "r".to_owned() }], &[Next::Flush, Next::GiveUp]);
    }

    #[test]
    fn the_exit_code_follows_what_remains() {
        let check = |result, status: &Status, code| {
            assert_eq!(after_flush(result, status).map(|end| end.exit().code()), code);
        };
        let clean = Status::default();
        let path = sync_proto::SyncPath::root();
        let torn = Status {
            conflicts: vec![sync_core::session::event::Conflict { path, alpha: None, beta: None, synced: None }],
            ..Status::default()
        };
        check(Ok(()), &clean, Some(0));
        check(Ok(()), &torn, Some(1));
        check(Err(FlushError::Incomplete { conflicts: 0, problems: 2 }), &clean, Some(1));
        check(Err(FlushError::Halted("r".to_owned())), &clean, Some(2));
        check(Err(FlushError::Stopped), &clean, Some(2));
        check(Err(FlushError::Disconnected("r".to_owned())), &clean, None);
    }

    #[test]
    fn what_remains_is_counted() {
        assert!(remains(1, 0).contains(": 1 conflict above"));
        assert!(remains(0, 2).contains(": 2 problems above"));
        assert!(remains(2, 1).contains(": 2 conflicts and 1 problem above"));
    }
}
