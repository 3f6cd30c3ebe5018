//! Content that beta sent along with the news of a change, until it is wanted.
//!
//! By content id, in memory, bounded: losing any of it costs a round trip, nothing else. What it really is shows when it is
//! put in its place, where its hash is checked.

use std::collections::{HashMap, VecDeque};

use sync_proto::{
    ContentId, Entry,
    limits::INLINE_CONTENT_BYTES_MAX,
    message::{Blob, Bounded, Changes, Content, Pushed},
};

/// Most bytes that are kept, overhead included.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// Counted for an item beside its bytes.
const ITEM_BYTES: usize = 160;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct PushedContents {
    by_id: HashMap<ContentId, Pushed>,
    by_age: VecDeque<ContentId>,
    bytes: usize,
}

impl PushedContents {
    /// Takes out of the news what content came with them.
    pub(super) fn keep(&mut self, news: Changes) -> Changes {
        let Changes { changes, settled, complete, problems, age_micros } = news;
        let mut changes = changes.into_vec();
        for change in &mut changes {
            if let (Some(pushed), Some(Entry::File { content, len, .. })) = (change.content.take(), &change.entry) {
                self.insert(*content, *len, pushed);
            }
        }
        Changes { changes: Bounded::first(changes), settled, complete, problems, age_micros }
    }

    /// Content as an operation carries it that replaces a file of content `old`; `None` where it was not pushed, or against
    /// another base.
    pub(super) fn get(&self, id: ContentId, old: Option<ContentId>) -> Option<Content> {
        let blob = |bytes: &[u8]| Blob::<INLINE_CONTENT_BYTES_MAX>::new(bytes.to_vec()).ok();
        match self.by_id.get(&id)? {
            Pushed::Raw(bytes) => blob(bytes).map(Content::Raw),
            Pushed::Zstd(bytes) => blob(bytes).map(Content::Zstd),
            Pushed::Delta { base, delta } if old == Some(*base) => blob(delta).map(Content::Delta),
            Pushed::Delta { .. } => None,
        }
    }

    fn insert(&mut self, id: ContentId, len: u64, pushed: Pushed) {
        let fits = match &pushed {
            Pushed::Raw(bytes) => bytes.len() as u64 == len,
            Pushed::Zstd(bytes) | Pushed::Delta { delta: bytes, .. } => bytes.len() as u64 <= len,
        };
        // The latest is the likeliest to be of use: the same content may have come against another base before.
        if !fits {
            return;
        }
        self.bytes += cost(&pushed);
        match self.by_id.insert(id, pushed) {
            Some(before) => self.bytes -= cost(&before),
            None => self.by_age.push_back(id),
        }
        while self.bytes > KEPT_BYTES_MAX
            && let Some(oldest) = self.by_age.pop_front()
            && let Some(pushed) = self.by_id.remove(&oldest)
        {
            self.bytes -= cost(&pushed);
        }
    }
}

fn cost(pushed: &Pushed) -> usize {
    let (Pushed::Raw(bytes) | Pushed::Zstd(bytes) | Pushed::Delta { delta: bytes, .. }) = pushed;
    ITEM_BYTES + bytes.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sync_proto::{
        SyncPath,
        message::{Change, Problems},
    };

    use super::*;

    const BASE: ContentId = ContentId([7; 32]);

    fn id(number: u32) -> ContentId {
        ContentId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    fn news(number: u32, len: u64, pushed: Pushed) -> Changes {
        let entry = Entry::File { content: id(number), len, executable: false };
        let path = SyncPath::parse(b"f").unwrap();
        let changes = Bounded::new(vec![Change { path, entry: Some(entry), content: Some(pushed) }]).unwrap();
        Changes { changes, settled: true, complete: true, problems: Problems::new([]), age_micros: 0 }
    }

    fn raw(bytes: &[u8]) -> Pushed {
        Pushed::Raw(Blob::new(bytes.to_vec()).unwrap())
    }

    #[test]
    fn what_was_pushed_is_given_where_its_base_is_what_is_replaced() {
        let mut contents = PushedContents::default();
        let news_left = contents.keep(news(1, 3, raw(b"abc")));
        assert!(news_left.changes.iter().all(|change| change.content.is_none()));
        assert!(matches!(contents.get(id(1), None), Some(Content::Raw(bytes)) if *bytes == *b"abc"));
        let delta = Pushed::Delta { base: BASE, delta: Blob::new(vec![1]).unwrap() };
        contents.keep(news(2, 9, delta));
        assert!(matches!(contents.get(id(2), Some(BASE)), Some(Content::Delta(_))));
        assert_eq!(contents.get(id(2), None), None);
        assert_eq!(contents.get(id(2), Some(id(1))), None);
        assert_eq!(contents.get(id(3), None), None);
    }

    #[test]
    fn what_can_t_be_it_is_not_kept() {
        let mut contents = PushedContents::default();
        contents.keep(news(1, 4, raw(b"abc")));
        contents.keep(news(2, 2, Pushed::Zstd(Blob::new(vec![0; 3]).unwrap())));
        assert_eq!((contents.get(id(1), None), contents.get(id(2), None)), (None, None));
        assert_eq!(contents.bytes, 0);
    }

    #[test]
    fn the_oldest_goes_where_there_is_too_much() {
        let mut contents = PushedContents::default();
        let large = vec![5; 64 << 10];
        for number in 0..300 {
            contents.keep(news(number % 150, large.len() as u64, raw(&large)));
            assert!(contents.bytes <= KEPT_BYTES_MAX);
        }
        assert_eq!(contents.by_id.len(), contents.by_age.len());
        assert!(contents.get(id(149), None).is_some() && contents.get(id(0), None).is_none());
    }
}
