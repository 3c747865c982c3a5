//! Whether a stream of photos is still like the good photos that a profile was enrolled with: conformal test martingales
//! (Vovk, Nouretdinov and Gammerman, Testing exchangeability on-line, ICML 2003).
//!
//! Each new number gets a p-value among all numbers before it. If nothing changed, the order of the numbers is random, so the
//! p-values are independent and uniform. A gambler bets against that. Its capital starts at 1. Without a change it reaches
//! `c` at some time with a probability of at most `1 / c` (Ville's inequality), so an alarm has a known false-alarm rate however
//! often one looks.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How often the Simple Jumper changes its mind (Vovk et al., Retrain or not retrain, COPA 2021, section 3).
const JUMP: f64 = 0.01;
/// More is not counted: it is beyond doubt.
const BEYOND_DOUBT: f64 = 1e9;

/// How a stream of numbers went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    /// The highest capital, at most 1e9: how much speaks against the stream. The false-alarm rate of an alarm at this capital
    /// is at most its inverse.
    pub evidence: f64,
    /// The number, counted from 0, at which the capital was first high enough.
    pub alarm: Option<usize>,
    /// The number at which the rise began that ended in the alarm, or in the highest capital. The change was about there.
    pub since: usize,
}

/// Bets against a stream that should be like the `usual` numbers. An alarm needs a capital of `needed`. `seed`: equal numbers
/// have an order by chance. None without usual numbers, or without a stream.
pub fn watch(usual: &[f32], stream: &[f32], needed: f64, seed: u64) -> Option<Course> {
    if usual.is_empty() || stream.is_empty() {
        return None;
    }
    let mut purse = Purse::default();
    let (mut lowest, mut lowest_at) = (1.0, 0);
    let mut course = Course { evidence: 1.0, alarm: None, since: 0 };
    for (i, p) in p_values(usual, stream, seed).into_iter().enumerate() {
        let capital = purse.bet(p);
        if capital > course.evidence {
            course.evidence = capital.min(BEYOND_DOUBT);
            if course.alarm.is_none() {
                course.since = lowest_at;
            }
        }
        if capital >= needed && course.alarm.is_none() {
            course.alarm = Some(i);
        }
        if capital < lowest {
            (lowest, lowest_at) = (capital, i + 1);
        }
        if capital >= BEYOND_DOUBT {
            break;
        }
    }
    Some(course)
}

/// The Simple Jumper: three gamblers bet on small p-values, on none, and on large ones. Now and then one becomes another.
/// While nothing changes they lose. So half of the money waits, and a part of it joins them before each bet. Then a change
/// after very many numbers is still seen soon.
struct Purse {
    gamblers: [f64; 3],
    /// How many bets there were. `1 / (bets + 2)` of the first capital waits.
    bets: f64,
}

impl Default for Purse {
    fn default() -> Self {
        Self { gamblers: [1.0 / 6.0; 3], bets: 0.0 }
    }
}

impl Purse {
    /// The whole capital after a bet on this p-value.
    fn bet(&mut self, p: f64) -> f64 {
        let waiting = 1.0 / (self.bets + 3.0);
        let joins = 1.0 / (self.bets + 2.0) - waiting;
        let all: f64 = self.gamblers.iter().sum();
        for (gambler, side) in self.gamblers.iter_mut().zip([-1.0, 0.0, 1.0]) {
            *gambler = (1.0 - JUMP) * *gambler + (JUMP * all + joins) / 3.0;
            *gambler *= 1.0 + side * (p - 0.5);
        }
        self.bets += 1.0;
        self.gamblers.iter().sum::<f64>() + waiting
    }
}

/// The share of numbers so far that are higher, the number itself included. Equal numbers are in an order by chance.
fn p_values(usual: &[f32], stream: &[f32], seed: u64) -> Vec<f64> {
    let mut values = [usual, stream].concat();
    values.sort_by(f32::total_cmp);
    // Unlike `==`, this tells 0 from -0, as `place` does.
    values.dedup_by(|a, b| a.total_cmp(b).is_eq());
    let place = |value: f32| values.partition_point(|other| other.total_cmp(&value).is_lt());
    let mut counts = Counts(vec![0; values.len() + 1]);
    usual.iter().for_each(|value| counts.add(place(*value)));
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let p_value = |(i, value): (usize, &f32)| {
        let (place, before) = (place(*value), usual.len() + i);
        let not_higher = counts.below(place + 1);
        let equal = not_higher - counts.below(place);
        counts.add(place);
        let share = chance.random_range(0.0..1.0);
        ((before - not_higher) as f64 + share * (equal + 1) as f64) / (before + 1) as f64
    };
    stream.iter().enumerate().map(p_value).collect()
}

