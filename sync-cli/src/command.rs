//! One module a command.

mod completions;
mod ignored;
mod keygen;
mod push;
mod resolve;
mod restore;
mod running;
mod session;
mod watch;
mod why;

use crate::{
    args::{Cli, Command},
    exit::Exit,
};

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Watch(args) => session::on_runtime(watch::run(&args)),
        Command::Push(args) => session::on_runtime(push::run(&args)),
        Command::Status(args) => running::status(&args),
        Command::Flush(args) => running::flush(&args),
        Command::Conflicts(args) => running::conflicts(&args),
        Command::Resolve(args) => resolve::run(&args),
        Command::Resume(args) => running::resume(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Keygen(args) => keygen::run(&args),
        Command::Ignored(args) => ignored::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { dir } => completions::man(dir.as_deref()),
    }
}
