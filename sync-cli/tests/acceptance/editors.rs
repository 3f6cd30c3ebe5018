//! Faults 4–8: how editors save. Each save is one update of one path: the file is never gone at the other side, never
//! lastingly empty, and the editor's temporaries never travel.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::lab::{
    Agent, Lab, PATIENCE, Presence, Watch, body, executable, installed, plant, run, save_beside, save_in_place, skipped,
};

const FILE: &str = "d1/sub/f3.rs";

/// A session on a small tree, quiet.
fn session() -> (Lab, Agent, Watch) {
    let lab = Lab::new();
    plant(&lab.source, 3, 8);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    lab.settle();
    (lab, agent, watch)
}

/// Saves in a way of `save`'s, several times. Each arrives; only that path is ever synced; it never went away.
fn check(save: impl Fn(&Path, &[u8])) {
    let (lab, agent, watch) = session();
    let (path, mark) = (lab.source.join(FILE), watch.mark());
    let presence = Presence::start(lab.target.join(FILE));
    for round in 0..5 {
        let content = body(1_000 + round, 3_000);
        save(&path, &content);
        lab.arrives(FILE, &content);
    }
    lab.settle();
    let absences = presence.finish();
    assert_eq!(absences.missing, 0, "the file went away at the other side");
    let synced = watch.synced_since(mark);
    assert!(!synced.is_empty() && synced.iter().all(|path| path == FILE), "more than the file was synced: {synced:?}");
    drop(agent);
}

#[test]
fn saves_in_place_and_by_rename_arrive() {
    check(save_in_place);
    check(save_beside_ignored);
}

