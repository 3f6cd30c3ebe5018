//! `synctl`: every save is in the pod before you look.
//!
//! Arguments in, rendering out: what is decided and done is `sync-core`'s. Nothing here touches a root.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`args`] | the command line |
//! | [`destination`] | what DEST may be |
//! | [`options`] | arguments to a session's options |
//! | [`credentials`] | who this side is and whom it accepts; the only module that knows keys |
//! | [`output`] | events to text, JSON and a progress bar |
//! | [`control`] | how other commands reach a running session |
//! | [`exit`], [`complaint`] | what the exit codes mean, and errors as one line |
//! | [`interrupt`], [`logging`] | signals, and the log |
//! | [`command`] | one module a command |
#![forbid(unsafe_code)]

mod args;
mod command;
mod complaint;
mod control;
mod credentials;
mod destination;
mod exit;
mod interrupt;
mod logging;
mod options;
mod output;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    logging::start();
    match command::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) if exit::is_broken_pipe(&error) => exit::Exit::Done.into(),
        Err(error) => {
            complaint::complain(complaint::sentence(&error));
            exit::Exit::CouldNot.into()
        }
    }
}
