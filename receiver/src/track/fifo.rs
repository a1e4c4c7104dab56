//! Numbers in the order in which they were appended, from which any can be removed at once.

/// A queue of numbers below a bound, each in it at most once: a doubly linked list in a column.
pub(super) struct Fifo {
    /// Predecessor and successor of each number, or [`NONE`].
    links: Vec<(u32, u32)>,
    first: u32,
    last: u32,
}

impl Fifo {
    /// Empty, for numbers below `numbers`.
    pub(super) fn new(numbers: usize) -> Self {
        Self { links: vec![(NONE, NONE); numbers], first: NONE, last: NONE }
    }

    /// The number that has been in it for longest.
    pub(super) fn first(&self) -> Option<usize> {
        (self.first != NONE).then_some(self.first as usize)
    }

    /// The number behind another one that is in it.
    pub(super) fn after(&self, number: usize) -> Option<usize> {
        let after = self.links[number].1;
        (after != NONE).then_some(after as usize)
    }

    /// Appends a number that is not in it.
    pub(super) fn push(&mut self, number: usize) {
        let last = std::mem::replace(&mut self.last, number as u32);
        self.links[number] = (last, NONE);
        match self.links.get_mut(last as usize) {
            Some(before) => before.1 = number as u32,
            None => self.first = number as u32,
        }
    }

    /// Removes a number that is in it.
    pub(super) fn remove(&mut self, number: usize) {
        let (before, after) = std::mem::replace(&mut self.links[number], (NONE, NONE));
        match self.links.get_mut(before as usize) {
            Some(link) => link.1 = after,
            None => self.first = after,
        }
        match self.links.get_mut(after as usize) {
            Some(link) => link.0 = before,
            None => self.last = before,
        }
    }
}

const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::Fifo;

    fn all(fifo: &Fifo) -> Vec<usize> {
        std::iter::successors(fifo.first(), |&number| fifo.after(number)).collect()
    }

    #[test]
    fn first_in_first_out_but_for_what_is_removed() {
        let mut fifo = Fifo::new(5);
        for number in [3, 0, 4, 1] {
            fifo.push(number);
        }
        assert_eq!(all(&fifo), [3, 0, 4, 1]);
        fifo.remove(4);
        assert_eq!(all(&fifo), [3, 0, 1]);
        fifo.remove(3);
        fifo.push(3);
        assert_eq!(all(&fifo), [0, 1, 3]);
        fifo.remove(3);
        fifo.remove(0);
        fifo.remove(1);
        assert_eq!(all(&fifo), [] as [usize; 0]);
        fifo.push(2);
        assert_eq!(all(&fifo), [2]);
    }
}
