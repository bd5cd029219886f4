//! The combined effect of the events that a strategy holds.

use std::collections::HashSet;

use super::dependency::{Effects, Tag};
use super::key::CacheKey;

/// The maximum number of keys and rows. Beyond it, everything is invalidated instead, so that memory is bounded.
const MAX_TARGETS: usize = 10_000;
const FEW_TOKENS: usize = 1_024;

#[derive(Debug)]
pub(super) struct Pending<K> {
    keys: HashSet<K>,
    tags: HashSet<Tag>,
    everything: bool,
    events: u64,
    /// Write tokens that came after some of these events.
    tokens: Vec<u128>,
    /// Beyond this number of tokens, those without a waiting caller are removed.
    most_tokens: usize,
}

impl<K> Default for Pending<K> {
    fn default() -> Self {
        Self {
            keys: HashSet::new(),
            tags: HashSet::new(),
            everything: false,
            events: 0,
            tokens: Vec::new(),
            most_tokens: FEW_TOKENS,
        }
    }
}

/// The released effects.
#[derive(Debug)]
pub(super) struct Released<K> {
    /// `None`: all of them.
    pub(super) targets: Option<(HashSet<K>, HashSet<Tag>)>,
    pub(super) events: u64,
    pub(super) tokens: Vec<u128>,
}

impl<K: CacheKey> Pending<K> {
    pub(super) fn hold(&mut self, effects: Effects<K>) {
        self.events += 1;
        match effects {
            Effects::Some(keys, tags) if !self.everything => {
                self.keys.extend(keys);
                self.tags.extend(tags);
                if self.keys.len() + self.tags.len() > MAX_TARGETS {
                    self.hold_everything();
                }
            }
            Effects::Some(..) => {}
            Effects::Everything | Effects::Mismatch(_) | Effects::Unfit(_) => {
                self.hold_everything();
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events == 0
    }

    fn hold_everything(&mut self) {
        self.everything = true;
        self.keys = HashSet::new();
        self.tags = HashSet::new();
    }

    /// Keeps a write token. Returns it if no event is held that came before it.
    pub(super) fn hold_token(
        &mut self,
        token: u128,
        mut is_expected: impl FnMut(u128) -> bool,
    ) -> Option<u128> {
        if self.is_empty() {
            return Some(token);
        }
        if self.tokens.len() >= self.most_tokens {
            self.tokens.retain(|token| is_expected(*token));
            self.most_tokens = (2 * self.tokens.len()).max(FEW_TOKENS);
        }
        self.tokens.push(token);
        None
    }

    pub(super) fn release(&mut self) -> Released<K> {
        let Self {
            keys,
            tags,
            everything,
            events,
            tokens,
            most_tokens: _,
        } = std::mem::take(self);
        Released {
            targets: (!everything).then_some((keys, tags)),
            events,
            tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Effects, MAX_TARGETS, Pending};

    #[test]
    fn too_many_keys_become_everything() {
        let mut pending = Pending::default();
        for key in 0..=MAX_TARGETS {
            assert!(pending.hold_token(1, |_| true).is_some() || key > 0);
            pending.hold(Effects::Some(vec![key], Vec::new()));
        }
        let released = pending.release();
        assert!(released.targets.is_none());
        assert_eq!(released.events, MAX_TARGETS as u64 + 1);
        assert_eq!(released.tokens.len(), MAX_TARGETS);
        assert!(
            pending
                .release()
                .targets
                .is_some_and(|(keys, _)| keys.is_empty())
        );
    }
}
