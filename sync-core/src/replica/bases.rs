//! Copies of large files as they were sent, to say what has changed in the next ones: what is small is kept in memory by
//! [`contents`](super::contents). And, at an agent, large files that were removed on the other side's word: what is built anew is
//! removed first, more often than not, and its chunks are found here.
//!
//! A directory of files named by their content id in hexadecimal, bounded in bytes and by what is free on the disk; the
//! oldest go first. Any number of sessions and processes may use it: nothing about it is remembered, a file is made
//! under a name of its own and renamed, and one that is removed by another stays readable for whoever has it open. To lose
//! a base costs bytes on the wire, never correctness; nothing here is synced to the disk. A base that is damaged shows
//! at the receiver, by the hash of what comes out, and the file is sent without it.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use sync_proto::{ContentId, Name};

use super::stage::{fixed, names, private_dir};
use crate::sys::{self, DirHandle};

/// Most bytes of bases on a person's machine, in the state directory.
pub const BASES_BYTES_MAX: u64 = 1 << 30;

/// Most bytes of bases in the root that an agent serves: a volume may be small.
pub const AGENT_BASES_BYTES_MAX: u64 = 256 << 20;

/// Bases take at most one part in so many of what they and what is free come to.
const FREE_SHARE: u64 = 4;

/// A base that was made so long ago is removed.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a process that was killed has left half-written is removed after so long.
const HALF_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// The directory.
const BASES: &str = "bases";

/// The bases in one directory.
#[derive(Debug)]
pub struct Bases {
    dir: DirHandle,
    bytes_max: u64,
    next: AtomicU64,
}

/// A base that is being written. Dropped, it is gone.
#[derive(Debug)]
pub struct NewBase {
    bases: Arc<Bases>,
    name: String,
    file: File,
    kept: bool,
}

/// A file in the directory.
struct Kept {
    mtime_ns: i64,
    len: u64,
    name: Box<[u8]>,
}

impl Bases {
    /// Opens `bases` in `home`, made where it is missing. At most `bytes_max` bytes are kept there.
    pub fn open(home: &DirHandle, bytes_max: u64) -> io::Result<Self> {
        let bases = Self { dir: private_dir(home, fixed(BASES))?, bytes_max, next: AtomicU64::new(0) };
        bases.make_room(0, "")?;
        Ok(bases)
    }

    /// The base with this content, if it is kept.
    pub fn find(&self, id: ContentId) -> Option<File> {
        Some(self.dir.open_file(name_of(&hexadecimal(id)).ok()?).ok()?.0)
    }

    /// It is of no use any more.
    pub fn forget(&self, id: ContentId) {
        if let Ok(name) = name_of(&hexadecimal(id)) {
            self.dir.remove_file(name).ok();
        }
    }

    /// Takes in the file `name` of `dir`, which has `len` bytes and is said to have this content, in place of its being removed.
    /// Whether it did: not where it has no room, has other names too, or is on another file system.
    pub fn adopt(&self, dir: &DirHandle, name: Name<'_>, id: ContentId, len: u64) -> bool {
        let adopt = || {
            let (file, stat) = dir.open_file(name)?;
            if stat.links != 1 || stat.len != len || !self.make_room(len, "")? {
                return Ok(false);
            }
            // It is as old as its being here. Somebody else's stays as old as it is, and goes sooner.
            file.set_modified(SystemTime::now()).ok();
            let own = hexadecimal(id);
            dir.rename_replace(name, &self.dir, name_of(&own)?)?;
            io::Result::Ok(true)
        };
        adopt().unwrap_or(false)
    }

    /// Begins a base of `len` bytes; `None` where there is no room for it. The oldest make room.
    pub fn begin(self: &Arc<Self>, len: u64) -> Option<NewBase> {
        if !self.make_room(len, "").ok()? {
            return None;
        }
        self.create()
    }

