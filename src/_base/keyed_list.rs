//! What a future keeps its waiters and its callbacks in.

/// A list in the order of pushing. What was pushed can be taken out by its key in the time of a binary
/// search, so that a thousand threads that wait for one future do not look through each other's
/// entries, under that future's lock, when they stop.
pub(super) struct KeyedList<V> {
    /// With keys that ascend. `None` is what was taken out; the last one is never that.
    entries: Vec<(usize, Option<V>)>,
}

impl<V> KeyedList<V> {
    pub(super) const fn new() -> Self {
        KeyedList {
            entries: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds something at the end, and returns the key to take it out with.
    pub(super) fn push(&mut self, value: V) -> usize {
        if self.entries.is_empty() {
            // Most lists never get a second entry, and `push` would make room for four.
            self.entries.reserve_exact(1);
        } else if self.entries.len() == self.entries.capacity() {
            // Before the list grows, the gaps in it go. As it doubles when it grows, that costs no more
            // than a few steps for each push.
            self.entries.retain(|(_, value)| value.is_some());
        }
        let key = self.entries.last().map_or(0, |(last, _)| last + 1);
        self.entries.push((key, Some(value)));
        key
    }

    /// Takes out what was pushed, if it is still there.
    pub(super) fn remove(&mut self, key: usize) -> Option<V> {
        let index = self.entries.binary_search_by_key(&key, |entry| entry.0);
        let value = self.entries[index.ok()?].1.take();
        while matches!(self.entries.last(), Some((_, None))) {
            self.entries.pop();
        }
        value
    }
}

impl<V> Default for KeyedList<V> {
    fn default() -> Self {
        KeyedList::new()
    }
}

impl<V> IntoIterator for KeyedList<V> {
    type Item = V;
    type IntoIter = std::iter::FilterMap<
        std::vec::IntoIter<(usize, Option<V>)>,
        fn((usize, Option<V>)) -> Option<V>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter().filter_map(|(_, value)| value)
    }
}
