//! The keys of caches.

use std::hash::Hash;

/// A type that can be the key of a cache. Implemented for every type with the required traits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a cache",
    label = "needs `Clone + Eq + Hash + Send + Sync + 'static`",
    note = "with `#[cached]`: leave an argument out with `ignore(…)`, if the value does not depend on it; or make a key, `key = <expression>, key_type = <type>`"
)]
pub trait CacheKey: Clone + Eq + Hash + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<K: Clone + Eq + Hash + Send + Sync + 'static> CacheKey for K {}

/// Returns whether a map can find the key again. See [`Inner::follows`](super::inner::Inner::follows).
pub(super) fn equals_itself<K: Eq>(key: &K) -> bool {
    key.eq(key)
}