    /// A base without content yet, whether there is room or not.
    fn create(self: &Arc<Self>) -> Option<NewBase> {
        let name = format!("new-{}-{}", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed));
        let place = name_of(&name).ok()?;
        let make = || self.dir.create_new(place, 0o600);
        let file = match make() {
            // Of a process that had the same number.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.dir.remove_file(place).ok()?;
                make().ok()?
            }
            made => made.ok()?,
        };
        Some(NewBase { bases: Arc::clone(self), name, file, kept: false })
    }

    /// A base that shares the blocks of `file`, which costs nothing; `None` where the file system can't, or there is no room.
    pub fn share(self: &Arc<Self>, file: &File, len: u64) -> Option<NewBase> {
        let new = self.create()?;
        sys::share_blocks(file, &new.file).ok()?;
        // Only now: where it can't be, nothing has to give way to it.
        self.make_room(len, &new.name).ok()?.then_some(new)
    }

    /// Removes what is too old, and the oldest until `len` bytes have room beside all but the file `new`. Whether they have.
    fn make_room(&self, len: u64, new: &str) -> io::Result<bool> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut kept = Vec::new();
        for name in names(&self.dir)? {
            if *name == *new.as_bytes() {
                continue;
            }
            let Ok(place) = Name::new(&name) else { continue };
            let Ok(stat) = self.dir.stat(place) else { continue };
            let mtime_ns = stat.stamp.mtime_ns;
            let age = now.saturating_sub(Duration::from_nanos(u64::try_from(mtime_ns).unwrap_or(0)));
            if age > if is_whole(&name) { AGE_MAX } else { HALF_AGE_MAX } {
                self.dir.remove_file(place).ok();
            } else {
                kept.push(Kept { mtime_ns, len: stat.len, name });
            }
        }
        kept.sort_unstable_by_key(|kept| kept.mtime_ns);
        let mut bytes: u64 = kept.iter().map(|kept| kept.len).sum();
        let bytes_max = self.bytes_max.min(self.dir.free_bytes()?.saturating_add(bytes) / FREE_SHARE);
        if len > bytes_max {
            return Ok(false);
        }
        for Kept { len: freed, name, .. } in kept {
            if bytes + len <= bytes_max {
                break;
            }
            if is_whole(&name)
                && let Ok(place) = Name::new(&name)
                && self.dir.remove_file(place).is_ok()
            {
                bytes -= freed;
            }
        }
        Ok(bytes + len <= bytes_max)
    }
}

impl NewBase {
    /// What stands there, from its start, to be read in place of the file that it shares its blocks with.
    pub fn reader(&self) -> io::Result<File> {
        let place = name_of(&self.name)?;
        Ok(self.bases.dir.open_file(place)?.0)
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Keeps it as this content, which has `len` bytes; not where it is not whole.
    pub fn keep(mut self, id: ContentId, len: u64) {
        if sys::stat_file(&self.file).map_or(0, |stat| stat.len) != len {
            return;
        }
        let Ok(from) = name_of(&self.name) else { return };
        let own = hexadecimal(id);
        let Ok(to) = name_of(&own) else { return };
        self.kept = self.bases.dir.rename_replace(from, &self.bases.dir, to).is_ok();
    }
}

impl Drop for NewBase {
    fn drop(&mut self) {
        if !self.kept
            && let Ok(name) = name_of(&self.name)
        {
            self.bases.dir.remove_file(name).ok();
        }
    }
}

fn name_of(text: &str) -> io::Result<Name<'_>> {
    Name::new(text.as_bytes()).map_err(|error| io::Error::new(ErrorKind::InvalidFilename, error))
}

fn hexadecimal(id: ContentId) -> String {
    blake3::Hash::from_bytes(id.0).to_hex().to_string()
}

