//! The exchange of hellos, which opens every control stream.
//!
//! The side that opened the stream speaks first. Each side checks for itself; the one that finds no agreement closes the
//! connection, with the sentence in the other side's words ("upgrade this side" is said to whoever has to do it).

use std::time::Duration;

use quinn::{Connection, ReadExactError, RecvStream, SendStream};
use sync_proto::hello::{Agreement, HELLO_BYTES, Hello, HelloError};
use tokio::time;

use super::{
    close::{CloseCode, close},
    frames::{FrameError, read_error, write_error},
};

/// Longest time that is waited for the other side's hello.
pub const HELLO_TIME_MAX: Duration = Duration::from_secs(5);

/// Why there is no agreement.
#[derive(Debug, thiserror::Error)]
pub enum HelloFailure {
    /// This side found that they don't go together. The connection has been closed.
    #[error(transparent)]
    Disagree(#[from] HelloError),
    /// The connection or the stream is gone. Where the other side refused this one's hello or key, this says why.
    #[error(transparent)]
    Link(#[from] FrameError),
    /// The other side authenticated and then said nothing. The connection has been closed.
    #[error("the other side did not say hello within {} s", HELLO_TIME_MAX.as_secs())]
    Silent,
}

/// Says hello on a stream that this side opened, and awaits the answer. `software` is this program's name and version.
pub async fn hello_initiate(
    connection: &Connection,
    send: &mut SendStream,
    recv: &mut RecvStream,
    software: &str,
) -> Result<Agreement, HelloFailure> {
    initiate(connection, send, recv, &Hello::current(software)).await
}

/// Awaits the hello on a stream that the other side opened, and answers it.
pub async fn hello_respond(
    connection: &Connection,
    send: &mut SendStream,
    recv: &mut RecvStream,
    software: &str,
) -> Result<Agreement, HelloFailure> {
    respond(connection, send, recv, &Hello::current(software)).await
}

pub(super) async fn initiate(
    connection: &Connection,
    send: &mut SendStream,
    recv: &mut RecvStream,
    ours: &Hello,
) -> Result<Agreement, HelloFailure> {
    send.write_all(&ours.encode()).await.map_err(write_error)?;
    let theirs = receive(connection, recv).await?;
    agree(connection, ours, &theirs)
}

pub(super) async fn respond(
    connection: &Connection,
    send: &mut SendStream,
    recv: &mut RecvStream,
    ours: &Hello,
) -> Result<Agreement, HelloFailure> {
    let theirs = receive(connection, recv).await?;
    let agreement = agree(connection, ours, &theirs)?;
    send.write_all(&ours.encode()).await.map_err(write_error)?;
    Ok(agreement)
}

async fn receive(connection: &Connection, recv: &mut RecvStream) -> Result<Hello, HelloFailure> {
    let mut bytes = [0; HELLO_BYTES];
    let failure = match time::timeout(HELLO_TIME_MAX, recv.read_exact(&mut bytes)).await {
        Ok(Ok(())) => match Hello::decode(&bytes) {
            Ok(hello) => return Ok(hello),
            Err(error) => error.into(),
        },
        Ok(Err(ReadExactError::ReadError(error))) => return Err(read_error(error).into()),
        Ok(Err(ReadExactError::FinishedEarly(_))) => HelloError::NotSynctl.into(),
        Err(_) => HelloFailure::Silent,
    };
    let said = match &failure {
        HelloFailure::Silent => "no hello came in time",
        _ => "what came was no hello of the synctl protocol",
    };
    close(connection, CloseCode::Protocol, said);
    Err(failure)
}

fn agree(connection: &Connection, ours: &Hello, theirs: &Hello) -> Result<Agreement, HelloFailure> {
    ours.agree(theirs).map_err(|error| {
        let said = theirs.agree(ours).err().map(|error| error.to_string()).unwrap_or_default();
        close(connection, CloseCode::Version, &said);
        error.into()
    })
}
