//! The command line, as `--help`, the completions and the man pages show it.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint, builder::TypedValueParser};
use sync_core::engine::{GONE_PERCENT_MAX, Mode};

use crate::destination::{self, Dest};

/// Keeps a directory in a pod like the one on your laptop: every save is there before you look.
#[derive(Debug, Parser)]
#[command(name = "synctl", version, propagate_version = true, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  synctl watch . /tmp/synctl-demo              try it: edit a file, and look there
  synctl watch --secret-file s . quic://pod.example:4433/work
  synctl push  --secret-file s . quic://pod.example:4433/work

Environment:
  SYNCTL_SECRET  the shared secret, where no file with a secret or a key is given
  SYNCTL_LOG     what is logged to stderr: error (default), info, sync_core=trace, …
  NO_COLOR       set to anything: no colours";

const WATCH_HELP: &str = "\
Examples:
  synctl watch . /tmp/synctl-demo
  synctl watch --secret-file s . quic://pod.example:4433/work
  synctl watch --key-file k --known-agent agent.pub . quic://[fd00::7]:4433/work
  synctl watch --ignore '*.log' --ignore /data --output json . /mnt/copy

Exit code: 0 after Ctrl-C or SIGTERM, 2 could not start.
A second Ctrl-C ends at once (130).";

const PUSH_HELP: &str = "\
Examples:
  synctl push . /tmp/synctl-demo
  synctl push --secret-file s --output json . quic://pod.example:4433/work

Exit code: 0 in sync, 1 conflicts or problems remain, 2 could not (the agent is
not there, wrong secret, halted, interrupted).";

const STATUS_HELP: &str = "\
Examples:
  synctl status                  the session of this directory; else all of them
  synctl status --output json .

Exit code: 0 told, 2 no session runs, or it gives no answer.";

const FLUSH_HELP: &str = "\
Examples:
  synctl flush && ssh pod make   what was saved before is there

Exit code: 0 in sync, 1 conflicts or problems remain, 2 could not (no session runs,
not connected, halted).";

const CONFLICTS_HELP: &str = "\
Examples:
  synctl conflicts
  synctl conflicts --output json ~/project

Exit code: 0 there are none, 1 there are, 2 no session runs.";

const RESOLVE_HELP: &str = "\
Examples:
  synctl resolve src/main.rs --keep alpha      SRC's version goes to DEST
  synctl resolve src/main.rs --keep beta       DEST's version comes to SRC
  synctl resolve notes.txt --keep both         DEST's becomes notes.beta.txt, on both sides
  synctl resolve . --keep alpha                every conflict beneath this directory

Each holds for the two versions that `synctl conflicts` shows: where one changes before it
is done, the conflict stays. What is replaced in SRC is kept in its trash for a week.

Exit code: 0 settled, 1 some could not be, 2 none (no session runs, no such conflict).";

const RESUME_HELP: &str = "\
Examples:
  synctl status        why it is halted
  synctl resume

A session halts before one side would lose most of its files, or everything. If that is
what you want, this lets it go, once.

Exit code: 0 told, 2 no session runs.";

const KEYGEN_HELP: &str = "\
Examples:
  synctl keygen --secret --out secret      one secret for both sides, for --secret-file
  synctl keygen --secret                   the same on stdout, for `kubectl create secret …`
  synctl keygen --out laptop               a key pair: laptop (private, 0600) and laptop.pub";

const COMPLETIONS_HELP: &str = "\
Examples:
  synctl completions bash > ~/.local/share/bash-completion/completions/synctl
  synctl completions zsh  > ~/.zfunc/_synctl
  synctl completions fish > ~/.config/fish/completions/synctl.fish";

const MAN_HELP: &str = "\
Examples:
  synctl man | man -l -
  synctl man ~/.local/share/man/man1";

const IGNORED_HELP: &str = "\
Examples:
  synctl ignored
  synctl ignored --output json

Any of these takes part again by a negated pattern: --ignore '!.DS_Store', or the
line !.DS_Store in a .syncignore file. The last list is another one: what DEST can't
change in SRC in the two-way modes, in any spelling, because it would make this
machine run something.";

const WHY_HELP: &str = "\
Examples:
  synctl why . target/debug/app
  synctl why --vcs . .git/config

