//! Limits floods in the log: the first of many similar failures is logged, and the others are counted.

/// Counts failures that were not logged since the last summary.
#[derive(Debug, Default)]
pub(crate) struct Unlogged(Option<u64>);

impl Unlogged {
    /// Counts `count` failures. Returns whether the first of them is the first since [`take`](Self::take).
    pub(crate) fn has_first(&mut self, count: u64) -> bool {
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

    /// The number of failures after the first, if there were any.
    pub(crate) fn take(&mut self) -> Option<u64> {
        self.0.take().filter(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::Unlogged;

    #[test]
    fn the_first_failure_is_logged_and_the_others_are_counted() {
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
