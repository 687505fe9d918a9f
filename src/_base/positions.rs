// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Which of the futures that were given: a bit for each, so that a million take 125 kB, and come out in the
//! order given without being sorted.

/// A set of positions.
#[derive(Default)]
pub(super) struct Positions {
    words: Vec<u64>,
    /// No word before this one has a bit left.
    first_word: usize,
}

impl Positions {
    /// Room for the positions below `len`; nothing is in it yet.
    pub(super) fn new(len: usize) -> Self {
        Positions {
            words: vec![0; (len + 63) / 64],
            first_word: 0,
        }
    }

    /// Not below one that was popped.
    pub(super) fn insert(&mut self, position: usize) {
        self.words[position / 64] |= 1 << (position % 64);
    }

    pub(super) fn contains(&self, position: usize) -> bool {
        self.words[position / 64] >> (position % 64) & 1 == 1
    }

    pub(super) fn len(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            // Without its lowest bit, and so on, until there is none.
            let rests = std::iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)));
            let rests = rests.take_while(|&word| word != 0);
            rests.map(move |word| 64 * index + word.trailing_zeros() as usize)
        })
    }

    /// Takes the lowest out.
    pub(super) fn pop_first(&mut self) -> Option<usize> {
        loop {
            let word = self.words.get_mut(self.first_word)?;
            if *word != 0 {
                let bit = word.trailing_zeros() as usize;
                *word &= *word - 1;
                return Some(64 * self.first_word + bit);
            }
            self.first_word += 1;
        }
    }
}

/// The futures that [`as_completed`](super::as_completed) has seen to be done, and has not yielded yet.
pub(super) struct Finished {
    /// Those that were done at the call, to be yielded in the order given.
    before: Positions,
    /// The others, in the order in which they finished. Of the list, as many as `taken` were yielded.
    since: Vec<usize>,
    taken: usize,
}

impl Finished {
    pub(super) fn new(before: Positions) -> Self {
        Finished {
            before,
            since: Vec::new(),
            taken: 0,
        }
    }

    /// The list that is to get the next ones, when all are yielded. It keeps its memory, and so does the one that
    /// it is swapped with.
    pub(super) fn list(&mut self) -> &mut Vec<usize> {
        self.since.clear();
        self.taken = 0;
        &mut self.since
    }
}

impl Iterator for Finished {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.before.pop_first().or_else(|| {
            let position = *self.since.get(self.taken)?;
            self.taken += 1;
            Some(position)
        })
    }
}
