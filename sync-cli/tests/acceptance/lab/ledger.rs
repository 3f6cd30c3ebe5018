//! What hands wrote, and what they did away with: what is in neither must be somewhere.
//!
//! A hand never destroys anything it has not seen. What it replaces or deletes goes to a graveyard beside the roots by the very rename
//! that takes it away; where it writes in place, what the file held is noted first, and nobody but a hand writes in place. So
//! whatever was written, and is neither buried nor on one of the sides, nor kept there in the trash or among what a race displaced, was
//! lost by the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{CWD, RenameFlags, renameat_with};

type Sum = u128;

/// Shared by all hands.
#[derive(Clone)]
pub(in super::super) struct Ledger {
    graveyard: PathBuf,
    next: Arc<AtomicU64>,
    written: Arc<Mutex<BTreeMap<Sum, String>>>,
    overwritten: Arc<Mutex<BTreeSet<Sum>>>,
}

/// A hand at work in one root.
pub(in super::super) struct Hand {
    pub(in super::super) root: PathBuf,
    ledger: Ledger,
}

impl Ledger {
    /// With a graveyard in `base`, on the file system of the roots.
    pub(in super::super) fn new(base: &Path) -> Self {
        let graveyard = base.join("graveyard");
        fs::create_dir(&graveyard).unwrap();
        Self { graveyard, next: Arc::default(), written: Arc::default(), overwritten: Arc::default() }
    }

    pub(in super::super) fn hand(&self, root: &Path) -> Hand {
        Hand { root: root.to_owned(), ledger: self.clone() }
    }

    /// What stands in `root` was written by a hand.
    pub(in super::super) fn note(&self, root: &Path) {
        let mut found = BTreeSet::new();
        sums(root, &mut found);
        let mut written = self.written.lock().unwrap();
        written.extend(found.into_iter().map(|sum| (sum, format!("planted in {}", root.display()))));
    }

    /// What was written, and is nowhere.
    pub(in super::super) fn lost(&self, roots: &[&Path]) -> Vec<String> {
        let mut found = self.overwritten.lock().unwrap().clone();
        sums(&self.graveyard, &mut found);
        for root in roots {
            sums(root, &mut found);
        }
        let written = self.written.lock().unwrap();
        written.iter().filter(|(sum, _)| !found.contains(sum)).map(|(_, what)| what.clone()).collect()
    }

    pub(in super::super) fn count(&self) -> usize {
        self.written.lock().unwrap().len()
    }

    /// Whoever does away with what is at these paths has seen it.
    pub(in super::super) fn bury_copies(&self, paths: &[&Path]) {
        let mut overwritten = self.overwritten.lock().unwrap();
        paths.iter().for_each(|path| sums(path, &mut overwritten));
    }

    fn grave(&self) -> PathBuf {
        self.graveyard.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Hand {
    fn wrote(&self, path: &str, content: &[u8], how: &str) {
        let what =
            format!("{how} {path} in {}, {} bytes", self.root.file_name().unwrap().to_str().unwrap(), content.len());
        self.ledger.written.lock().unwrap().insert(sum(content), what);
    }

    /// A file in place of whatever stands there, by a rename. `false`: there is no directory for it.
    pub(in super::super) fn save_beside(&self, path: &str, content: &[u8]) -> bool {
        let (new, at) = (self.ledger.grave(), self.root.join(path));
        fs::write(&new, content).unwrap();
        let done = (0..8).any(|_| {
            renameat_with(CWD, &new, CWD, &at, RenameFlags::EXCHANGE).is_ok()
                || renameat_with(CWD, &new, CWD, &at, RenameFlags::NOREPLACE).is_ok()
        });
        if done {
            self.wrote(path, content, "renamed to");
        }
        done
    }

    /// A file's content, or a new file's, written in place.
    pub(in super::super) fn save_in_place(&self, path: &str, content: &[u8]) -> bool {
        let mut options = fs::OpenOptions::new();
        let Ok(mut file) = options.read(true).write(true).create(true).truncate(false).open(self.root.join(path))
        else {
            return false;
        };
        let mut old = Vec::new();
        file.read_to_end(&mut old).unwrap();
        self.ledger.overwritten.lock().unwrap().insert(sum(&old));
        file.set_len(0).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(content).unwrap();
        // A file that was replaced between the opening and the writing is not written to by that: whoever holds a file open while it is
        // replaced writes to what is no longer there, as with every rename over it.
        let stands =
            fs::symlink_metadata(self.root.join(path)).is_ok_and(|at| at.ino() == file.metadata().unwrap().ino());
        if stands {
            self.wrote(path, content, "written to");
        }
        stands
    }

    /// Whatever stands there goes.
    pub(in super::super) fn remove(&self, path: &str) -> bool {
        renameat_with(CWD, self.root.join(path), CWD, self.ledger.grave(), RenameFlags::NOREPLACE).is_ok()
    }

    /// To where nothing stands.
    pub(in super::super) fn rename(&self, from: &str, to: &str) -> bool {
        renameat_with(CWD, self.root.join(from), CWD, self.root.join(to), RenameFlags::NOREPLACE).is_ok()
    }

    pub(in super::super) fn make_dir(&self, path: &str) -> bool {
        fs::create_dir(self.root.join(path)).is_ok()
    }
}

/// The contents of all files beneath; not of those that are still on their way.
fn sums(directory: &Path, found: &mut BTreeSet<Sum>) {
    if directory.ends_with(".synctl/stage") || directory.ends_with(".synctl/partial") {
        return;
    }
    if let Ok(content) = fs::read(directory) {
        found.insert(sum(&content));
        return;
    }
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_symlink())) {
        sums(&entry.path(), found);
    }
}

/// FNV-1a of 128 bits.
fn sum(bytes: &[u8]) -> Sum {
    let prime = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.chunks(8).fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |sum: Sum, chunk| {
        let word = chunk.iter().fold(1_u128, |word, byte| word << 8 | u128::from(*byte));
        (sum ^ word).wrapping_mul(prime)
    })
}

#[test]
fn what_is_nowhere_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let roots = ["a", "b"].map(|name| folder.path().join(name));
    roots.iter().for_each(|root| fs::create_dir_all(root.join(".synctl/stage")).unwrap());
    let ledger = Ledger::new(folder.path());
    let hand = ledger.hand(&roots[0]);
    let lost = || ledger.lost(&[&roots[0], &roots[1]]).len();
    assert!(hand.save_in_place("x", b"one") && hand.save_in_place("x", b"two") && hand.save_beside("x", b"three"));
    assert!(
        hand.make_dir("d") && hand.save_beside("d/y", b"four") && hand.remove("d") && !hand.save_beside("d/y", b"x")
    );
    assert_eq!((lost(), ledger.count()), (0, 4));
    fs::rename(roots[0].join("x"), roots[1].join("z")).unwrap();
    assert_eq!(lost(), 0);
    fs::rename(roots[1].join("z"), roots[1].join(".synctl/stage/z")).unwrap();
    assert_eq!(lost(), 1);
}
