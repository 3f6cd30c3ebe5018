//! Bad input: each gets its exit code and one clear line, and nothing is lost.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::lab::{Finished, Lab, PATIENCE, Watch, body, free_port, is_root, plant, run};

/// It could not: exit code 2, and one line that says what happened to what. Of each group of words (`a|b`) one is in it.
pub(super) fn refused(finished: &Finished, words: &[&str]) {
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let lines: Vec<&str> = finished.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let [line] = lines[..] else { panic!("not one line, but {lines:#?}") };
    assert!(line.len() < 400, "not a short line: {line}");
    for ugly in ["panicked", "Os {", "Some(", "Custom {", "Error {", "stack backtrace"] {
        assert!(!line.contains(ugly), "not for a person: {line}");
    }
    for group in words {
        let found = group.split('|').any(|word| line.to_lowercase().contains(&word.to_lowercase()));
        assert!(found, "it does not speak of {group}: {line}");
    }
}

/// `synctl push SRC DEST` for a person, with the lab's secret.
fn push(lab: &Lab, source: &Path, destination: &str) -> Command {
    let mut command = lab.synctl(["push"]);
    command.arg(source).arg(destination).arg("--secret-file").arg(&lab.secret);
    command.arg("--state-dir").arg(lab.base().join("state"));
    command
}

#[test]
fn source_that_is_missing_or_a_file() {
    let lab = Lab::new();
    let target = lab.target.to_str().unwrap();
    refused(
        &run(push(&lab, &lab.base().join("nowhere"), target), PATIENCE),
        &["nowhere", "not exist|no such|not found|missing"],
    );
    let file = lab.base().join("a-file");
    fs::write(&file, b"x").unwrap();
    refused(&run(push(&lab, &file, target), PATIENCE), &["a-file", "directory|folder"]);
    let mut watch = lab.synctl(["watch"]);
    watch.arg(lab.base().join("nowhere")).arg(target);
    refused(&run(watch, PATIENCE), &["nowhere"]);
}

#[test]
fn source_and_destination_inside_each_other() {
    let lab = Lab::new();
    plant(&lab.source, 1, 2);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    fs::create_dir(lab.source.join("inner")).unwrap();
    refused(&run(push(&lab, &lab.source, &text(&lab.source.join("inner"))), PATIENCE), &["inside|within|beneath|same"]);
    refused(
        &run(push(&lab, &lab.source.join("d0"), &text(&lab.source)), PATIENCE),
        &["inside|within|beneath|same|contains"],
    );
    refused(&run(push(&lab, &lab.source, &text(&lab.source)), PATIENCE), &["inside|within|beneath|same"]);
    // By another name of the same directory.
    std::os::unix::fs::symlink(&lab.source, lab.base().join("alias")).unwrap();
    refused(
        &run(push(&lab, &lab.source, &text(&lab.base().join("alias/inner"))), PATIENCE),
        &["inside|within|beneath|same"],
    );
    assert!(!lab.source.join(".synctl").exists() && !lab.source.join("inner/.synctl").exists(), "something was made");
}

#[test]
fn destination_that_can_not_be_written() {
    let lab = Lab::new();
    plant(&lab.source, 1, 2);
    let destination = if is_root() {
        "/proc/synctl-acceptance".to_owned()
    } else {
        fs::set_permissions(&lab.target, fs::Permissions::from_mode(0o555)).unwrap();
        lab.target.to_str().unwrap().to_owned()
    };
    refused(&run(push(&lab, &lab.source, &destination), PATIENCE), &[&destination]);
    let file = lab.base().join("a-file");
    fs::write(&file, b"x").unwrap();
    refused(&run(push(&lab, &lab.source, file.to_str().unwrap()), PATIENCE), &["a-file", "directory|folder"]);
    assert_eq!(fs::read(file).unwrap(), b"x");
}

#[test]
fn destination_that_is_not_one() {
    let lab = Lab::new();
    plant(&lab.source, 1, 2);
    for destination in
        ["quic://", "quic://host", "quic://127.0.0.1:notaport/x", "quic://127.0.0.1:70000/x", "ftp://host/x", ""]
    {
        let finished = run(push(&lab, &lab.source, destination), PATIENCE);
        assert_eq!(finished.code, Some(2), "{destination}: {finished:?}");
        assert!(
            !finished.stderr.trim().is_empty() && !finished.stderr.contains("panicked"),
            "{destination}: {finished:?}"
        );
    }
}

