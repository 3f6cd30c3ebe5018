//! The binary as a script sees it: exit codes, what is on stdout and what on stderr.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod session;

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

/// A `synctl` that knows nothing of who runs the test.
fn synctl(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synctl"));
    command.env_clear().env("HOME", home).stdin(Stdio::null());
    command
}

fn run(home: &Path, args: &[&str]) -> Output {
    synctl(home).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Ended with 2, nothing on stdout, and one line on stderr that has all of `parts` in it.
#[track_caller]
fn check_could_not(output: &Output, parts: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.starts_with("synctl: ") && stderr.lines().count() == 1, "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}

#[test]
fn help_goes_to_stdout_and_a_usage_error_to_stderr() {
    let home = tempfile::tempdir().unwrap();
    let help = run(home.path(), &["--help"]);
    assert_eq!((help.status.code(), help.stderr.len()), (Some(0), 0));
    assert!(text(&help.stdout).contains("synctl watch . /tmp/synctl-demo"));
    for args in [&["watch"][..], &["push", "a", "ssh://host/x"], &["status"], &[]] {
        let wrong = run(home.path(), args);
        assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(2), 0), "{args:?}");
        assert!(!wrong.stderr.is_empty());
    }
}

#[test]
fn a_session_that_can_not_start_is_one_line_and_exit_2() {
    let home = tempfile::tempdir().unwrap();
    for command in ["watch", "push"] {
        let no_secret = run(home.path(), &[command, ".", "quic://127.0.0.1:1/w"]);
        check_could_not(&no_secret, &["--secret-file", "SYNCTL_SECRET", "--known-agent"]);
        let missing = run(home.path(), &[command, "--secret-file", "/nowhere/s", ".", "quic://127.0.0.1:1/w"]);
        check_could_not(&missing, &["/nowhere/s", "No such file"]);
        let short = synctl(home.path())
            .args([command, ".", "quic://127.0.0.1:1/w"])
            .env("SYNCTL_SECRET", "synctl-secret-1:aHVudGVyMg")
            .output();
        check_could_not(&short.unwrap(), &["SYNCTL_SECRET", "128 bits"]);
    }
}

#[test]
fn a_program_that_reads_json_is_told_too() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["push", "--output", "json", ".", "quic://127.0.0.1:1/w"]);
    assert_eq!(output.status.code(), Some(2));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((line["version"].as_u64(), line["event"].as_str()), (Some(1), Some("stopped")));
    assert!(line["reason"].as_str().unwrap().contains("--secret-file"));
}

#[test]
fn keygen_makes_a_secret_and_never_overwrites() {
    let home = tempfile::tempdir().unwrap();
    let line = text(&run(home.path(), &["keygen", "--secret"]).stdout);
    assert!(line.starts_with("synctl-secret-1:") && line.lines().count() == 1, "{line}");
    assert_ne!(line, text(&run(home.path(), &["keygen", "--secret"]).stdout));

    let file = home.path().join("secret");
    let args = ["keygen", "--secret", "--out", file.to_str().unwrap()];
    let made = run(home.path(), &args);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let secret = std::fs::read_to_string(&file).unwrap();
    assert!(!text(&made.stdout).contains(secret.trim()), "what goes to a file is not shown");
    check_could_not(&run(home.path(), &args), &["exists already"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
}

#[test]
fn keygen_makes_a_key_pair_where_xdg_says() {
    let home = tempfile::tempdir().unwrap();
    let made = run(home.path(), &["keygen"]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let private = home.path().join(".config/synctl/identity");
    let public = std::fs::read_to_string(home.path().join(".config/synctl/identity.pub")).unwrap();
    assert_eq!(text(&made.stdout), public);
    assert!(public.starts_with("synctl-ed25519 "));
    assert!(!std::fs::read_to_string(&private).unwrap().is_empty());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    }
    check_could_not(&run(home.path(), &["keygen"]), &["exists already"]);
}

#[test]
fn why_answers_with_its_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    std::fs::create_dir_all(root.join("src")).unwrap();
    std::fs::write(root.join(".gitignore"), "*.log\n").unwrap();
    let why = |args: &[&str]| {
        let output = synctl(home.path()).current_dir(&root).arg("why").args(args).output().unwrap();
        (output.status.code(), text(&output.stdout))
    };
    assert_eq!(why(&[".", "src/main.rs"]), (Some(0), "src/main.rs takes part\n".to_owned()));
    let (code, answer) = why(&[".", "src/x.log"]);
    assert!(code == Some(1) && answer.contains("*.log") && answer.contains(".gitignore"), "{answer}");
    assert_eq!(why(&["--no-gitignore", ".", "src/x.log"]).0, Some(0));
    assert_eq!(why(&["--ignore", "!*.log", ".", "src/x.log"]).0, Some(0));
    assert_eq!(why(&[".", ".git/config"]).0, Some(1));
    assert_eq!(why(&["--vcs", ".", ".git/config"]).0, Some(0));
    assert_eq!(why(&["--vcs", "--ignore", "!.synctl", ".", ".synctl/x"]).0, Some(1));
    assert_eq!(why(&[".", "../x"]).0, Some(2));
    assert_eq!(why(&["nowhere", "x"]).0, Some(2));
    let (code, answer) = why(&["--output", "json", ".", "src/x.log"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(code, Some(1));
    assert_eq!((&answer["ignored"], &answer["reason"]["line"]), (&true.into(), &1.into()));
    assert_eq!(answer["reason"]["file"]["path"], ".gitignore");
}

#[test]
fn what_is_left_out_by_default_is_shown() {
    let home = tempfile::tempdir().unwrap();
    let shown = text(&run(home.path(), &["ignored"]).stdout);
    for pattern in [".DS_Store", "___jb_tmp___", "id_ed25519", ".git", ".envrc", "not taken from DEST: "] {
        assert!(shown.contains(pattern), "{pattern}: {shown}");
    }
    let json = text(&run(home.path(), &["ignored", "--output", "json"]).stdout);
    assert_eq!(json.lines().count(), shown.lines().count());
    for line in json.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["pattern"].is_string() && line["why"].is_string() && line["list"].is_string(), "{line}");
    }
}

#[test]
fn completions_and_man_pages_come_from_the_same_definition() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(home.path(), &["completions", shell]);
        let script = text(&output.stdout);
        assert!(output.status.success() && script.contains("secret-file") && script.contains("watch"), "{shell}");
    }
    let page = text(&run(home.path(), &["man"]).stdout);
    assert!(page.contains(".TH synctl 1"), "{page}");
    let dir = home.path().join("man/man1");
    assert!(run(home.path(), &["man", dir.to_str().unwrap()]).status.success());
    for page in ["synctl.1", "synctl-watch.1", "synctl-push.1", "synctl-keygen.1", "synctl-why.1"] {
        assert!(dir.join(page).is_file(), "{page}");
    }
}

/// Stdout is a pipe that nobody reads any more.
#[cfg(unix)]
#[test]
fn a_broken_pipe_is_a_quiet_end() {
    let home = tempfile::tempdir().unwrap();
    for args in [&["ignored"][..], &["completions", "bash"], &["man"], &["keygen", "--secret"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = synctl(home.path()).args(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_log_filter_that_can_not_be_read_is_named() {
    let home = tempfile::tempdir().unwrap();
    let output = synctl(home.path()).arg("ignored").env("SYNCTL_LOG", "a=b=c").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("SYNCTL_LOG is not a log filter"), "{}", text(&output.stderr));
}