Exit code: 0 it takes part, 1 it is left out, 2 it can't be told.";

const RESTORE_HELP: &str = "\
Examples:
  synctl restore .                         what there is: a line a file, what was deleted last first
  synctl restore . src/main.rs             the version that was deleted last, to where it stood
  synctl restore . src old/notes.txt       a directory: all that was deleted in it
  synctl restore --all --to /tmp/back .    everything, beneath another directory

What is deleted in SRC because it was deleted in DEST is kept in SRC/.synctl/trash for
a week, up to 1 GiB. Nothing that stands there now is replaced.

Exit code: 0 listed, or all restored, 1 some is not restored, 2 nothing is.";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Follow changes until interrupted
    #[command(after_help = WATCH_HELP)]
    Watch(SessionArgs),
    /// Bring everything over once, then end
    #[command(after_help = PUSH_HELP)]
    Push(SessionArgs),
    /// Show how the running sessions stand
    #[command(after_help = STATUS_HELP)]
    Status(RunningArgs),
    /// Wait until a running session has brought over everything that is on disk now
    #[command(after_help = FLUSH_HELP)]
    Flush(RunningArgs),
    /// List the conflicts of a running session
    #[command(after_help = CONFLICTS_HELP)]
    Conflicts(RunningArgs),
    /// Settle conflicts of a running session: say which version stays
    #[command(after_help = RESOLVE_HELP)]
    Resolve(ResolveArgs),
    /// Let the deletions go for which a running session is halted
    #[command(after_help = RESUME_HELP)]
    Resume(RunningArgs),
    /// List what was deleted in SRC because it was deleted in DEST, or bring it back
    #[command(after_help = RESTORE_HELP)]
    Restore(RestoreArgs),
    /// Make a key pair, or a secret that both sides are given
    #[command(after_help = KEYGEN_HELP)]
    Keygen(KeygenArgs),
    /// Show what is left out by default, and why
    #[command(after_help = IGNORED_HELP)]
    Ignored(IgnoredArgs),
    /// Say whether a path takes part, and which pattern decided
    #[command(after_help = WHY_HELP)]
    Why(WhyArgs),
    /// Print shell completions
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write all of them to a directory
    #[command(after_help = MAN_HELP)]
    Man {
        /// Where to write synctl.1, synctl-watch.1, …; without it, synctl.1 goes to stdout
        #[arg(value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

/// What `watch` and `push` are told.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// The directory to bring over
    #[arg(value_name = "SRC", value_hint = ValueHint::DirPath)]
    pub(crate) source: PathBuf,
    /// Where to: a directory (an agent is started in this process), or quic://HOST:PORT/PATH
    #[arg(value_name = "DEST", value_hint = ValueHint::DirPath, value_parser = dest_parser())]
    pub(crate) destination: Dest,
    /// What goes which way; the last one counts [default: two-way-safe for watch, one-way-safe for push]
    #[arg(long, value_enum, overrides_with = "mode")]
    pub(crate) mode: Option<ModeArg>,
    /// Let go what would halt the session at its start: one side is empty, or would lose most of its files
    #[arg(long)]
    pub(crate) allow_deletions: bool,
    /// How many of a hundred files one side may lose at once before the session halts and asks; 100: only where all
    /// would be gone
    #[arg(long, value_name = "PERCENT", default_value_t = GONE_PERCENT_MAX, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) max_deletions: u8,
    /// Let DEST change what is so called in SRC, though it may make this machine run something (`synctl ignored`
    /// lists these names). May be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) allow: Vec<String>,
    /// Where state is kept between runs [default: $XDG_STATE_HOME/synctl, else ~/.local/state/synctl]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,
    /// How to tell what happens
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) output: Format,
    /// Tell only what needs attention: problems, conflicts, lost connections
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) ignore: IgnoreArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

/// What commands that ask a running session are told.
#[derive(Debug, Args)]
pub(crate) struct RunningArgs {
    /// The directory that the session brings over, or one in it [default: the current one]
    #[arg(value_name = "SRC", value_hint = ValueHint::DirPath)]
    pub(crate) source: Option<PathBuf>,
    /// Where the session keeps its state, if it was told
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,
    /// How to tell it
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) output: Format,
}

