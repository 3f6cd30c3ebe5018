//! Sessions through the binary: what a script builds on, and no more. How a session works is tested in `sync-core`.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Stdio},
};

use serde_json::Value;

use super::{check_could_not, run, synctl, text};

/// A `watch` that writes JSON, killed when the test is over.
struct Watch {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(home: &Path, source: &Path, destination: &Path) -> Self {
        let mut command = synctl(home);
        command.args(["watch", "--output", "json"]).arg(source).arg(destination).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next event for which `wanted` holds; the others are read over.
    #[track_caller]
    fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        for line in self.lines.by_ref() {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            assert_eq!(event["version"], 1);
            if wanted(&event) {
                return event;
            }
            seen.push(event.to_string());
        }
        panic!("the output ended: {seen:#?}");
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is(name: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == name
}

#[test]
fn watch_brings_over_what_is_there_then_each_save_and_ends_on_a_signal() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let home = tempfile::tempdir().unwrap();
        let (source, destination) = (home.path().join("source"), home.path().join("destination"));
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("before"), "1").unwrap();
        let mut watch = Watch::start(home.path(), &source, &destination);
        assert_eq!(watch.event(is("ready"))["files"], 1);
        assert_eq!(std::fs::read(destination.join("before")).unwrap(), b"1");

        std::fs::write(source.join("save"), "22").unwrap();
        let synced = watch.event(|event| is("synced")(event) && event["paths"][0]["path"] == "save");
        // "Synced" is a barrier: said only once it is in place.
        assert_eq!(std::fs::read(destination.join("save")).unwrap(), b"22");
        let stages =
            ["detect", "hash", "send", "apply", "ack"].map(|stage| synced["latency_us"][stage].as_u64().unwrap());
        let total = synced["latency_us"]["total"].as_u64().unwrap();
        assert!(stages.iter().sum::<u64>().abs_diff(total) <= 5, "the stages are the whole but for rounding: {synced}");

        watch.signal(signal);
        assert_eq!(watch.event(is("stopped"))["reason"], Value::Null);
        assert_eq!(watch.child.wait().unwrap().code(), Some(0));
        assert!(watch.lines.next().is_none(), "`stopped` is the last line");
    }
}

#[test]
fn push_ends_with_what_remains() {
    let home = tempfile::tempdir().unwrap();
    let (source, destination) = (home.path().join("source"), home.path().join("destination"));
    std::fs::create_dir_all(source.join("a/b")).unwrap();
    std::fs::write(source.join("a/b/c"), "content").unwrap();
    let push = || run(home.path(), &["push", source.to_str().unwrap(), destination.to_str().unwrap()]);

    let first = push();
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    assert_eq!(std::fs::read(destination.join("a/b/c")).unwrap(), b"content");
    assert!(!first.stdout.contains(&0x1b), "no escapes without a terminal");
    let again = push();
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));

    let fifo = source.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let problem = push();
    assert_eq!(problem.status.code(), Some(1), "{}", text(&problem.stderr));
    assert!(text(&problem.stdout).contains("problem: fifo"), "{}", text(&problem.stdout));
    assert!(text(&problem.stderr).contains("1 problem"), "{}", text(&problem.stderr));
}

#[test]
fn push_gives_up_where_no_agent_is() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("source")).unwrap();
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = synctl(home.path())
        .arg("push")
        .arg(home.path().join("source"))
        .arg(format!("quic://127.0.0.1:{port}/w"))
        .env("SYNCTL_SECRET", "synctl-secret-1:AAECAwQFBgcICQoLDA0ODw")
        .output()
        .unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{stdout}{stderr}");
    assert!(stderr.contains("is the agent running there") && !stdout.contains("trying again"), "{stdout}{stderr}");
}

#[test]
fn roots_that_can_not_be_are_one_line_and_exit_2() {
    let home = tempfile::tempdir().unwrap();
    let (source, inside, file) = (home.path().join("s"), home.path().join("s/inside"), home.path().join("file"));
    std::fs::create_dir_all(&inside).unwrap();
    std::fs::write(&file, "").unwrap();
    let push = |from: &Path, to: &Path| run(home.path(), &["push", from.to_str().unwrap(), to.to_str().unwrap()]);
    check_could_not(&push(&home.path().join("nowhere"), &home.path().join("d")), &["nowhere", "does not exist"]);
    check_could_not(&push(&file, &home.path().join("d")), &["file is not a directory"]);
    check_could_not(&push(&source, &inside), &["lies inside"]);
    check_could_not(&push(&inside, &source), &["lies inside"]);
    check_could_not(&push(&source, &source), &["the same"]);
    assert!(!home.path().join("d").exists());
}
