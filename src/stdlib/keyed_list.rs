//! What Python's `dict` is used for: a list from which anything can be taken out, wherever it stands.

/// A list in the order of pushing. What was pushed can be taken out by its key in the time of a binary
/// search, so that a thousand threads that wait for one future do not look through each other's
/// entries, under that future's lock, when they stop.
pub(in super::super) struct KeyedList<V> {
    /// With keys that ascend. `None` is what was taken out; the last one is never that.
    entries: Vec<(usize, Option<V>)>,
}

impl<V> KeyedList<V> {
    pub(in super::super) const fn new() -> Self {
        KeyedList {
            entries: Vec::new(),
        }
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds something at the end, and returns the key to take it out with.
    pub(in super::super) fn push(&mut self, value: V) -> usize {
        if self.entries.is_empty() {
            // Most lists never get a second entry, and `push` would make room for four.
            self.entries.reserve_exact(1);
        } else if self.entries.len() == self.entries.capacity() {
            // If half of the entries are gaps, these go. Else the list grows, to twice its size. Either
            // way, the next look at them all is as many pushes away as half of them are, or more.
            let live = self.iter().count();
            if live <= self.entries.len() / 2 {
                self.entries.retain(|(_, value)| value.is_some());
            }
        }
        let key = self.entries.last().map_or(0, |(last, _)| last + 1);
        self.entries.push((key, Some(value)));
        key
    }

    /// Takes out what was pushed, if it is still there.
    pub(in super::super) fn remove(&mut self, key: usize) -> Option<V> {
        let index = self.entries.binary_search_by_key(&key, |entry| entry.0);
        let value = self.entries[index.ok()?].1.take();
        while matches!(self.entries.last(), Some((_, None))) {
            self.entries.pop();
        }
        value
    }
}

impl<V> KeyedList<V> {
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().filter_map(|(_, value)| value.as_ref())
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
