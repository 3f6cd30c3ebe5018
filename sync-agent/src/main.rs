//! `sync-agent`: the side of synctl that runs where the program runs. Listens, authenticates, and keeps the roots it was
//! started with as the other side says.
//!
//! Thin: what is decided and done is `sync-core`'s.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`args`] | the command line |
//! | [`credentials`] | who this side is and whom it accepts; the only module that knows keys |
//! | [`serve`] | `sync-agent serve`: from arguments to a clean end |
//! | [`interrupt`], [`logging`], [`complaint`] | signals, the log, and errors as one line |
#![forbid(unsafe_code)]

mod args;
mod complaint;
mod credentials;
mod interrupt;
mod logging;
mod serve;

use std::process::ExitCode;

use clap::Parser;

/// What the agent ends with where it could not start; also what clap ends with on wrong arguments.
const COULD_NOT_START: u8 = 2;

fn main() -> ExitCode {
    let args::Command::Serve(args) = args::Cli::parse().command;
    logging::start();
    match serve::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complaint::complain(complaint::sentence(&error));
            ExitCode::from(COULD_NOT_START)
        }
    }
}
