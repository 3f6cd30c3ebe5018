//! A session at the agent whose root is open, and whose controller is still looking at its own side.
//!
//! Nothing is told, and nothing is done. Of what the replica observes meanwhile the last view is kept and nothing else, so that
//! it costs the same however long it lasts.

use std::sync::Arc;

use sync_proto::message::{Sentence, ToAgent, ToController};
use tokio::sync::{Notify, mpsc};

use super::{root::Opened, session::Input};
use crate::link::FrameWriter;

/// Waits for [`ToAgent::Begin`]. `false`: the session ends instead. An error is the peer's fault.
pub(super) async fn begun(
    opened: &mut Opened,
    inbox: &mut mpsc::Receiver<Input>,
    writer: &mut FrameWriter,
    speak: &Notify,
) -> Result<bool, String> {
    let mailbox = Arc::clone(&opened.mailbox);
    loop {
        let said = tokio::select! {
            biased;
            input = inbox.recv() => return match input {
                Some(Input::Message(ToAgent::Begin)) => Ok(true),
                None | Some(Input::Message(ToAgent::Goodbye(_)) | Input::Ended(None)) => Ok(false),
                Some(Input::Ended(Some(fault))) => Err(fault),
                Some(Input::Message(_) | Input::Bulk(..) | Input::File(..)) => {
                    Err("something was asked for before the session was begun".to_owned())
                }
            },
            observation = mailbox.next() => match opened.heed(observation) {
                Ok(()) => continue,
                Err(reason) => ToController::Goodbye(Sentence::new(reason)),
            },
            // Whatever is said, a live controller's end of the link acknowledges it.
            () = speak.notified() => ToController::Pong(0),
        };
        // A link that is gone ends the session without anybody's fault.
        if writer.write(&said).await.is_err() || opened.is_lost {
            return Ok(false);
        }
    }
}
