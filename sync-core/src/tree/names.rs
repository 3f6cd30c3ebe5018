//! The names of one page, packed into one allocation.
//!
//! Layout: the end of each name, counted from the first byte of the first name, then the names one after the other. An
//! end takes two bytes, or eight in a page that holds more than 64 KiB of names: only names chosen to that end make one.

/// Names in one allocation, of exactly the size they need.
#[derive(Clone, Default)]
pub(super) struct Names {
    bytes: Box<[u8]>,
    count: u32,
    wide: bool,
}

const NARROW: usize = size_of::<u16>();
const WIDE: usize = size_of::<u64>();

impl Names {
    /// Packs `names`, in the order in which they come.
    pub(super) fn pack<'a>(names: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let (count, total) = names.clone().fold((0u32, 0), |(count, total), name| (count + 1, total + name.len()));
        let wide = total > usize::from(u16::MAX);
        let width = if wide { WIDE } else { NARROW };
        let mut bytes = Vec::with_capacity(count as usize * width + total);
        let mut end = 0;
        for name in names.clone() {
            end += name.len();
            match u16::try_from(end) {
                Ok(end) if !wide => bytes.extend_from_slice(&end.to_le_bytes()),
                _ => bytes.extend_from_slice(&(end as u64).to_le_bytes()),
            }
        }
        names.for_each(|name| bytes.extend_from_slice(name));
        Self { bytes: bytes.into_boxed_slice(), count, wide }
    }

    /// Packs `names`, which stand one after the other and end at `ends`.
    pub(super) fn packed(ends: &[usize], names: &[u8]) -> Self {
        let wide = names.len() > usize::from(u16::MAX);
        let mut bytes = Vec::with_capacity(ends.len() * if wide { WIDE } else { NARROW } + names.len());
        for end in ends {
            match u16::try_from(*end) {
                Ok(end) if !wide => bytes.extend_from_slice(&end.to_le_bytes()),
                _ => bytes.extend_from_slice(&(*end as u64).to_le_bytes()),
            }
        }
        bytes.extend_from_slice(names);
        Self { bytes: bytes.into_boxed_slice(), count: ends.len() as u32, wide }
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    /// The name at `index`.
    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        if index >= self.len() {
            return None;
        }
        let names = self.bytes.get(self.len() * if self.wide { WIDE } else { NARROW }..)?;
        let start = if index == 0 { 0 } else { self.end(index - 1)? };
        names.get(start..self.end(index)?)
    }

    /// The names in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Where `name` is, or where it would have to be put. The names must be in order.
    pub(super) fn search(&self, name: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).map_or(std::cmp::Ordering::Greater, |found| found.cmp(name)) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The same names with `name` before the one at `index`.
    pub(super) fn with(&self, index: usize, name: &[u8]) -> Self {
        Self::pack(self.iter().take(index).chain(std::iter::once(name)).chain(self.iter().skip(index)))
    }

    /// The same names without the one at `index`.
    pub(super) fn without(&self, index: usize) -> Self {
        Self::pack(self.iter().take(index).chain(self.iter().skip(index + 1)))
    }

    fn end(&self, index: usize) -> Option<usize> {
        if self.wide {
            let end = self.bytes.get(index * WIDE..)?.first_chunk()?;
            usize::try_from(u64::from_le_bytes(*end)).ok()
        } else {
            let end = self.bytes.get(index * NARROW..)?.first_chunk()?;
            Some(usize::from(u16::from_le_bytes(*end)))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::Names;

    #[track_caller]
    fn check(names: &[Vec<u8>]) {
        let packed = Names::pack(names.iter().map(Vec::as_slice));
        assert_eq!(packed.len(), names.len());
        assert_eq!(packed.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), names);
        assert_eq!(packed.get(names.len()), None);
        let ends: Vec<usize> = (0..names.len()).map(|index| names[..=index].concat().len()).collect();
        assert_eq!(Names::packed(&ends, &names.concat()).bytes, packed.bytes);
        for (index, name) in names.iter().enumerate() {
            assert_eq!(packed.search(name), Ok(index));
            let mut after = name.clone();
            after.push(0);
            assert_eq!(packed.search(&after), Err(index + 1));
            assert_eq!(packed.without(index).with(index, name).bytes, packed.bytes);
        }
    }

    #[test]
    fn packs_and_finds() {
        check(&[]);
        check(&[b"a".to_vec()]);
        check(&[b"a".to_vec(), b"aa".to_vec(), b"b".to_vec(), vec![255; 255]]);
        check(&(0..257u32).map(|n| format!("{n:0255}").into_bytes()).collect::<Vec<_>>());
    }

    #[test]
    fn ends_take_two_bytes_up_to_64_kib_of_names() {
        let name = [b'x'; 255];
        assert_eq!(Names::pack((0..257).map(|_| &name[..])).bytes.len(), 257 * 257);
        assert_eq!(Names::pack((0..258).map(|_| &name[..])).bytes.len(), 258 * 263);
        let ends: Vec<usize> = (1..=258).map(|count| count * 255).collect();
        assert_eq!(Names::packed(&ends, &name.repeat(258)).bytes.len(), 258 * 263);
    }
}
