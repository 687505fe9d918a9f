//! The sets that `wait` returns: what std's sets can do, beside these themselves, and how well identities
//! are spread over them.
#![allow(clippy::mutable_key_type)] // Its hash is its identity.

use concurrent_futures::{
    wait, AnyFuture, BuildIdentityHasher, Executor, Future, FutureSet, ThreadPoolExecutor,
    ALL_COMPLETED, FIRST_COMPLETED,
};
use std::collections::hash_map::{DefaultHasher, RandomState};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash};
use std::time::Duration;

fn futures(number: usize) -> Vec<Future<usize>> {
    (0..number).map(|_| Future::new()).collect()
}

#[test]
fn what_was_written_for_sets_of_std() {
    let all = futures(3);
    all[1].set_result(1).unwrap();
    let waited = wait(all.clone(), None, FIRST_COMPLETED);
    assert!(waited.done.contains(&all[1]));
    assert!(!waited.done.contains(&all[0]));
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 2));
    assert!(!waited.done.is_empty());
    assert_eq!(waited.done, HashSet::from([all[1].clone()]));
    assert_eq!(HashSet::from([all[1].clone()]), waited.done);
    assert_ne!(waited.not_done, HashSet::new());
    assert_ne!(waited.done, HashSet::from([all[0].clone()]));
    assert!(waited.done.is_disjoint(&waited.not_done));
    assert!(waited.done.iter().all(Future::done));
    for future in &waited.not_done {
        assert!(!future.done());
    }
    let known: HashSet<_> = waited.done.clone().into();
    assert!(known.contains(&all[1]));
    assert_eq!(format!("{:?}", waited.done), format!("{{{:?}}}", all[1]));
    let mut rest = waited.not_done;
    assert!(rest.remove(&all[0]));
    assert_eq!(rest.drain().next(), Some(all[2].clone()));
    assert!(rest.insert(all[2].clone()) && !rest.insert(all[2].clone()));
    assert_eq!(rest.get(&all[2]), Some(&all[2]));
    // What is not done is waited for again, as in Python.
    let again = wait(rest, Duration::ZERO, ALL_COMPLETED);
    assert!(again.done.is_empty());
    assert_eq!(again.not_done.into_iter().count(), 1);
}

#[test]
fn pythons_operators() {
    let all = futures(4);
    let set =
        |numbers: &[usize]| -> FutureSet<_> { numbers.iter().map(|&n| all[n].clone()).collect() };
    let (one, other) = (set(&[0, 1, 2]), set(&[2, 3]));
    assert_eq!(&one & &other, set(&[2]));
    assert_eq!(&one | &other, set(&[0, 1, 2, 3]));
    assert_eq!(&one ^ &other, set(&[0, 1, 3]));
    assert_eq!(&one - &other, set(&[0, 1]));
    assert!(set(&[2]).is_subset(&one) && one.is_superset(&set(&[0, 1])));
    assert_eq!(one.union(&other).count(), 4);
    assert_eq!(one, set(&[2, 1, 0]));
    assert_ne!(one, other);
    assert_ne!(one, set(&[0, 1, 3]));
}

#[test]
fn sets_with_any_hasher_are_equal_to_it() {
    type Fixed = BuildHasherDefault<DefaultHasher>;
    let all = futures(5);
    let set: FutureSet<_> = all.iter().cloned().collect();
    let fixed: HashSet<_, Fixed> = all.iter().cloned().collect();
    let random: HashSet<_, RandomState> = all.iter().cloned().collect();
    assert_eq!(set, fixed);
    assert_eq!(fixed, set);
    assert_eq!(set, random);
    assert_eq!(random, set);
    assert_eq!(FutureSet::from(fixed), set);
    assert_eq!(FutureSet::from(random.clone()), set);
    assert_eq!(HashSet::from(set.clone()), random);
    let mut smaller = random;
    smaller.remove(&all[0]);
    assert_ne!(set, smaller);
    assert_ne!(smaller, set);
    smaller.insert(Future::new());
    assert_ne!(set, smaller);
    assert_ne!(smaller, set);
    let mut extended = FutureSet::from([all[0].clone()]);
    extended.extend(all.clone());
    assert_eq!(extended, set);
    assert_eq!(FutureSet::<Future<()>>::new(), FutureSet::default());
    assert!(FutureSet::<Future<()>>::with_capacity(100).capacity() >= 100);
}

