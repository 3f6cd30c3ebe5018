//! Content of small files that has just been read: what was hashed is what gets sent, and it is the base of the next delta.
//!
//! A bounded store by content id, in memory. Losing an entry costs a read, never correctness: whoever does not find it
//! here reads the file and checks its hash.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sync_proto::ContentId;

/// Longest content that is kept, in bytes.
pub const CONTENT_KEPT_BYTES_MAX: u64 = 1 << 20;
/// Counted for an entry beside its bytes: the maps and the allocation.
const ENTRY_OVERHEAD_BYTES: usize = 160;

/// A store of recent content. Shared between the replica, which fills it, and the senders.
#[derive(Debug)]
pub struct Contents {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: HashMap<ContentId, (Arc<[u8]>, u64)>,
    by_age: BTreeMap<u64, ContentId>,
    bytes: usize,
    tick: u64,
}

impl Contents {
    /// A store of at most `bytes_max` bytes, overhead included.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inner: Mutex::default() }
    }

    /// Keeps `content`, and lets the oldest go where there is no room.
    pub fn insert(&self, id: ContentId, content: &[u8]) {
        let mut inner = self.lock();
        if inner.touch(id) || content.len() as u64 > CONTENT_KEPT_BYTES_MAX {
            return;
        }
        inner.add(id, content);
        while inner.bytes > self.bytes_max {
            inner.drop_oldest();
        }
    }

    /// Keeps `content` where there is room: for scans, which would otherwise push out what they just brought in.
    pub fn insert_if_room(&self, id: ContentId, content: &[u8]) {
        let mut inner = self.lock();
        let fits = inner.bytes + content.len() + ENTRY_OVERHEAD_BYTES <= self.bytes_max;
        if fits && content.len() as u64 <= CONTENT_KEPT_BYTES_MAX && !inner.by_id.contains_key(&id) {
            inner.add(id, content);
        }
    }

    /// The content, if it is kept. It counts as new again.
    pub fn get(&self, id: ContentId) -> Option<Arc<[u8]>> {
        let mut inner = self.lock();
        inner.touch(id).then(|| inner.by_id.get(&id).map(|(content, _)| Arc::clone(content)))?
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way; a poisoned store is still a store.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn touch(&mut self, id: ContentId) -> bool {
        let Some((_, tick)) = self.by_id.get_mut(&id) else { return false };
        self.by_age.remove(tick);
        self.tick += 1;
        *tick = self.tick;
        self.by_age.insert(self.tick, id);
        true
    }

    fn add(&mut self, id: ContentId, content: &[u8]) {
        self.tick += 1;
        self.bytes += content.len() + ENTRY_OVERHEAD_BYTES;
        self.by_id.insert(id, (content.into(), self.tick));
        self.by_age.insert(self.tick, id);
    }

    fn drop_oldest(&mut self) {
        if let Some((_, id)) = self.by_age.pop_first()
            && let Some((content, _)) = self.by_id.remove(&id)
        {
            self.bytes -= content.len() + ENTRY_OVERHEAD_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Contents, ENTRY_OVERHEAD_BYTES};
    use sync_proto::ContentId;

    fn id(number: u8) -> ContentId {
        ContentId([number; 32])
    }

    #[test]
    fn the_oldest_goes_first_and_a_look_makes_young() {
        let contents = Contents::new(3 * (100 + ENTRY_OVERHEAD_BYTES));
        for number in 0..3 {
            contents.insert(id(number), &[number; 100]);
        }
        assert_eq!(contents.get(id(0)).as_deref(), Some(&[0; 100][..]));
        contents.insert(id(3), &[3; 100]);
        assert_eq!(contents.get(id(1)), None);
        assert!(contents.get(id(0)).is_some() && contents.get(id(2)).is_some() && contents.get(id(3)).is_some());
    }

    #[test]
    fn a_scan_pushes_nothing_out() {
        let contents = Contents::new(100 + ENTRY_OVERHEAD_BYTES);
        contents.insert_if_room(id(0), &[0; 100]);
        contents.insert_if_room(id(1), &[1; 100]);
        assert!(contents.get(id(0)).is_some());
        assert_eq!(contents.get(id(1)), None);
    }
}
