use crate::gate::{Gate, Session};

#[test]
fn opens_only_when_caught_up_with_the_session_it_is_live_in() {
    let gate = Gate::new();
    let (first, second) = (Session::next(), Session::next());
    assert!(first < second && !gate.is_open());
    gate.set_live(first);
    assert!(!gate.is_open(), "the resync waits");
    gate.set_caught_up(first);
    assert!(gate.is_open() && gate.closed_at().is_none());
    gate.set_not_live();
    assert!(!gate.is_open() && gate.closed_at().is_some());
    gate.set_live(second);
    assert!(!gate.is_open(), "the second resync waits");
    gate.set_caught_up(first);
    assert!(!gate.is_open(), "this was the first again");
    gate.set_caught_up(second);
    assert!(gate.is_open());
    gate.abandon();
    assert!(!gate.is_open() && !gate.is_driven());
}

#[test]
fn catching_up_before_it_is_live_opens_it_when_it_becomes_so() {
    let gate = Gate::new();
    let session = Session::next();
    gate.set_caught_up(session);
    assert!(!gate.is_open());
    gate.set_live(session);
    assert!(gate.is_open());
}
