//! What `watch` and `push` share: a runtime, a session from arguments, and its orderly end.

use std::io;

use sync_core::session::{Events, Session};

use crate::{args::SessionArgs, complaint, exit::Exit, interrupt::Interrupts, options, output::Output};

/// A session that runs, what it says, and who can interrupt it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) session: Session,
    pub(super) events: Events,
    pub(super) interrupts: Interrupts,
    pub(super) output: Output,
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

/// Starts the session that the arguments describe. `Err` within: it could not be, and that has been said.
pub(super) async fn start(args: &SessionArgs) -> anyhow::Result<Result<Running, Exit>> {
    let mut interrupts = Interrupts::listen()?;
    let mut output = Output::new(args.output, args.quiet);
    let started = async {
        let prepared = options::prepare(args)?;
        Ok::<_, anyhow::Error>(Session::start(&prepared.source, prepared.destination, prepared.options).await?)
    };
    let started = tokio::select! {
        started = started => started,
        // Nothing has been begun that would have to be ended in order.
        () = interrupts.next() => return Ok(Err(Exit::Killed)),
    };
    match started {
        Ok((session, events)) => Ok(Ok(Running { session, events, interrupts, output })),
        Err(error) => {
            output.could_not_start(&complaint::sentence(&error))?;
            Ok(Err(Exit::CouldNot))
        }
    }
}

impl Running {
    /// Ends the session, and shows what it still says meanwhile. `end` is what that comes to, unless someone is in a hurry.
    pub(super) async fn finish(self, end: Exit) -> anyhow::Result<Exit> {
        let Self { session, mut events, mut interrupts, mut output } = self;
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