#[test]
fn references_and_handles_without_a_type() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let typed: Vec<_> = (0..20).map(|n| pool.submit(move || n).unwrap()).collect();
    let waited = wait(&typed, None, ALL_COMPLETED);
    assert_eq!(waited.done, typed.iter().collect::<HashSet<_>>());
    // Each twice: a set has it once.
    let any: Vec<AnyFuture> = typed.iter().chain(&typed).map(AnyFuture::from).collect();
    let waited = wait(any.clone(), None, ALL_COMPLETED);
    assert_eq!(waited.done.len(), typed.len());
    assert_eq!(waited.done, any.into_iter().collect::<HashSet<_>>());
    assert!(waited.done.contains(&AnyFuture::from(&typed[7])));
    pool.shutdown();
}

#[test]
fn as_a_key_with_a_value() {
    let all = futures(100);
    let mut numbers: HashMap<_, _, BuildIdentityHasher> = HashMap::default();
    numbers.extend(all.iter().cloned().zip(0..));
    for (number, future) in all.iter().enumerate() {
        assert_eq!(numbers.get(&future.clone()), Some(&number));
    }
    assert_eq!(numbers.get(&Future::new()), None);
}

#[test]
fn keys_of_other_types() {
    let mut set = HashSet::<String, BuildIdentityHasher>::default();
    set.extend((0..1000).map(|n| format!("key {n}")));
    assert!((0..1000).all(|n| set.contains(&format!("key {n}"))));
    assert_eq!(set.len(), 1000);
    let hashes: HashSet<_> = (0..1000_u32).map(|n| hash(&(n, "text"))).collect();
    assert!(hashes.len() > 990, "{} of 1000", hashes.len());
}

fn hash(key: &impl Hash) -> u64 {
    BuildIdentityHasher::default().hash_one_of(key)
}

/// `BuildHasher::hash_one`, which came later than Rust 1.63.
trait HashOne: BuildHasher {
    fn hash_one_of(&self, key: &impl Hash) -> u64 {
        use std::hash::Hasher;
        let mut hasher = self.build_hasher();
        key.hash(&mut hasher);
        hasher.finish()
    }
}

impl HashOne for BuildIdentityHasher {}

/// However far the allocator puts them apart. A table looks at sixteen places at a time, and tells what it finds
/// there apart by seven bits.
#[test]
fn identities_are_well_spread() {
    const KEYS: usize = 4096;
    const PLACES: u64 = 2 * KEYS as u64;
    let powers = (7..=24).map(|power| 1 << power);
    let others = [144, 160, 208, 240, 272, 400, 1040, 4112, 15_360, 69_632];
    for stride in powers.chain(others) {
        let keys = identities(KEYS, stride).map(|identity| hash(&identity));
        let (mut places, mut tags) = (BTreeSet::new(), BTreeSet::new());
        let mut all = HashSet::new();
        for hash in keys {
            places.insert(hash % PLACES);
            tags.insert(hash >> (usize::BITS - 7) & 127);
            all.insert(hash);
        }
        assert!(
            places.len() >= KEYS / 16,
            "{stride}: {} places",
            places.len()
        );
        assert!(tags.len() >= 120, "{stride}: {} tags", tags.len());
        assert!(
            all.len() >= KEYS - KEYS / 64,
            "{stride}: {} hashes",
            all.len()
        );
    }
}

