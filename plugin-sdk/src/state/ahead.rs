//! What is read of the keys after the one that asks.
//!
//! A question costs a call of the host, whatever the answer is: so many keys are asked for at once. But what
//! they hold may be long, and not every key asks: so it begins with few, and goes on with more while keys ask
//! one after the other, up to a number of keys and about so many bytes.

use crate::Result;

/// Keys of a question, at most.
const KEYS_MAX: usize = 4_096;
/// Bytes of an answer, about.
const BYTES_MAX: usize = 8 << 20;
/// By so much the next question is larger.
const GROWTH: usize = 8;

/// An answer for some keys.
pub(super) struct Ahead<A> {
    first: u32,
    keys: usize,
    answer: Option<A>,
    /// How many keys the next question has, and the first one of a call.
    next: usize,
    begin: usize,
}

impl<A> Ahead<A> {
    /// With questions for `begin` keys at first.
    pub(super) fn new(begin: usize) -> Ahead<A> {
        Ahead { first: 0, keys: 0, answer: None, next: begin, begin }
    }

    /// Another call begins, with other keys.
    pub(super) fn begin_call(&mut self) {
        (self.answer, self.next) = (None, self.begin);
    }

    /// What keys hold has changed: they are asked again, and who asks now may ask again and again.
    pub(super) fn forget(&mut self) {
        (self.answer, self.next) = (None, 1);
    }

    /// The answer that has this key's, and its place in it. `ask` gives the answer for some keys, and how many
    /// bytes it has.
    pub(super) fn of(
        &mut self,
        key: u32,
        keys: u32,
        ask: impl FnOnce(&[u32]) -> Result<(A, usize)>,
    ) -> Result<(&A, usize)> {
        let is_there = key >= self.first && ((key - self.first) as usize) < self.keys;
        if self.answer.is_none() || !is_there {
            // At least the key itself: it is one of the call's.
            let end = keys.min(key.saturating_add(self.next as u32)).max(key + 1);
            let asked: Vec<u32> = (key..end).collect();
            let (answer, bytes) = ask(&asked)?;
            let fitting = BYTES_MAX / (bytes / asked.len()).max(1);
            self.next = (asked.len() * GROWTH).min(KEYS_MAX).min(fitting.max(1));
            (self.first, self.keys) = (key, asked.len());
            return Ok((self.answer.insert(answer), 0));
        }
        match &self.answer {
            Some(answer) => Ok((answer, (key - self.first) as usize)),
            None => Err(crate::Error::fatal("an answer is lost")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Asks for these keys of a call of ten thousand, each of which holds so many bytes, and gives how many
    /// keys each question had.
    fn questions(ahead: &mut Ahead<Vec<u32>>, keys: &[u32], bytes: usize) -> Vec<usize> {
        let mut asked = Vec::new();
        for key in keys {
            let ask = |keys: &[u32]| {
                asked.push(keys.len());
                Ok((keys.to_vec(), keys.len() * bytes))
            };
            let (answer, place) = ahead.of(*key, 10_000, ask).unwrap();
            assert_eq!(answer[place], *key);
        }
        asked
    }

    #[test]
    fn more_keys_are_asked_for_while_they_ask_one_after_the_other() {
        let all: Vec<u32> = (0..10_000).collect();
        assert_eq!(questions(&mut Ahead::new(1), &all, 8), [1, 8, 64, 512, 4_096, 4_096, 1_223]);
        // What is long is not read ahead.
        assert_eq!(questions(&mut Ahead::new(1), &all[..4], 9 << 20), [1; 4]);
        assert_eq!(questions(&mut Ahead::new(1), &all[..30], 1 << 20), [1, 8, 8, 8, 8]);
        // Two questions for one key are one.
        assert_eq!(questions(&mut Ahead::new(1), &[3, 3, 3], 8), [1]);
    }

    #[test]
    fn what_has_changed_is_asked_again_for_the_one_key() {
        let mut ahead = Ahead::new(64);
        assert_eq!(questions(&mut ahead, &[0, 1, 2], 8), [64]);
        ahead.forget();
        assert_eq!(questions(&mut ahead, &[1], 8), [1]);
        ahead.begin_call();
        assert_eq!(questions(&mut ahead, &[1], 8), [64]);
    }
}