/// As `save_beside`, with a name that is a temporary by default.
fn save_beside_ignored(path: &Path, content: &[u8]) {
    let beside = path.with_file_name("f3.rs~");
    fs::write(&beside, content).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[test]
fn fault_04_truncate_pause_write() {
    let (lab, agent, watch) = session();
    let path = lab.source.join(FILE);
    let presence = Presence::start(lab.target.join(FILE));
    for round in 0..10 {
        let content = body(2_000 + round, 3_000);
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        file.write_all(&content).unwrap();
        drop(file);
        lab.arrives(FILE, &content);
    }
    lab.settle();
    let absences = presence.finish();
    assert_eq!((absences.missing, absences.empty), (0, 0), "the pause between truncating and writing was seen");
    drop((agent, watch));
}

#[test]
fn fault_05_vim_rename_backup() {
    check(|path, content| {
        let backup = path.with_file_name("f3.rs~");
        let probe = path.with_file_name("4913");
        let swap = path.with_file_name(".f3.rs.swp");
        fs::write(&swap, b"b0VIM 9.0").unwrap();
        fs::write(&probe, b"").unwrap();
        fs::remove_file(&probe).unwrap();
        fs::rename(path, &backup).unwrap();
        let mut file = fs::File::create(path).unwrap();
        file.write_all(content).unwrap();
        file.sync_all().unwrap();
        drop(file);
        fs::remove_file(&backup).unwrap();
        fs::remove_file(&swap).unwrap();
    });
}

#[test]
fn fault_05_real_vim() {
    if !installed("vim") {
        return skipped("real vim: it is not installed");
    }
    let (lab, agent, watch) = session();
    let (path, mark) = (lab.source.join(FILE), watch.mark());
    let presence = Presence::start(lab.target.join(FILE));
    for backup in ["backupcopy=no", "backupcopy=yes", "backupcopy=auto backup"] {
        let mut vim = Command::new("vim");
        vim.args([
            "-u",
            "NONE",
            "-i",
            "NONE",
            "-es",
            "-c",
            &format!("set swapfile updatecount=1 writebackup backupskip= {backup}"),
        ]);
        vim.args(["-c", &format!("normal Go// saved with {backup}"), "-c", "wq"]).arg(&path).env("TERM", "dumb");
        let done = run(vim, PATIENCE);
        assert_eq!(done.code, Some(0), "{done:?}");
        lab.arrives(FILE, &fs::read(&path).unwrap());
    }
    // `backup` keeps `f3.rs~` beside the file; a backup is a temporary, and stays where it is.
    assert!(lab.source.join("d1/sub/f3.rs~").exists());
    lab.settle_but(&["d1/sub/f3.rs~"]);
    assert!(!lab.target.join("d1/sub/f3.rs~").exists());
    assert_eq!(presence.finish().missing, 0, "the file went away at the other side");
    assert!(watch.synced_since(mark).iter().all(|path| path == FILE), "{:?}", watch.synced_since(mark));
    drop(agent);
}

#[test]
fn fault_06_jetbrains_safe_write() {
    check(|path, content| {
        let (new, old) = (path.with_file_name("f3.rs___jb_tmp___"), path.with_file_name("f3.rs___jb_old___"));
        fs::write(&new, content).unwrap();
        fs::rename(path, &old).unwrap();
        fs::rename(&new, path).unwrap();
        fs::remove_file(&old).unwrap();
    });
}

#[test]
fn fault_07_emacs_lock_symlinks() {
    let (lab, agent, watch) = session();
    let (path, mark) = (lab.source.join(FILE), watch.mark());
    let lock = path.with_file_name(".#f3.rs");
    for round in 0..5 {
        symlink("someone@laptop.4242:1700000000", &lock).unwrap();
        fs::write(path.with_file_name("#f3.rs#"), b"auto-save").unwrap();
        let content = body(3_000 + round, 3_000);
        save_in_place(&path, &content);
        lab.arrives(FILE, &content);
        let beside = |name: &str| fs::symlink_metadata(lab.target.join("d1/sub").join(name)).is_ok();
        assert!(!beside(".#f3.rs") && !beside("#f3.rs#"), "an editor's temporary travelled");
        fs::remove_file(&lock).unwrap();
        fs::remove_file(path.with_file_name("#f3.rs#")).unwrap();
    }
    lab.settle();
    let complaints: Vec<_> = watch.since(mark).into_iter().filter(|event| event["event"] == "problem").collect();
    assert!(complaints.is_empty(), "a lock is nothing to complain of: {complaints:?}");
    drop(agent);
}

#[test]
fn fault_08_sed_in_place_keeps_the_executable_bit() {
    if !installed("sed") {
        return skipped("sed -i: it is not installed");
    }
    let (lab, agent, watch) = session();
    let path = lab.source.join(FILE);
    executable(&path, true);
    lab.settle();
    let mark = watch.mark();
    let presence = Presence::start(lab.target.join(FILE));
    for round in 0..10 {
        let mut sed = Command::new("sed");
        sed.args(["-i", &format!("$ s/$/ {round}/")]).arg(&path);
        assert_eq!(run(sed, PATIENCE).code, Some(0));
        lab.arrives(FILE, &fs::read(&path).unwrap());
        let mode = fs::metadata(lab.target.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o100, 0o100, "the executable bit was lost");
    }
    lab.settle();
    assert_eq!(presence.finish().missing, 0, "the file went away at the other side");
    // sed's own temporary has a name that nothing tells from a file of the project's: it may be seen and must be gone.
    let others: Vec<_> =
        watch.synced_since(mark).into_iter().filter(|path| path != FILE && !path.contains("/sed")).collect();
    assert!(others.is_empty(), "{others:?}");
    drop(agent);
}

/// The bit alone, changed both ways, without a change of content.
#[test]
fn the_executable_bit_alone_is_synced() {
    let (lab, agent, _watch) = session();
    for yes in [true, false] {
        executable(&lab.source.join(FILE), yes);
        lab.settle();
        lab.assert_equal();
    }
    save_beside(&lab.source.join(FILE), b"and content again");
    lab.settle();
    drop(agent);
}
