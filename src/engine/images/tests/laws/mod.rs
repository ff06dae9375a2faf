//! Laws that hold for all layers, tried on generated ones: a layer unpacks to what GNU tar makes of it; layers one on the
//! other show what a serial reference in memory says; and it does not matter how many are pulled at a time.
//!
//! Every case has a seed, which a failure names. `SETPOINT_TEST_SEED` runs that one only, and `SETPOINT_TEST_CASES` sets how
//! many are run.

mod encode;
mod generate;
mod peers;
mod reference;
pub(super) mod snapshot;
mod stacks;

use std::ops::Range;

pub(super) use stacks::{archive, shown};

/// The same numbers for the same seed. Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators".
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// True in one of `of` cases.
    fn once_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// The seeds of a law's cases.
fn seeds(law: &str, cases: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match (number("SETPOINT_TEST_SEED"), number("SETPOINT_TEST_CASES")) {
        (Some(seed), _) => seed..seed + 1,
        (None, cases_wanted) => {
            let base = u64::from(law.bytes().map(u32::from).sum::<u32>()) * 1_000_000;
            base..base + cases_wanted.unwrap_or(cases)
        }
    }
}
