//! Input that was not understood, between two heartbeats: the first is logged, the others are counted.
//!
//! There can be any amount of it, and a line for each would bury all others.

#[derive(Debug, Default)]
pub(super) struct Unlogged(Option<u64>);

impl Unlogged {
    /// Counts some. Returns whether the first of them is the first since [`take`](Self::take), to be logged.
    pub(super) fn has_first(&mut self, count: u64) -> bool {
        match &mut self.0 {
            None if count > 0 => {
                self.0 = Some(count - 1);
                true
            }
            None => false,
            Some(unlogged) => {
                *unlogged += count;
                false
            }
        }
    }

    /// How many came after the first, if any did.
    pub(super) fn take(&mut self) -> Option<u64> {
        self.0.take().filter(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::Unlogged;

    #[test]
    fn the_first_is_logged_and_the_others_are_counted_until_the_next_heartbeat() {
        let mut unlogged = Unlogged::default();
        assert_eq!(unlogged.take(), None);
        let firsts = (0..200_000).filter(|_| unlogged.has_first(1)).count();
        assert_eq!((firsts, unlogged.take()), (1, Some(199_999)));
        assert!(unlogged.has_first(1));
        assert_eq!(unlogged.take(), None);
        assert!(!unlogged.has_first(0) && unlogged.has_first(512));
        assert_eq!(unlogged.take(), Some(511));
    }
}