fn is_whole(name: &[u8]) -> bool {
    blake3::Hash::from_hex(name).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, io::Read};

    use super::*;

    fn id(bytes: &[u8]) -> ContentId {
        ContentId(*blake3::hash(bytes).as_bytes())
    }

    fn keep(bases: &Arc<Bases>, bytes: &[u8]) -> bool {
        let Some(mut new) = bases.begin(bytes.len() as u64) else { return false };
        new.write(bytes).unwrap();
        new.keep(id(bytes), bytes.len() as u64);
        true
    }

    fn find(bases: &Bases, bytes: &[u8]) -> bool {
        let Some(mut file) = bases.find(id(bytes)) else { return false };
        let mut found = Vec::new();
        file.read_to_end(&mut found).unwrap();
        assert_eq!(found, bytes);
        true
    }

    fn open(bytes_max: u64) -> (tempfile::TempDir, Arc<Bases>) {
        let dir = tempfile::tempdir().unwrap();
        let bases = Arc::new(Bases::open(&DirHandle::open_root(dir.path()).unwrap(), bytes_max).unwrap());
        (dir, bases)
    }

    #[test]
    fn the_oldest_make_room() {
        let (dir, bases) = open(3_000);
        let contents = [[1; 1_000], [2; 1_000], [3; 1_000], [4; 1_000]];
        for content in &contents {
            assert!(keep(&bases, content));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(contents.map(|content| find(&bases, &content)), [false, true, true, true]);
        assert!(!keep(&bases, &[5; 3_001]), "larger than all that may be kept");
        assert!(find(&bases, &contents[1]), "and nothing was removed for it");
        bases.forget(id(&contents[1]));
        assert!(!find(&bases, &contents[1]));
        let home = DirHandle::open_root(dir.path()).unwrap();
        assert!(find(&Bases::open(&home, 3_000).unwrap(), &contents[3]), "they are there after a restart");
        assert!(!find(&Bases::open(&home, 500).unwrap(), &contents[3]), "unless less may be kept");
    }

    #[test]
    fn what_is_removed_can_be_taken_in() {
        let (dir, bases) = open(3_000);
        let home = DirHandle::open_root(dir.path()).unwrap();
        let check = |content: &[u8], len: u64, link: bool, expected: bool| {
            fs::write(dir.path().join("file"), content).unwrap();
            if link {
                fs::hard_link(dir.path().join("file"), dir.path().join("other")).unwrap();
            }
            assert_eq!(bases.adopt(&home, name_of("file").unwrap(), id(content), len), expected);
            assert_eq!(dir.path().join("file").exists(), !expected);
            assert_eq!(find(&bases, content), expected);
        };
        let old = SystemTime::now() - AGE_MAX - Duration::from_secs(1);
        fs::write(dir.path().join("file"), "old").unwrap();
        File::options().write(true).open(dir.path().join("file")).unwrap().set_modified(old).unwrap();
        assert!(bases.adopt(&home, name_of("file").unwrap(), id(b"old"), 3));
        check(&[1; 2_000], 2_000, false, true);
        assert!(find(&bases, b"old"), "it is young here");
        check(&[2; 2_000], 2_000, false, true);
        assert!(!find(&bases, &[1; 2_000]), "the oldest make room");
        check(&[3; 10], 11, false, false);
        check(&[3; 3_001], 3_001, false, false);
        check(&[3; 10], 10, true, false);
    }

    #[test]
    fn what_is_not_kept_is_gone() {
        let (dir, bases) = open(1 << 20);
        let mut new = bases.begin(10).unwrap();
        new.write(b"half").unwrap();
        new.keep(id(b"half and half"), 13);
        let left = || fs::read_dir(dir.path().join(BASES)).unwrap().count();
        assert_eq!(left(), 0);
        // What a killed process leaves: young, it may be at work; old, it is removed.
        let path = dir.path().join(BASES).join("new-1-0");
        fs::write(&path, b"half").unwrap();
        assert!(keep(&bases, b"one") && left() == 2);
        let old = SystemTime::now() - HALF_AGE_MAX - Duration::from_secs(1);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        assert!(keep(&bases, b"two") && left() == 2);
    }

    /// A file system whose files can share blocks, on an image in `dir`, until it is dropped.
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    struct Mounted(std::path::PathBuf);

    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    impl Mounted {
        fn new(dir: &std::path::Path, make: &str) -> Option<Self> {
            let (image, at) = (dir.join("image"), dir.join("mounted"));
            File::create(&image).unwrap().set_len(512 << 20).unwrap();
            fs::create_dir(&at).unwrap();
            let done =
                |command: &mut std::process::Command| command.output().is_ok_and(|output| output.status.success());
            let is_made = done(std::process::Command::new(make).arg("-q").arg(&image));
            let mounted =
                is_made && done(std::process::Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at));
            mounted.then_some(Self(at))
        }
    }

    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }

    #[test]
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    fn blocks_are_shared_where_the_file_system_can() {
        for make in ["mkfs.btrfs", "mkfs.xfs"] {
            blocks_are_shared(make);
        }
    }

    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    fn blocks_are_shared(make: &str) {
        let dir = tempfile::tempdir().unwrap();
        let Some(mounted) = Mounted::new(dir.path(), make) else {
            return crate::skipped::skipped(&format!("what {make} makes can't be made or mounted"));
        };
        let home = DirHandle::open_root(&mounted.0).unwrap();
        let bases = Arc::new(Bases::open(&home, 1 << 30).unwrap());
        let content: Vec<u8> = (0..20_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let path = mounted.0.join("file");
        fs::write(&path, &content).unwrap();
        home.sync_fs().unwrap();
        let free = home.free_bytes().unwrap();
        let new = bases.share(&File::open(&path).unwrap(), content.len() as u64).unwrap();
        home.sync_fs().unwrap();
        let taken = free.saturating_sub(home.free_bytes().unwrap());
        assert!(taken < 4 << 20, "{make}: {taken} bytes for a copy of {}", content.len());
        // What is done to the file meanwhile is not seen.
        fs::write(&path, b"other").unwrap();
        let mut read = Vec::new();
        new.reader().unwrap().read_to_end(&mut read).unwrap();
        assert!(read == content);
        new.keep(id(&content), content.len() as u64);
        assert!(find(&bases, &content));
    }

    #[test]
    fn without_shared_blocks_nothing_is_left_behind() {
        let (dir, bases) = open(1_500);
        assert!(keep(&bases, &[1; 1_000]));
        let other = tempfile::tempfile().unwrap();
        other.set_len(1_000).unwrap();
        let shared = bases.share(&other, 1_000);
        // One or the other: nothing gives way for what can't be.
        assert_eq!(find(&bases, &[1; 1_000]), shared.is_none());
        assert_eq!(fs::read_dir(dir.path().join(BASES)).unwrap().count(), 1);
    }

    #[test]
    fn a_base_that_is_removed_can_still_be_read() {
        let (_dir, bases) = open(1 << 20);
        assert!(keep(&bases, b"content"));
        let mut file = bases.find(id(b"content")).unwrap();
        bases.forget(id(b"content"));
        let mut found = Vec::new();
        file.read_to_end(&mut found).unwrap();
        assert_eq!(found, b"content");
    }
}
