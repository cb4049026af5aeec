//! Small damage to known inputs, decided by a seed.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What tends to be written where something else belongs.
const TOKENS: [&str; 24] = [
    "null",
    "true",
    "-1",
    "0",
    "1e308",
    "-1e999",
    "18446744073709551615",
    "9007199254740992",
    "\"\"",
    "{}",
    "[]",
    "{",
    "[",
    "\"",
    ",",
    ":",
    "\\ud800",
    "\u{0}",
    "\u{feff}",
    "../",
    "\n",
    "@",
    "?",
    "0001-01-01T00:00:00Z",
];

/// Damages one input.
pub struct Mutator(SmallRng);

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// One of the inputs with one to four damages.
    pub fn mutate(mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..self.0.random_range(1..=4) {
            self.damage(&mut input, corpus);
        }
        input
    }

    fn damage(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let (from, to) = self.range(input.len());
        match self.0.random_range(0..8) {
            0 if from < input.len() => input[from] ^= 1 << self.0.random_range(0..8),
            1 if from < input.len() => input[from] = self.0.random(),
            2 => drop(input.drain(from..to)),
            3 => input.truncate(from),
            4 => {
                let copy = input[from..to].to_vec();
                input.splice(to..to, copy);
            }
            5 => {
                let other = &corpus[self.below(corpus.len())];
                let (start, end) = self.range(other.len());
                input.splice(from..to, other[start..end].iter().copied());
            }
            6 => drop(input.splice(from..to, self.token())),
            _ => drop(input.splice(from..from, self.token())),
        }
    }

    fn token(&mut self) -> impl Iterator<Item = u8> + use<> {
        TOKENS[self.below(TOKENS.len())].bytes()
    }

    /// A piece of something so long, mostly a short one.
    fn range(&mut self, len: usize) -> (usize, usize) {
        let from = self.below(len + 1);
        let longest = if self.0.random_bool(0.8) { 12 } else { len };
        (from, (from + self.below(longest + 1)).min(len))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }
}
