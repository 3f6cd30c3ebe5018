//! The command line, as `--help` shows it.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueHint};

/// The in-pod side of synctl: keeps directories here as `synctl` on a laptop says.
#[derive(Debug, Parser)]
#[command(name = "sync-agent", version, propagate_version = true, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Example:
  sync-agent serve --root /work --listen 0.0.0.0:4433 --secret-file /etc/synctl/secret

Environment:
  SYNCTL_SECRET  the shared secret, where no --secret-file or --key-file is given
  SYNCTL_LOG     what is logged to stderr: info (default), debug, sync_core=trace, …";

const SERVE_HELP: &str = "\
Examples:
  sync-agent serve --root /work --listen 0.0.0.0:4433 --secret-file /etc/synctl/secret
  sync-agent serve --root /work --root /data --listen '[::]:4433' --key-file agent --authorized-keys laptops.pub
  sync-agent serve --root /work --listen 127.0.0.1:0      the port is in the line on stdout

It listens on UDP. Once it does, it writes one line to stdout: listening on ADDR:PORT.

Exit code: 0 after SIGTERM or SIGINT, 2 could not start.";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Listen, and serve directories until told to end
    #[command(after_help = SERVE_HELP)]
    Serve(ServeArgs),
}

/// What `serve` is told.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// A directory to serve; made where it is missing. May be repeated. Nothing outside is ever touched
    #[arg(long = "root", value_name = "DIR", required = true, value_hint = ValueHint::DirPath)]
    pub(crate) roots: Vec<PathBuf>,
    /// Where to listen, on UDP; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    pub(crate) listen: SocketAddr,
    /// The secret that synctl was given too; never on the command line itself
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["key_file", "authorized_keys"])]
    pub(crate) secret_file: Option<PathBuf>,
    /// The private key of this side
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "authorized_keys")]
    pub(crate) key_file: Option<PathBuf>,
    /// Public keys of those who may connect, one a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "key_file")]
    pub(crate) authorized_keys: Option<PathBuf>,
    /// Have every write on disk before it is confirmed: a power cut loses nothing, and each save takes a disk flush longer
    #[arg(long)]
    pub(crate) durable: bool,
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected ADDR:PORT with an address of this machine, like 0.0.0.0:4433 (everywhere), 127.0.0.1:4433 or [::]:4433"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<ServeArgs, clap::Error> {
        let words = ["sync-agent", "serve"].into_iter().chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| match cli.command {
            Command::Serve(args) => args,
        })
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_arrives() {
        let args = parse("--root a --root /b --listen [::1]:0 --key-file k --authorized-keys p --durable").unwrap();
        assert_eq!(args.roots, [PathBuf::from("a"), PathBuf::from("/b")]);
        assert_eq!(args.listen, "[::1]:0".parse().unwrap());
        assert_eq!((args.key_file, args.authorized_keys), (Some("k".into()), Some("p".into())));
        assert!(args.durable);
        let args = parse("--root a --listen 0.0.0.0:4433 --secret-file s").unwrap();
        assert_eq!((args.secret_file, args.durable), (Some("s".into()), false));
    }

    #[test]
    fn wrong_arguments_are_refused() {
        let check = |line: &str, kind, text: &str| {
            let error = parse(line).unwrap_err();
            assert!(error.kind() == kind && error.to_string().contains(text), "{line}: {error}");
            assert_eq!(error.exit_code(), i32::from(crate::COULD_NOT_START));
        };
        check("--listen 1.2.3.4:5", ErrorKind::MissingRequiredArgument, "--root");
        check("--root a", ErrorKind::MissingRequiredArgument, "--listen");
        for address in ["4433", ":4433", "localhost:4433", "::1:4433", "1.2.3.4", "1.2.3.4:99999"] {
            check(&format!("--root a --listen {address}"), ErrorKind::ValueValidation, "0.0.0.0:4433");
        }
        check("--root a --listen 1.2.3.4:5 --key-file k", ErrorKind::MissingRequiredArgument, "--authorized-keys");
        check(
            "--root a --listen 1.2.3.4:5 --secret-file s --key-file k --authorized-keys p",
            ErrorKind::ArgumentConflict,
            "--secret-file",
        );
    }

    #[test]
    fn help_has_examples_and_exit_codes() {
        let mut command = Cli::command();
        command.build();
        let help = command.find_subcommand_mut("serve").unwrap().render_long_help().to_string();
        for part in ["Examples:\n  sync-agent serve", "listening on ADDR:PORT", "Exit code: 0", "UDP"] {
            assert!(help.contains(part), "{part}: {help}");
        }
        let help = command.render_long_help().to_string();
        assert!(help.contains("SYNCTL_SECRET") && help.contains("SYNCTL_LOG"), "{help}");
    }
}
