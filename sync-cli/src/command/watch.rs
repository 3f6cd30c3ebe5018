//! `synctl watch`: follows changes until interrupted. The agent may come and go.

use std::io;

use sync_core::engine::Mode;

use super::session;
use crate::{args::SessionArgs, exit::Exit};

pub(super) async fn run(args: &SessionArgs) -> anyhow::Result<Exit> {
    let mut running = match session::start(args, Mode::TwoWaySafe).await? {
        Ok(running) => running,
        Err(exit) => return Ok(exit),
    };
    let end = loop {
        tokio::select! {
            event = running.events.next() => match event {
                Some(event) => match running.output.show(&event) {
                    Ok(()) => {}
                    // Whoever read this has gone, and wants no more of it.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break Exit::Done,
                    Err(error) => return Err(error.into()),
                },
                // It ended by itself: its last event said why.
                None => break Exit::CouldNot,
            },
            () = running.interrupts.next() => break Exit::Done,
        }
    };
    running.finish(end).await
}