/// How many numbers are at each place: a Fenwick tree.
struct Counts(Vec<usize>);

impl Counts {
    fn add(&mut self, place: usize) {
        let mut at = place + 1;
        while at < self.0.len() {
            self.0[at] += 1;
            at += at & at.wrapping_neg();
        }
    }

    /// How many are at places below this one.
    fn below(&self, place: usize) -> usize {
        let (mut at, mut sum) = (place, 0);
        while at > 0 {
            sum += self.0[at];
            at -= at & at.wrapping_neg();
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(count: usize, shift: f32, seed: u64) -> Vec<f32> {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| chance.random_range(0.0f32..1.0).powi(3) + shift).collect()
    }

    #[test]
    fn p_values_count_what_is_higher() {
        // Of the numbers so far, 2 of 4 are higher, then none, then all but itself.
        let p = p_values(&[1.0, 2.0, 3.0, 4.0], &[2.5, 9.0, 0.5], 1);
        for (p, (low, high)) in p.into_iter().zip([(0.4, 0.6), (0.0, 1.0 / 6.0), (6.0 / 7.0, 1.0)])
        {
            assert!((low..=high).contains(&p), "{p}");
        }
        // Equal numbers: anything.
        assert!(p_values(&[1.0; 99], &[1.0; 200], 1).into_iter().any(|p| p < 0.1));
    }

    /// The promise, whatever the numbers are.
    #[test]
    fn false_alarms_are_as_rare_as_promised() {
        let rounds = 400;
        let alarms = (0..rounds).filter(|round| {
            let all = drawn(230, 0.0, *round);
            watch(&all[..30], &all[30..], 20.0, *round).unwrap().alarm.is_some()
        });
        // 5 % and two standard deviations.
        assert!(alarms.count() <= 28);
    }

    #[test]
    fn a_change_is_found_in_both_directions_and_its_place_is_told() {
        for (shift, rounds) in [(0.5, 20), (-0.5, 20)] {
            for round in 0..rounds {
                let stream =
                    [drawn(100, 0.0, 500 + round), drawn(100, shift, 900 + round)].concat();
                let course = watch(&drawn(100, 0.0, round), &stream, 1000.0, 0).unwrap();
                let alarm = course.alarm.unwrap_or_else(|| panic!("{shift} {round} {course:?}"));
                assert!((100..170).contains(&alarm), "{shift} {round} {course:?}");
                assert!(course.since < alarm && course.evidence >= 1000.0);
            }
        }
        assert_eq!(watch(&[], &[1.0], 100.0, 0), None);
        assert_eq!(watch(&[1.0], &[], 100.0, 0), None);
    }

    #[test]
    fn a_change_after_very_many_numbers_is_seen() {
        let stream = [drawn(100_000, 0.0, 1), drawn(300, 0.5, 2)].concat();
        let course = watch(&drawn(100, 0.0, 3), &stream, 400.0, 0).unwrap();
        assert!((100_000..100_150).contains(&course.alarm.unwrap()), "{course:?}");
        assert!((99_000..100_150).contains(&course.since), "{course:?}");
        // Beyond doubt is a number, too.
        let course = watch(&[0.0; 50], &[1.0; 5000], 400.0, 0).unwrap();
        assert!(course.evidence <= BEYOND_DOUBT && course.alarm.is_some(), "{course:?}");
    }

    #[test]
    fn zeros_of_both_signs_are_numbers() {
        let course = watch(&[0.0; 24], &[-0.0, 0.0, -0.0], 400.0, 0).unwrap();
        assert_eq!(course.alarm, None);
    }

    #[test]
    fn the_martingale_is_fair() {
        // The mean of the capital over uniform p-values stays 1.
        let (mut sum, rounds, steps) = (0.0, 4000, 8);
        for round in 0..rounds {
            let mut chance = ChaCha8Rng::seed_from_u64(round);
            let (mut purse, mut capital) = (Purse::default(), 1.0);
            for _ in 0..steps {
                capital = purse.bet(chance.random_range(0.0..1.0));
            }
            sum += capital;
        }
        assert!((sum / rounds as f64 - 1.0).abs() < 0.02, "{}", sum / rounds as f64);
    }
}
