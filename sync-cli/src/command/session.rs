//! What `watch` and `push` share: a runtime, a session from arguments, and its orderly end.

use std::{io, path::Path};

use sync_core::{
    engine::Mode,
    session::{Events, Session},
};

use crate::{
    args::SessionArgs,
    complaint,
    control::Server,
    exit::Exit,
    interrupt::Interrupts,
    options::{self, Prepared},
    output::Output,
};

/// A session that runs, what it says, and who can interrupt it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) session: Session,
    pub(super) events: Events,
    pub(super) interrupts: Interrupts,
    pub(super) output: Output,
    /// Answers other commands for as long as the session runs.
    control: Option<Server>,
}

/// Runs a command to its end.
///
/// One thread: whatever blocks is on threads of the session's own, and a save that is handled by the thread that heard
/// of it does not wait for another to wake up.
pub(super) fn on_runtime(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(command);
    // A name that is still being resolved must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Starts the session that the arguments describe, in `mode` where they name none. `Err` within: it could not be, and that has been said.
pub(super) async fn start(args: &SessionArgs, mode: Mode) -> anyhow::Result<Result<Running, Exit>> {
    let mut interrupts = Interrupts::listen()?;
    let mut output = Output::new(args.output, args.quiet);
    let started = async {
        let Prepared { source, destination, options } = options::prepare(args, mode)?;
        let (state_dir, shown) = (options.state_dir.clone(), destination.to_string());
        let (session, events) = Session::start(&source, destination, options).await?;
        if args.allow_deletions {
            session.allow_deletions();
        }
        let control = state_dir.and_then(|state_dir| control(&state_dir, &session, &source, shown));
        Ok::<_, anyhow::Error>((session, events, control))
    };
    let started = tokio::select! {
        started = started => started,
        // Nothing has been begun that would have to be ended in order.
        () = interrupts.next() => return Ok(Err(Exit::Killed)),
    };
    match started {
        Ok((session, events, control)) => Ok(Ok(Running { session, events, interrupts, output, control })),
        Err(error) => {
            output.could_not_start(&complaint::sentence(&error))?;
            Ok(Err(Exit::CouldNot))
        }
    }
}

/// Lets other commands ask the session. Without that it runs all the same.
fn control(state_dir: &Path, session: &Session, source: &Path, destination: String) -> Option<Server> {
    Server::start(state_dir, session.handle(), source, destination)
        .inspect_err(|error| tracing::warn!("`synctl status` and the like can't reach this session: {error}"))
        .ok()
}

impl Running {
    /// Ends the session, and shows what it still says meanwhile. `end` is what that comes to, unless someone is in a hurry.
    pub(super) async fn finish(self, end: Exit) -> anyhow::Result<Exit> {
        let Self { session, mut events, mut interrupts, mut output, control } = self;
        // Who asks from here on is told that there is no session.
        drop(control);
        let last_words = async {
            let mut shown = Ok(());
            // Read to the end even where nobody listens any more.
            while let Some(event) = events.next().await {
                if shown.is_ok() {
                    shown = output.show(&event);
                }
            }
            shown
        };
        tokio::select! {
            ((), shown) = async { tokio::join!(session.stop(), last_words) } => {
                match shown {
                    // Nobody reads any more; that changes nothing about how it ended.
                    Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
                    Ok(()) | Err(_) => Ok(end),
                }
            }
            () = interrupts.next() => Ok(Exit::Killed),
        }
    }
}
