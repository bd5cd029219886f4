use crate::gate::{Gate, Session};

#[test]
fn gates_open_when_caught_up_with_the_live_session() {
    let gate = Gate::new();
    let (first, second) = (Session::next(), Session::next());
    assert!(first < second && !gate.is_open());
    gate.set_live(first);
    assert!(!gate.is_open(), "the resync is queued");
    gate.set_caught_up(first);
    assert!(gate.is_open() && gate.closed_at().is_none());
    gate.set_not_live();
    assert!(!gate.is_open() && gate.closed_at().is_some());
    gate.set_live(second);
    assert!(!gate.is_open(), "the second resync is queued");
    gate.set_caught_up(first);
    assert!(!gate.is_open(), "that was the first session");
    gate.set_caught_up(second);
    assert!(gate.is_open());
    gate.abandon();
    assert!(!gate.is_open() && !gate.is_driven());
}

#[test]
fn gates_that_caught_up_early_open_when_the_source_is_live() {
    let gate = Gate::new();
    let session = Session::next();
    gate.set_caught_up(session);
    assert!(!gate.is_open());
    gate.set_live(session);
    assert!(gate.is_open());
}
