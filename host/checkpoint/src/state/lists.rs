//! Doubly linked lists of numbers that share one vector.

/// No number, where a number could be.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

/// Lists of numbers, each number in one list at most.
///
/// A list is known by its first number. Callers keep it; nothing is checked.
#[derive(Debug, Default)]
pub(super) struct Lists(Vec<Link>);

/// What became of a list that lost a number.
pub(super) enum Rest {
    /// It begins with the same number.
    SameFirst,
    /// It begins with this number now.
    NewFirst(u32),
    /// Nothing is left of it.
    Empty,
}

impl Lists {
    /// Puts a number that is in no list before `first`, or into a list of its own.
    ///
    /// Before and not behind: so a number can be taken out of the middle or the end of a list,
    /// and its owner need not be looked up.
    pub(super) fn push(&mut self, number: u32, first: Option<u32>) {
        while self.0.len() <= number as usize {
            push_compactly(&mut self.0, Link { previous: NONE, next: NONE });
        }
        self.0[number as usize] = Link { previous: NONE, next: first.unwrap_or(NONE) };
        if let Some(first) = first {
            self.0[first as usize].previous = number;
        }
    }

    /// Takes a number out of its list.
    pub(super) fn remove(&mut self, number: u32) -> Rest {
        let Link { previous, next } = self.0[number as usize];
        if next != NONE {
            self.0[next as usize].previous = previous;
        }
        match (previous, next) {
            (NONE, NONE) => Rest::Empty,
            (NONE, next) => Rest::NewFirst(next),
            (previous, next) => {
                self.0[previous as usize].next = next;
                Rest::SameFirst
            }
        }
    }

    /// The numbers of a list, the newest first.
    pub(super) fn of(&self, first: u32) -> impl Iterator<Item = u32> {
        let next = |number: &u32| Some(self.0[*number as usize].next).filter(|next| *next != NONE);
        std::iter::successors(Some(first), next)
    }
}

/// Appends, and leaves at most a fifth of the vector unused: the usual doubling may leave half.
pub(super) fn push_compactly<T>(vec: &mut Vec<T>, value: T) {
    if vec.len() == vec.capacity() {
        vec.reserve_exact(8.max(vec.len() / 4));
    }
    vec.push(value);
}
