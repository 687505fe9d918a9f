// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The sets that `wait` returns: sets of std, with a hasher for what is hashed by its identity.

use super::Core;
use std::collections::hash_set::{IntoIter, Iter};
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::iter::FromIterator;
use std::mem;
use std::ops::{BitAnd, BitOr, BitXor, Deref, DerefMut, Sub};

/// A set of futures, such as [`wait`](super::wait) returns: std's `HashSet`, into which it dereferences,
/// with a hasher of its own.
///
/// It can be compared with a `HashSet` of any hasher, and converted from and into the usual one, for a function
/// that takes nothing else.
///
/// ```
/// use concurrent_futures::{wait, Executor, ThreadPoolExecutor, ALL_COMPLETED};
/// use std::collections::HashSet;
///
/// let pool = ThreadPoolExecutor::new(1)?;
/// let future = pool.submit(|| 6 * 7)?;
/// let waited = wait([future.clone()], None, ALL_COMPLETED);
/// assert!(waited.done.contains(&future));
/// assert_eq!(waited.done, HashSet::from([future]));
/// let usual: HashSet<_> = waited.done.into();
/// assert_eq!(usual.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// CPython: the sets in `DoneAndNotDoneFutures` in `_base.py`.
pub struct FutureSet<F>(HashSet<F, BuildIdentityHasher>);

/// Makes an [`IdentityHasher`] for each key.
pub type BuildIdentityHasher = BuildHasherDefault<IdentityHasher>;

/// A hasher for keys whose hash is their address: [`Future`](super::Future), `AnyFuture`, and references to them.
///
/// Std's default defends a table against keys that an adversary has chosen, and scatters them over it. Nobody
/// chooses an address; and futures that were made one after the other lie one after the other in memory, mostly,
/// and then also in the table. So a set of a million is filled at nearly the pace of one of ten thousand. Keys of
/// other types are hashed, too, but numbers badly.
///
/// CPython: `object.__hash__`, which is the address without its alignment.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdentityHasher {
    hash: u64,
}

impl IdentityHasher {
    /// The bytes from one future to the next, where nothing lies between them, and where its result and its call
    /// take nothing: two counters of an `Arc`, and what they count.
    const CLOSEST: usize = 2 * mem::size_of::<usize>() + mem::size_of::<Core<(), ()>>();
    /// So many places in a row keep their order.
    const BLOCK: usize = 512;
    /// A region is that large: two to the power of this, in bytes. glibc's are.
    const REGION_BITS: u32 = 26;
    /// Two to the power of the bits of a word, divided by the golden ratio: the usual factor for mixing.
    const FACTOR: usize = 0x9e37_79b9_7f4a_7c15_u64 as usize;
}