#[test]
fn port_in_use() {
    let lab = Lab::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut agent = lab.sync_agent(["serve", "--listen", &address, "--root"]);
    agent.arg(&lab.target).arg("--secret-file").arg(&lab.secret);
    let finished = run(agent, PATIENCE);
    assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
    assert!(finished.stderr.contains(&address) && finished.stderr.contains("in use"), "{finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
}

#[test]
fn push_to_an_agent_that_is_not_there() {
    let lab = Lab::new();
    plant(&lab.source, 1, 2);
    let port = free_port();
    let finished = run(push(&lab, &lab.source, &lab.destination(port)), PATIENCE);
    refused(&finished, &[&format!("127.0.0.1:{port}")]);
    assert!(finished.took < Duration::from_secs(15), "at once, not after {:?}", finished.took);
    refused(&run(push(&lab, &lab.source, "quic://no-such-host.invalid:4433/x"), PATIENCE), &["no-such-host.invalid"]);
}

/// `watch` says so, keeps trying, and goes on as soon as the agent is there.
#[test]
fn watch_waits_for_an_agent_that_is_not_there() {
    let lab = Lab::new();
    plant(&lab.source, 2, 3);
    let port = free_port();
    let watch = Watch::start(lab.command("watch", port));
    let said = watch.wait_since(0, "that nobody answers", |event| {
        let kind = event["event"].as_str().unwrap_or_default();
        ["disconnected", "warning", "problem"].contains(&kind) && event.to_string().contains(&port.to_string())
    });
    assert!(!said.to_string().contains("Os {"), "not for a person: {said}");
    let agent = lab.agent_on(port);
    watch.wait_for("ready");
    lab.settle();
    drop(agent);
}

#[test]
fn wrong_or_missing_secret() {
    let lab = Lab::new();
    plant(&lab.source, 1, 2);
    let agent = lab.agent();
    let other = lab.base().join("other-secret");
    lab.make_secret(&other);
    let with = |file: Option<&Path>| {
        let mut command = lab.synctl(["push"]);
        command.arg(&lab.source).arg(lab.destination(agent.port)).arg("--state-dir").arg(lab.base().join("state"));
        file.map(|file| command.arg("--secret-file").arg(file));
        run(command, PATIENCE)
    };
    let wrong = with(Some(&other));
    refused(&wrong, &["secret|key"]);
    assert!(wrong.took < Duration::from_secs(15), "at once, not after {:?}", wrong.took);
    refused(&with(None), &["secret|key"]);
    refused(&with(Some(&lab.base().join("no-file"))), &["no-file"]);
    fs::write(&other, b"synctl-secret-1:c2hvcnQ\n").unwrap();
    refused(&with(Some(&other)), &["other-secret", "short|128|bits"]);
    fs::write(&other, b"hello\n").unwrap();
    refused(&with(Some(&other)), &["other-secret|secret"]);
    fs::set_permissions(&lab.secret, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&with(Some(&lab.secret)), &["secret", "600|permission|mode|others"]);
    assert_eq!(
        fs::read_dir(&lab.target).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != ".synctl").count(),
        0
    );
    // The agent has not been impressed by any of it.
    fs::set_permissions(&lab.secret, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(with(Some(&lab.secret)).code, Some(0));
}

/// Nothing of a secret is ever shown.
#[test]
fn secrets_are_not_shown() {
    let lab = Lab::new();
    plant(&lab.source, 1, 2);
    let agent = lab.agent();
    let secret = fs::read_to_string(&lab.secret).unwrap();
    let (_, secret) = secret.trim().split_once(':').unwrap();
    let mut command = lab.command("push", agent.port);
    command.env("SYNCTL_LOG", "trace");
    let pushed = run(command, PATIENCE);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    let (_, log) = agent.terminate(Duration::from_secs(3));
    assert!(!format!("{}{}{log}", pushed.stdout, pushed.stderr).contains(secret));
}

#[test]
fn root_that_is_not_served() {
    let lab = Lab::new();
    plant(&lab.source, 1, 2);
    let agent = lab.agent();
    let elsewhere = lab.base().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let destination = format!("quic://127.0.0.1:{}{}", agent.port, elsewhere.display());
    refused(&run(push(&lab, &lab.source, &destination), PATIENCE), &["elsewhere", "serve|root"]);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

/// A root that is missing is made; one that can never be a directory is refused before anything listens.
#[test]
fn agent_whose_root_is_a_file() {
    let lab = Lab::new();
    let file = lab.base().join("a-file");
    fs::write(&file, b"x").unwrap();
    let mut agent = lab.sync_agent(["serve", "--listen", "127.0.0.1:0", "--root"]);
    agent.arg(&file).arg("--secret-file").arg(&lab.secret);
    refused(&run(agent, PATIENCE), &["a-file", "directory|folder"]);
    assert_eq!(fs::read(file).unwrap(), b"x");
}

/// Fault 44: the second session on one root is refused, and is told who holds it.
#[test]
fn fault_44_two_sessions_on_one_root() {
    let lab = Lab::new();
    plant(&lab.source, 1, 2);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    let second = run(push(&lab, &lab.source, &lab.destination(agent.port)), PATIENCE);
    refused(&second, &["in use", &format!("process {} ", watch.pid()), lab.source.to_str().unwrap()]);
    // With a state directory of its own it comes as from another machine: the address is all there is to name it by.
    let mut stranger = lab.synctl(["push"]);
    stranger.arg(&lab.source).arg(lab.destination(agent.port)).arg("--secret-file").arg(&lab.secret);
    stranger.arg("--state-dir").arg(lab.base().join("other-state"));
    refused(&run(stranger, PATIENCE), &["in use", "127.0.0.1:"]);
    fs::write(lab.source.join("d0/new"), body(1, 100)).unwrap();
    lab.settle();
    // It holds nothing that outlives it, however it ends.
    watch.signal(rustix::process::Signal::KILL);
    drop(watch);
    assert_eq!(lab.push(&agent).code, Some(0));
}

/// The same for a directory of this machine: also one inside, or around. One source may have any number of destinations.
#[test]
fn fault_44_nested_destinations() {
    let lab = Lab::new();
    plant(&lab.source, 1, 2);
    let inner = lab.target.join("inner");
    let other = lab.base().join("other");
    let mut command = lab.synctl(["watch"]);
    command.arg(&lab.source).arg(&inner).args(["--output", "json", "--state-dir"]).arg(lab.base().join("state"));
    let watch = Watch::start(command);
    watch.wait_for("ready");
    let holder = format!("process {} ", watch.pid());
    std::os::unix::fs::symlink(&inner, lab.base().join("alias")).unwrap();
    for taken in [&inner, &inner.join("deep/er"), &lab.target, &lab.base().join("alias/deep")] {
        let shown = taken.to_str().unwrap();
        refused(&run(push(&lab, &lab.source, shown), PATIENCE), &[shown, "in use", &holder, inner.to_str().unwrap()]);
    }
    assert!(!inner.join("deep").exists() && !lab.target.join(".synctl").exists(), "something was made");
    assert_eq!(run(push(&lab, &lab.source, other.to_str().unwrap()), PATIENCE).code, Some(0));
    assert!(other.join("d0/sub/f1.rs").exists());
}

/// A mistyped option is answered by the parser, with the same exit code; `--help` shows how it is done.
#[test]
fn mistyped_arguments() {
    let lab = Lab::new();
    for arguments in [
        &["watch"][..],
        &["push", "a"],
        &["frobnicate"],
        &["watch", "a", "b", "--mode", "sideways"],
        &["push", "a", "b", "--output", "xml"],
    ] {
        let finished = run(lab.synctl(arguments), PATIENCE);
        assert_eq!(finished.code, Some(2), "{arguments:?}: {finished:?}");
        assert!(!finished.stderr.is_empty(), "{arguments:?}");
    }
    let help = run(lab.synctl(["watch", "--help"]), PATIENCE);
    assert_eq!(help.code, Some(0), "{help:?}");
    assert!(help.stdout.contains("synctl watch") && help.stdout.contains("quic://"), "help shows how: {}", help.stdout);
}