/// What lies side by side in memory does so in the table.
#[test]
fn neighbours_stay_neighbours() {
    let places: Vec<_> = identities(10_000, 128).map(|it| hash(&it) as u32).collect();
    let is_near = |pair: &&[u32]| pair[1].wrapping_sub(pair[0]) <= 2;
    let near = places.windows(2).filter(is_near).count();
    assert!(near > 9_500, "{near} of 9999");
}

/// Futures that take more addresses than the table has places do not crowd any part of it.
#[test]
fn no_part_of_the_table_is_crowded() {
    const PLACES: usize = 1 << 18;
    const KEYS: usize = PLACES / 8 * 7;
    for stride in [128, 144, 160, 192, 208, 240, 320, 1024] {
        let mut parts = vec![0; PLACES / 8192];
        for identity in identities(KEYS, stride) {
            parts[hash(&identity) as usize % PLACES / 8192] += 1;
        }
        let fullest = parts.iter().max().unwrap();
        assert!(*fullest < 8192 * 21 / 20, "{stride}: {parts:?}");
    }
}

/// An allocator has a region for each of several threads, at even distances. Futures that many threads have made do
/// not have their places one upon another: to put one in, a table looks at a few groups of sixteen places.
#[test]
fn what_several_threads_have_made_is_well_spread() {
    for bits in [12, 16] {
        let places = 1_usize << bits;
        let number = places / 8 * 7;
        // So many regions fit into the addresses.
        let threads = [2, 4, 8, 16, 64, 256].into_iter();
        for threads in threads.filter(|&threads| threads <= usize::MAX >> 26) {
            for stride in [128, 192] {
                let place_of = |n: usize| {
                    let identity = (n % threads) * (64 << 20) + (n / threads) * stride;
                    hash(&(0x7f3c_5401_2340_u64 as usize).wrapping_add(identity)) as usize
                };
                let mut taken = vec![false; places];
                let groups: usize = (0..number).map(|n| put_in(&mut taken, place_of(n))).sum();
                assert!(
                    groups < 8 * number,
                    "{number} of {threads} threads, {stride}: {groups} groups"
                );
            }
        }
    }
}

/// Takes a place as std's table does. Returns at how many groups it has looked.
fn put_in(taken: &mut [bool], place: usize) -> usize {
    let mask = taken.len() - 1;
    let (mut first, mut groups) = (place & mask, 1);
    loop {
        let mut group = (first..first + 16).map(|place| place & mask);
        if let Some(free) = group.find(|&place| !taken[place]) {
            taken[free] = true;
            return groups;
        }
        first += 16 * groups;
        groups += 1;
    }
}

fn identities(number: usize, stride: usize) -> impl Iterator<Item = usize> {
    let base = 0x7f3c_5401_2340_u64 as usize;
    (0..number).map(move |n| base.wrapping_add(n * stride))
}

#[test]
fn every_future_is_in_one_of_the_two() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    for number in [0, 1, 63, 64, 65, 200] {
        // Every third is done, every fifth is given twice, and the rest are not done.
        let all = futures(number);
        for future in all.iter().step_by(3) {
            future.set_result(1).unwrap();
        }
        let twice: Vec<_> = all.iter().chain(all.iter().step_by(5)).cloned().collect();
        for return_when in [ALL_COMPLETED, FIRST_COMPLETED] {
            let waited = wait(twice.clone(), Duration::ZERO, return_when);
            let done: HashSet<_> = all.iter().step_by(3).cloned().collect();
            assert_eq!(waited.done, done);
            assert_eq!(waited.done.len() + waited.not_done.len(), number);
            let both = &waited.done | &waited.not_done;
            assert_eq!(both, all.iter().cloned().collect::<HashSet<_>>());
        }
        // With those of a pool, which are done meanwhile.
        let calls: Vec<_> = (0..number)
            .map(|n| pool.submit(move || n).unwrap())
            .collect();
        let waited = wait(calls.clone(), None, ALL_COMPLETED);
        assert!(waited.not_done.is_empty());
        assert_eq!(waited.done, calls.into_iter().collect::<HashSet<_>>());
    }
    pool.shutdown();
}
