//! What `watch` and `push` share: a runtime, a session from arguments, and its orderly end.

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

/// Starts the session that the arguments describe. `None`: it could not be, and that has been said.
pub(super) async fn start(args: &SessionArgs) -> anyhow::Result<Option<Running>> {
    let interrupts = Interrupts::listen()?;
    let mut output = Output::new(args.output, args.quiet);
    let started = match options::prepare(args) {
        Ok(prepared) => {
            Session::start(&prepared.source, prepared.destination, prepared.options).await.map_err(anyhow::Error::from)
        }
        Err(error) => Err(error),
    };
    match started {
        Ok((session, events)) => Ok(Some(Running { session, events, interrupts, output })),
        Err(error) => {
            output.could_not_start(&complaint::sentence(&error))?;
            Ok(None)
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
                shown?;
                Ok(end)
            }
            () = interrupts.next() => Ok(Exit::Killed),
        }
    }
}
