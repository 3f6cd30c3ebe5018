//! An agent that says that much is gone: alpha halts before most of it goes, and what goes is in the trash.

use std::fs;

use sync_core::tree::Tree;
use sync_proto::Entry;
use sync_proto::message::{Change, ReplicaId};

use super::super::super::lab::{PATIENCE, run};
use super::super::liar::changes;
use super::super::peer::file;
use super::{Act, Aftermath, PLANTED, check, news, stands};

/// What is planted, file by file.
fn planted() -> Vec<String> {
    let names = |directory| (0..PLANTED / 3).map(move |at| format!("d{directory}/sub/f{at}.rs"));
    (0..3).flat_map(names).collect()
}

fn gone<'a>(paths: impl IntoIterator<Item = &'a String>) -> Vec<Change> {
    paths.into_iter().map(|path| stands(path, None)).collect()
}

impl Act<'_> {
    fn is_halted(&self) -> bool {
        self.watch.events().iter().any(|event| event["event"] == "halted")
    }

    pub(super) async fn halts(&mut self) {
        self.until("it halts", Self::is_halted).await;
        self.rests().await;
    }

    fn stands(&self, path: &str) -> bool {
        fs::symlink_metadata(self.lab.source.join(path)).is_ok()
    }
}

impl Aftermath {
    /// `synctl restore` brings back what is gone, as it was.
    fn comes_back(self, new: &[&str]) {
        let mut command = self.lab.synctl(["restore"]);
        command.arg(&self.lab.source).arg("--all");
        let restored = run(command, PATIENCE);
        assert_eq!(restored.code, Some(0), "{restored:?}");
        Self { after: super::snapshot(&self.lab.source), ..self }.unchanged_but(new);
    }
}

#[test]
fn fault_45_two_way_all_is_gone() {
    let tops = [".envrc", ".vscode", "d0", "d1", "d2"].map(str::to_owned);
    check("all gone at once", &[], async |act| {
        act.say(&changes(gone(&tops))).await;
        act.halts().await;
    })
    .unchanged_but(&[]);
    check("most gone at once", &[], async |act| {
        act.say(&changes(gone(&tops[2..4]))).await;
        act.halts().await;
    })
    .unchanged_but(&[]);
    check("an empty tree after a while", &[], async |act| {
        act.meets_again().await;
        act.liar.opened(Tree::new().hash()).await;
        act.halts().await;
    })
    .unchanged_but(&[]);
    // Directories that become files take with them what was in them.
    check("most of it becomes files", &[], async |act| {
        act.say(&changes(vec![news("d0", b"now a file"), news("d1", b"now a file")])).await;
        act.halts().await;
    })
    .unchanged_but(&[]);
    check("another replica that has nothing", &[], async |act| {
        act.meets_again().await;
        act.liar.opened_as(ReplicaId([8; 16]), Tree::new().hash()).await;
        act.goes_on_again().await;
    })
    .unchanged_but(&[]);
}

impl Act<'_> {
    /// As `goes_on`, in a session that is not the first.
    async fn goes_on_again(&mut self) {
        self.say(&changes(vec![news("honest again", b"honest")])).await;
        self.until("honest news are taken over", |act| act.stands("honest again")).await;
        self.rests().await;
    }
}

#[test]
fn fault_45_two_way_gone_in_pieces() {
    let told = check("one after the other", &[], async |act| {
        for path in planted() {
            act.say(&changes(gone([&path]))).await;
            act.until("it is gone, or all halts", |act| act.is_halted() || !act.stands(&path)).await;
            if act.is_halted() {
                break;
            }
        }
        act.rests().await;
        let left = planted().iter().filter(|path| act.stands(path)).count();
        eprintln!("{left} of {PLANTED} files are left");
        // Where the session rests in between each counts for itself.
        assert!(left == 0 || act.is_halted());
    });
    told.comes_back(&[]);
    // All of them told at once, one message each, with no time to rest in between.
    let told = check("in one breath", &[], async |act| {
        for path in planted() {
            act.say(&changes(gone([&path]))).await;
        }
        act.halts().await;
        let left = planted().iter().filter(|path| act.stands(path)).count();
        assert!(left >= PLANTED / 2 - 1, "{left} of {PLANTED} files are left");
    });
    told.comes_back(&[]);
    // So many files are made first that most of those that were there are few.
    let told = check("among many new ones", &[], async |act| {
        let junk: Vec<Change> = (0..200).map(|at| stands(&format!("junk{at}"), file(b""))).collect();
        act.say(&changes(junk)).await;
        act.until("the new ones are taken over", |act| (0..200).all(|at| act.stands(&format!("junk{at}")))).await;
        act.goes_on().await;
        act.say(&changes(gone(&planted()))).await;
        act.until("they are gone", |act| planted().iter().all(|path| !act.stands(path))).await;
        act.goes_on().await;
        act.say(&changes((0..200).map(|at| stands(&format!("junk{at}"), None)).collect())).await;
        act.rests().await;
    });
    let junk: Vec<String> = (0..200).map(|at| format!("junk{at}")).collect();
    told.comes_back(&junk.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn fault_45_two_way_what_goes_is_in_the_trash() {
    let some = [".envrc", "d0/sub/f1.rs", "d0/sub/f2.rs"].map(str::to_owned);
    let told = check("some files", &[], async |act| {
        act.say(&changes(gone(&some))).await;
        act.until("they are gone", |act| !act.stands(&some[1]) && !act.stands(&some[2])).await;
        act.goes_on().await;
        assert!(act.has_problem("refused", ".envrc"), "{:#?}", act.watch.events());
    });
    assert!(!told.after.contains_key(std::path::Path::new("d0/sub/f1.rs")));
    told.comes_back(&[]);
    // Replaced by what is of another kind: gone too.
    let told = check("a directory that becomes a file", &[], async |act| {
        act.say(&changes(vec![news("d0/sub", b"now a file")])).await;
        act.until("it is one", |act| act.lab.source.join("d0/sub").is_file()).await;
        act.goes_on().await;
    });
    fs::remove_file(told.lab.source.join("d0/sub")).unwrap();
    told.comes_back(&[]);
    let told = check("a file that becomes a directory", &[], async |act| {
        act.say(&changes(vec![stands("d0/sub/f1.rs", Entry::Directory)])).await;
        act.until("it is one", |act| act.lab.source.join("d0/sub/f1.rs").is_dir()).await;
        act.goes_on().await;
    });
    fs::remove_dir(told.lab.source.join("d0/sub/f1.rs")).unwrap();
    told.comes_back(&[]);
    let told = check("a file that becomes a symlink", &[], async |act| {
        act.say(&changes(vec![stands("d0/sub/f1.rs", super::paths::symlink_to("f2.rs"))])).await;
        act.until("it is one", |act| act.lab.source.join("d0/sub/f1.rs").is_symlink()).await;
        act.goes_on().await;
    });
    fs::remove_file(told.lab.source.join("d0/sub/f1.rs")).unwrap();
    told.comes_back(&[]);
}