impl Hasher for IdentityHasher {
    /// The table takes the place of a key from the low bits, and tells keys in one place apart by the top
    /// seven bits of a word. Those of an address are all alike, so they are mixed from all others.
    fn write_usize(&mut self, identity: usize) {
        const REST: usize = usize::MAX >> 7;
        let identity = identity ^ self.hash as usize;
        let mixed = identity.wrapping_mul(Self::FACTOR);
        // Two futures never have one place, and neighbours have neighbouring ones.
        let place = identity / Self::CLOSEST;
        // Large ones are often a power of two apart. Without this, they might all have one place.
        let place = place + (place >> 16);
        // Allocators have a region of memory for each of several threads, and these lie at even distances. Without
        // this, the futures of many threads might have the same places.
        let region = (identity >> Self::REGION_BITS).wrapping_mul(Self::FACTOR);
        let block = (place / Self::BLOCK).wrapping_add(region >> (usize::BITS / 2));
        // If the addresses go on beyond the end of the table, they begin anew at its front. Without this, that
        // part would be crowded, and searched for long, while the other has room.
        let block = block.wrapping_mul(Self::FACTOR);
        let place = block.wrapping_mul(Self::BLOCK) + place % Self::BLOCK;
        self.hash = ((place & REST) | (mixed & !REST)) as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let hash = (self.hash ^ u64::from(byte)).wrapping_mul(Self::FACTOR as u64);
            self.hash = hash ^ (hash >> 29);
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

impl<F> FutureSet<F> {
    /// An empty set.
    pub fn new() -> Self {
        FutureSet(HashSet::default())
    }

    /// An empty set with room for so many futures.
    pub fn with_capacity(capacity: usize) -> Self {
        FutureSet(HashSet::with_capacity_and_hasher(
            capacity,
            BuildIdentityHasher::default(),
        ))
    }
}

impl<F> Deref for FutureSet<F> {
    type Target = HashSet<F, BuildIdentityHasher>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<F> DerefMut for FutureSet<F> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<F> Default for FutureSet<F> {
    fn default() -> Self {
        FutureSet::new()
    }
}

impl<F: Clone> Clone for FutureSet<F> {
    fn clone(&self) -> Self {
        FutureSet(self.0.clone())
    }
}

impl<F: fmt::Debug> fmt::Debug for FutureSet<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<F: Eq + Hash> PartialEq for FutureSet<F> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<F: Eq + Hash> Eq for FutureSet<F> {}

impl<F: Eq + Hash, S: BuildHasher> PartialEq<HashSet<F, S>> for FutureSet<F> {
    fn eq(&self, other: &HashSet<F, S>) -> bool {
        self.len() == other.len() && self.iter().all(|future| other.contains(future))
    }
}

impl<F: Eq + Hash, S: BuildHasher> PartialEq<FutureSet<F>> for HashSet<F, S> {
    fn eq(&self, other: &FutureSet<F>) -> bool {
        other == self
    }
}

impl<F: Eq + Hash> FromIterator<F> for FutureSet<F> {
    fn from_iter<I: IntoIterator<Item = F>>(futures: I) -> Self {
        FutureSet(futures.into_iter().collect())
    }
}

impl<F: Eq + Hash> Extend<F> for FutureSet<F> {
    fn extend<I: IntoIterator<Item = F>>(&mut self, futures: I) {
        self.0.extend(futures);
    }
}

impl<F: Eq + Hash, S> From<HashSet<F, S>> for FutureSet<F> {
    fn from(futures: HashSet<F, S>) -> Self {
        futures.into_iter().collect()
    }
}

impl<F: Eq + Hash, const N: usize> From<[F; N]> for FutureSet<F> {
    fn from(futures: [F; N]) -> Self {
        // Edition 2018 takes the method for that of a slice.
        IntoIterator::into_iter(futures).collect()
    }
}

/// Hashes all of them anew.
impl<F: Eq + Hash> From<FutureSet<F>> for HashSet<F> {
    fn from(futures: FutureSet<F>) -> Self {
        // Edition 2018 takes the method for that of a slice.
        IntoIterator::into_iter(futures).collect()
    }
}

impl<F> IntoIterator for FutureSet<F> {
    type Item = F;
    type IntoIter = IntoIter<F>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, F> IntoIterator for &'a FutureSet<F> {
    type Item = &'a F;
    type IntoIter = Iter<'a, F>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Python's `&`: those that are in both.
impl<F: Clone + Eq + Hash> BitAnd for &FutureSet<F> {
    type Output = FutureSet<F>;

    fn bitand(self, other: Self) -> FutureSet<F> {
        FutureSet(&self.0 & &other.0)
    }
}

/// Python's `|`: those that are in one, or in both.
impl<F: Clone + Eq + Hash> BitOr for &FutureSet<F> {
    type Output = FutureSet<F>;

    fn bitor(self, other: Self) -> FutureSet<F> {
        FutureSet(&self.0 | &other.0)
    }
}

/// Python's `^`: those that are in one only.
impl<F: Clone + Eq + Hash> BitXor for &FutureSet<F> {
    type Output = FutureSet<F>;

    fn bitxor(self, other: Self) -> FutureSet<F> {
        FutureSet(&self.0 ^ &other.0)
    }
}

/// Python's `-`: those that are in the first only.
impl<F: Clone + Eq + Hash> Sub for &FutureSet<F> {
    type Output = FutureSet<F>;

    fn sub(self, other: Self) -> FutureSet<F> {
        FutureSet(&self.0 - &other.0)
    }
}
