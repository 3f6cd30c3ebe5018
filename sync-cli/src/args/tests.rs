#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use clap::{CommandFactory, error::ErrorKind};
use sync_core::session::Destination;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("synctl").chain(line.split_whitespace()))
}

fn session(line: &str) -> SessionArgs {
    match parse(line).unwrap().command {
        Command::Watch(args) | Command::Push(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_the_safe_ones() {
    let args = session("watch src /tmp/dest");
    assert_eq!((args.mode, args.output, args.quiet), (None, Format::Human, false));
    assert!(args.ignore.ignore.is_empty() && !args.ignore.vcs);
    assert!(!args.ignore.no_gitignore && !args.ignore.no_default_ignores);
    assert_eq!(args.destination.0, Destination::Local("/tmp/dest".into()));
    assert!(args.allow.is_empty() && !args.allow_deletions);
}

#[test]
fn every_option_arrives() {
    let args = session(
        "push --mode one-way-replica --allow .vscode --allow-deletions --ignore *.log --ignore !keep.log --vcs --no-gitignore --no-default-ignores \
         --key-file k --known-agent p --state-dir s --output json -q src quic://[::1]:4433/w",
    );
    assert_eq!((args.mode.map(Mode::from), args.output, args.quiet), (Some(Mode::OneWayReplica), Format::Json, true));
    assert_eq!((args.allow, args.allow_deletions), (vec![".vscode".to_owned()], true));
    assert_eq!(args.ignore.ignore, ["*.log", "!keep.log"]);
    assert!(args.ignore.vcs && args.ignore.no_gitignore && args.ignore.no_default_ignores);
    assert_eq!((args.trust.key_file, args.trust.known_agent), (Some("k".into()), Some("p".into())));
    assert_eq!(args.state_dir, Some("s".into()));
    let expected = Destination::Quic { host: "::1".into(), port: 4433, path: "/w".into() };
    assert_eq!(args.destination.0, expected);
}

#[test]
fn what_is_to_be_restored_is_named_or_all() {
    let restore = |line: &str| match parse(line).unwrap().command {
        Command::Restore(args) => args,
        other => panic!("{other:?}"),
    };
    let args = restore("restore src a b/c --to there");
    assert_eq!((args.paths, args.all, args.to), (vec!["a".into(), "b/c".into()], false, Some("there".into())));
    assert!(restore("restore src --all").all && !restore("restore src").all);
    assert_eq!(parse("restore src a --all").unwrap_err().kind(), ErrorKind::ArgumentConflict);
}

#[test]
fn what_is_to_be_resolved_is_named_with_what_stays() {
    let resolve = |line: &str| match parse(line).unwrap().command {
        Command::Resolve(args) => (args.paths, args.keep),
        other => panic!("{other:?}"),
    };
    assert_eq!(resolve("resolve a b --keep beta"), (vec!["a".into(), "b".into()], KeepArg::Beta));
    assert_eq!(parse("resolve a").unwrap_err().kind(), ErrorKind::MissingRequiredArgument);
    assert_eq!(parse("resolve --keep both").unwrap_err().kind(), ErrorKind::MissingRequiredArgument);
}

#[test]
fn wrong_arguments_are_refused() {
    let check = |line: &str, kind, text: &str| {
        let error = parse(line).unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(text), "{line}: {error}");
        assert_eq!(error.exit_code(), 2);
    };
    check("watch src", ErrorKind::MissingRequiredArgument, "DEST");
    check("watch src ssh://host/x", ErrorKind::ValueValidation, "not in this version");
    check("watch src d --mode two-way", ErrorKind::InvalidValue, "two-way-safe");
    check("watch src d --secret-file a --key-file b --known-agent c", ErrorKind::ArgumentConflict, "--secret-file");
    check("watch src d --key-file b", ErrorKind::MissingRequiredArgument, "--known-agent");
    check("watch src d --secret x", ErrorKind::UnknownArgument, "--secret");
    check("up", ErrorKind::InvalidSubcommand, "up");
}

#[test]
fn help_has_examples_for_every_command() {
    let mut command = Cli::command();
    command.build();
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let help = sub.clone().render_long_help().to_string();
        assert!(help.contains("Examples:\n  synctl "), "{}: {help}", sub.get_name());
        assert!(help.contains(&format!("synctl {}", sub.get_name())), "{}", sub.get_name());
    }
    let help = command.render_long_help().to_string();
    for part in ["SYNCTL_SECRET", "SYNCTL_LOG", "NO_COLOR", "watch", "push", "keygen", "why", "ignored"] {
        assert!(help.contains(part), "{part}: {help}");
    }
}

#[test]
fn exit_codes_are_told_where_scripts_look() {
    for (name, codes) in [
        ("watch", "2 could not start"),
        ("push", "1 conflicts or problems remain"),
        ("why", "1 it is left out"),
        ("restore", "1 some is not restored"),
    ] {
        let help = Cli::command().find_subcommand_mut(name).unwrap().render_long_help().to_string();
        assert!(help.contains("Exit code:") && help.contains(codes), "{name}: {help}");
    }
}