/// What `resolve` is told.
#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// Paths in conflict, or directories with all that is in conflict in them
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath, required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Which version stays
    #[arg(long, value_enum)]
    pub(crate) keep: KeepArg,
    /// Where the session keeps its state, if it was told
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,
    /// How to tell it
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) output: Format,
}

/// Which version stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeepArg {
    /// SRC's: it goes to DEST
    Alpha,
    /// DEST's: it comes to SRC
    Beta,
    /// Both: DEST's gets another name, on both sides
    Both,
}

/// What takes no part.
#[derive(Debug, Args)]
#[command(next_help_heading = "Ignoring")]
pub(crate) struct IgnoreArgs {
    /// Leave out what matches, in .gitignore syntax; stronger than any ignore file. May be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) ignore: Vec<OsString>,
    /// Let .git, .hg, .svn and the like take part
    #[arg(long)]
    pub(crate) vcs: bool,
    /// Do not obey .gitignore files (.syncignore files always are)
    #[arg(long)]
    pub(crate) no_gitignore: bool,
    /// Do not leave out the default list, which `synctl ignored` shows
    #[arg(long)]
    pub(crate) no_default_ignores: bool,
}

/// Who this side is and whom it accepts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Trust (for quic://)")]
pub(crate) struct TrustArgs {
    /// The secret that the agent was given too; never on the command line itself
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["key_file", "known_agent"])]
    pub(crate) secret_file: Option<PathBuf>,
    /// The private key of this side
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "known_agent")]
    pub(crate) key_file: Option<PathBuf>,
    /// Public keys of the agents to accept, one a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "key_file")]
    pub(crate) known_agent: Option<PathBuf>,
}

/// What `restore` is told.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The directory that is kept in sync
    #[arg(value_name = "SRC", value_hint = ValueHint::DirPath)]
    pub(crate) source: PathBuf,
    /// What to bring back: a file, or a directory with all that was deleted in it; relative to SRC, or absolute
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// Bring back everything
    #[arg(long, conflicts_with = "paths")]
    pub(crate) all: bool,
    /// Not to where it stood, but to the same path beneath this directory, which is made
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) to: Option<PathBuf>,
    /// How to tell it
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) output: Format,
}

/// What `keygen` is told.
#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// One secret that both sides are given, instead of a key pair
    #[arg(long)]
    pub(crate) secret: bool,
    /// The file to make, mode 0600; never overwritten [default: a secret goes to stdout, a private key to
    /// $XDG_CONFIG_HOME/synctl/identity, else ~/.config/synctl/identity]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

/// What `ignored` is told.
#[derive(Debug, Args)]
pub(crate) struct IgnoredArgs {
    /// How to tell it
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) output: Format,
}

/// What `why` is told.
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The directory that is brought over
    #[arg(value_name = "SRC", value_hint = ValueHint::DirPath)]
    pub(crate) source: PathBuf,
    /// A path in it: relative to SRC, or absolute; it need not exist (a trailing slash makes it a directory)
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
    /// How to tell it
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) ignore: IgnoreArgs,
}

/// How to tell what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people; on a terminal a progress bar and colours
    Human,
    /// One JSON object a line, versioned: docs/json.md
    Json,
}

/// What goes which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// Changes go both ways; what both changed differently is kept on both sides, and shown as a conflict
    TwoWaySafe,
    /// Changes go both ways; where both changed the same, SRC's version goes to DEST
    TwoWayResolved,
    /// SRC's changes go to DEST; what was changed at DEST is never overwritten, it is shown as a conflict
    OneWaySafe,
    /// DEST is kept an exact copy of SRC; what was changed there is put right
    OneWayReplica,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::TwoWaySafe => Self::TwoWaySafe,
            ModeArg::TwoWayResolved => Self::TwoWayResolved,
            ModeArg::OneWaySafe => Self::OneWaySafe,
            ModeArg::OneWayReplica => Self::OneWayReplica,
        }
    }
}

fn dest_parser() -> impl TypedValueParser<Value = Dest> {
    clap::builder::OsStringValueParser::new().try_map(|text| destination::parse(&text))
}

#[cfg(test)]
mod tests;
