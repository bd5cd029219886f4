use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;

use super::{Debounced, Decision, Greedy, Strategy, Timed, Windowed};
use crate::{Event, Operation};

fn event(operation: Operation) -> Event {
    Event::builder("public", "t", operation).key(1).build()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// An input, with the milliseconds since the previous one.
#[derive(Clone, Copy, Debug)]
enum Step {
    Event(u64, Operation),
    Flush(u64),
    /// No input. A late driver wakes at this time.
    Pause(u64),
}

fn operation() -> impl Generator<Value = Operation> {
    proptest::sample::select(&Operation::ALL[..3])
}

fn steps() -> impl Generator<Value = Vec<Step>> {
    // Bursts and long pauses.
    let gap = || prop_oneof![3 => 0_u64..8, 1 => 0_u64..120];
    let step = prop_oneof![
        8 => (gap(), operation()).prop_map(|(gap, operation)| Step::Event(gap, operation)),
        1 => gap().prop_map(Step::Flush),
        2 => gap().prop_map(Step::Pause),
    ];
    proptest::collection::vec(step, 1..80)
}

/// An application or flush, in milliseconds since the start.
#[derive(Clone, Debug, PartialEq)]
struct Settled {
    at: u64,
    /// The times at which the events came.
    events: Vec<u64>,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    OnEvent(Decision),
    OnDeadline(Decision),
    Flush,
}

/// A driver as described by the trait. It checks the rules that hold for every strategy here.
struct Driver {
    strategy: Box<dyn Strategy>,
    start: Instant,
    now: u64,
    held: Vec<u64>,
    settled: Vec<Settled>,
    /// Wakes at deadlines; otherwise only at steps.
    punctual: bool,
    /// The strategy may wait for events only.
    waits_for_events: bool,
}

impl Driver {
    fn new(strategy: impl Strategy, punctual: bool) -> Self {
        let (mut strategy, start) = (Box::new(strategy), Instant::now());
        strategy.on_started(start);
        Self {
            strategy,
            start,
            now: 0,
            held: Vec::new(),
            settled: Vec::new(),
            punctual,
            waits_for_events: false,
        }
    }

    /// Runs the steps, and then gives the strategy time to finish.
    fn run(mut self, steps: &[Step]) -> Vec<Settled> {
        for step in steps {
            self.step(*step);
        }
        self.step(Step::Pause(1_000));
        assert!(self.held.is_empty() || self.waits_for_events, "forgotten");
        self.settled
    }

    fn step(&mut self, step: Step) {
        let (Step::Event(gap, _) | Step::Flush(gap) | Step::Pause(gap)) = step;
        let at = self.now + gap;
        while self.punctual
            && let Some(deadline) = self.deadline().filter(|deadline| *deadline <= at)
        {
            self.now = deadline;
            self.wake();
        }
        self.now = at;
        match step {
            Step::Event(_, operation) => self.event(operation),
            Step::Flush(_) => {
                self.strategy.on_flushed(self.instant());
                self.settle(How::Flush);
            }
            Step::Pause(_) if self.deadline().is_some_and(|deadline| deadline <= at) => self.wake(),
            Step::Pause(_) => {}
        }
    }

    fn event(&mut self, operation: Operation) {
        let before = self.deadline();
        let decision = self.strategy.on_event(&event(operation), self.instant());
        if decision != Decision::Ignore {
            self.held.push(self.now);
        }
        if matches!(decision, Decision::Apply | Decision::Everything) {
            self.settle(How::OnEvent(decision));
        }
        self.check(before);
    }

    fn wake(&mut self) {
        let before = self.deadline();
        let decision = self.strategy.on_deadline(self.instant());
        assert!(matches!(decision, Decision::Apply | Decision::Everything));
        self.settle(How::OnDeadline(decision));
        self.check(before);
    }

    fn settle(&mut self, how: How) {
        let (at, events) = (self.now, std::mem::take(&mut self.held));
        self.settled.push(Settled { at, events, how });
    }

    fn check(&self, before: Option<u64>) {
        let after = self.deadline();
        assert!(
            after == before || after.is_none_or(|after| after > self.now),
            "a deadline of the past"
        );
        assert!(
            after.is_some() || self.held.is_empty() || self.waits_for_events,
            "held for good"
        );
    }

    fn instant(&self) -> Instant {
        self.start + ms(self.now)
    }

    fn deadline(&self) -> Option<u64> {
        let deadline = self.strategy.deadline()?;
        let since_start = deadline.checked_duration_since(self.start).unwrap();
        Some(u64::try_from(since_start.as_millis()).unwrap())
    }
}

fn waiting_for_events(mut driver: Driver) -> Driver {
    driver.waits_for_events = true;
    driver
}

/// The shortest time between applications, flushes included.
fn closest(settled: &[Settled]) -> Option<u64> {
    settled
        .windows(2)
        .filter(|pair| pair[1].how != How::Flush)
        .map(|pair| pair[1].at - pair[0].at)
        .min()
}

/// The longest time for which an event was held.
fn longest(settled: &[Settled]) -> Option<u64> {
    settled
        .iter()
        .flat_map(|settled| settled.events.iter().map(|came| settled.at - came))
        .max()
}

type Make = fn(Duration) -> Box<dyn Strategy>;

/// Every strategy with a time, as a function of it, and whether it has a deadline after a flush.
const WITH_A_TIME: [(Make, bool); 6] = [
    (|time| Box::new(Windowed::period(time).unwrap()), false),
    (
        |time| Box::new(Windowed::events(3).unwrap().or_after(time).unwrap()),
        false,
    ),
    (
        |time| {
            let sequence = Windowed::sequence([Operation::Insert, Operation::Delete]);
            Box::new(sequence.unwrap().or_after(time).unwrap())
        },
        false,
    ),
    (|time| Box::new(Timed::every(time).unwrap()), true),
    (|time| Box::new(Timed::at_most_every(time).unwrap()), false),
    (|time| Box::new(Debounced::new(time, time).unwrap()), false),
];

#[test]
fn what_cannot_be_meant_is_a_config_error_that_names_the_setting() {
    let zero = Duration::ZERO;
    let errors = [
        Windowed::events(0).unwrap_err(),
        Windowed::period(zero).unwrap_err(),
        Windowed::events(1).unwrap().or_after(zero).unwrap_err(),
        Windowed::sequence([]).unwrap_err(),
        Timed::every(zero).unwrap_err(),
        Timed::at_most_every(zero).unwrap_err(),
        Debounced::new(zero, ms(1)).unwrap_err(),
        Debounced::new(ms(2), ms(1)).unwrap_err(),
    ];
    assert!(errors.iter().all(crate::Error::is_config));
    let messages = errors.map(|error| error.to_string());
    let expected = [
        "events of Windowed is 0, it must be at least 1",
        "period of Windowed is 0ns, it must be longer than 0",
        "or_after of Windowed is 0ns, it must be longer than 0",
        "sequence of Windowed is empty, it must have at least 1 operation",
        "every of Timed is 0ns, it must be longer than 0",
        "at_most_every of Timed is 0ns, it must be longer than 0",
        "quiet of Debounced is 0ns, it must be longer than 0",
        "at_most of Debounced is 1ms, it must be at least quiet, which is 2ms",
    ];
    assert_eq!(messages, expected);
}

#[test]
fn greedy_applies_what_all_its_predicates_want_and_a_panic_wants_everything() {
    let now = Instant::now();
    let mut greedy = Greedy::new()
        .only_if(|event| event.operation() != Operation::Insert)
        .only_if(|event| event.operation() != Operation::Delete);
    let decisions = Operation::ALL.map(|operation| greedy.on_event(&event(operation), now));
    let (ignore, apply) = (Decision::Ignore, Decision::Apply);
    assert_eq!(decisions, [ignore, apply, ignore, apply]);
    let mut panicking = Greedy::new().only_if(|_| panic!("predicate"));
    assert_eq!(panicking.on_event(&event(Operation::Insert), now), apply);
    assert_eq!(format!("{greedy:?}"), "Greedy { predicates: 2 }");
}

#[test]
fn times_that_cannot_be_represented_never_come() {
    let now = Instant::now();
    for (make, _) in WITH_A_TIME {
        for time in [
            Duration::MAX,
            Duration::MAX / 2,
            Duration::from_secs(u64::MAX / 2),
        ] {
            let mut strategy = make(time);
            strategy.on_started(now);
            let _ = strategy.on_event(&event(Operation::Update), now);
            let later = now + ms(5);
            assert_eq!(
                strategy.on_event(&event(Operation::Update), later),
                Decision::Hold
            );
            assert_eq!(strategy.deadline(), None);
            assert_eq!(strategy.on_deadline(later), Decision::Ignore);
            strategy.on_flushed(later);
            assert_eq!(strategy.deadline(), None);
        }
    }
    // The quiet time ends, the bound never does.
    let mut debounced = Debounced::new(ms(5), Duration::MAX).unwrap();
    assert_eq!(
        debounced.on_event(&event(Operation::Update), now),
        Decision::Hold
    );
    assert_eq!(debounced.deadline(), Some(now + ms(5)));
}

#[test]
fn every_counts_from_the_first_event_if_nobody_told_the_start() {
    let now = Instant::now();
    let mut timed = Timed::every(ms(10)).unwrap();
    assert_eq!(timed.deadline(), None);
    assert_eq!(
        timed.on_event(&event(Operation::Insert), now),
        Decision::Hold
    );
    assert_eq!(
        timed.on_event(&event(Operation::Insert), now + ms(3)),
        Decision::Hold
    );
    assert_eq!(timed.deadline(), Some(now + ms(10)));
}

#[test]
fn a_deadline_that_has_passed_is_honoured_by_an_event() {
    let now = Instant::now();
    for (make, _) in WITH_A_TIME {
        let mut strategy = make(ms(10));
        strategy.on_started(now);
        let _ = strategy.on_event(&event(Operation::Update), now);
        let _ = strategy.on_event(&event(Operation::Update), now);
        let decision = strategy.on_event(&event(Operation::Update), now + ms(10));
        assert!(matches!(decision, Decision::Apply | Decision::Everything));
    }
}

#[test]
fn the_operations_seen_outlive_a_period_but_not_a_flush() {
    let start = || {
        let sequence = Windowed::sequence([Operation::Insert, Operation::Delete]).unwrap();
        let mut driver = Driver::new(sequence.or_after(ms(10)).unwrap(), true);
        driver.step(Step::Event(0, Operation::Insert));
        driver
    };
    let mut over = start();
    over.step(Step::Event(20, Operation::Delete));
    let times: Vec<_> = over.settled.iter().map(|settled| settled.at).collect();
    assert_eq!(times, [10, 20]);
    let mut flushed = start();
    flushed.step(Step::Flush(0));
    flushed.step(Step::Event(0, Operation::Delete));
    assert_eq!(flushed.held, [0]);
}

proptest! {
    #[test]
    fn windows_of_events_hold_fewer_than_that(steps in steps(), events in 1_usize..9) {
        let windowed = Windowed::events(events).unwrap();
        let mut driver = waiting_for_events(Driver::new(windowed, true));
        for step in steps {
            driver.step(step);
            prop_assert!(driver.held.len() < events);
        }
        for settled in driver.settled {
            prop_assert!(settled.how == How::Flush || settled.events.len() == events);
        }
    }

    /// A group ends when it is full, or exactly a period after its first event.
    #[test]
    fn windows_with_a_period_end_with_it(
        steps in steps(), events in proptest::option::of(1_usize..9), period in 1_u64..60,
    ) {
        let windowed = match events {
            Some(events) => Windowed::events(events).unwrap().or_after(ms(period)),
            None => Windowed::period(ms(period)),
        };
        for settled in Driver::new(windowed.unwrap(), true).run(&steps) {
            match settled.how {
                How::Flush => {}
                How::OnEvent(decision) => {
                    prop_assert_eq!(decision, Decision::Apply);
                    prop_assert_eq!(Some(settled.events.len()), events);
                }
                How::OnDeadline(decision) => {
                    prop_assert_eq!(decision, Decision::Apply);
                    prop_assert_eq!(settled.at, settled.events[0] + period);
                    prop_assert!(events.is_none_or(|events| settled.events.len() < events));
                }
            }
        }
    }

    /// Compares with PGCacheWatch's window, with flushes, and without overlapping matches.
    #[test]
    fn a_sequence_is_the_last_operations(
        steps in steps(), wanted in proptest::collection::vec(operation(), 1..4),
    ) {
        let mut model: VecDeque<Operation> = VecDeque::new();
        let mut matches = 0;
        for step in &steps {
            match step {
                Step::Event(_, operation) => {
                    model.push_back(*operation);
                    if model.len() > wanted.len() {
                        model.pop_front();
                    }
                    if model == wanted {
                        model.clear();
                        matches += 1;
                    }
                }
                Step::Flush(_) => model.clear(),
                Step::Pause(_) => {}
            }
        }
        let sequence = Windowed::sequence(wanted).unwrap();
        let settled = waiting_for_events(Driver::new(sequence, true)).run(&steps);
        let applied = |settled: &&Settled| settled.how == How::OnEvent(Decision::Apply);
        prop_assert_eq!(settled.iter().filter(applied).count(), matches);
        prop_assert!(!settled.iter().any(|settled| matches!(settled.how, How::OnDeadline(_))));
    }

    #[test]
    fn a_sequence_with_a_period_holds_nothing_longer(
        steps in steps(), wanted in proptest::collection::vec(operation(), 1..4), period in 1_u64..60,
    ) {
        let sequence = Windowed::sequence(wanted).unwrap().or_after(ms(period)).unwrap();
        let settled = Driver::new(sequence, true).run(&steps);
        prop_assert!(longest(&settled).is_none_or(|longest| longest <= period));
    }

    #[test]
    fn every_interval_invalidates_everything_whatever_happens(
        steps in steps(), interval in 1_u64..60,
    ) {
        let settled = Driver::new(Timed::every(ms(interval)).unwrap(), true).run(&steps);
        let times: Vec<u64> = settled
            .iter()
            .filter(|settled| settled.how == How::OnDeadline(Decision::Everything))
            .map(|settled| settled.at)
            .collect();
        let planned: Vec<u64> = (1..=times.len() as u64).map(|n| n * interval).collect();
        prop_assert_eq!(&times, &planned);
        let others = settled.len() - times.len();
        prop_assert_eq!(settled.iter().filter(|settled| settled.how == How::Flush).count(), others);
        prop_assert!(longest(&settled).is_none_or(|longest| longest <= interval));
    }

    /// A late driver flushes once for all missed times, and then keeps to the plan.
    #[test]
    fn missed_intervals_are_made_up_for_once(steps in steps(), interval in 1_u64..60) {
        let mut driver = Driver::new(Timed::every(ms(interval)).unwrap(), false);
        for step in steps {
            let planned = driver.deadline().unwrap();
            let before = driver.settled.len();
            driver.step(step);
            let flushed = usize::from(matches!(step, Step::Flush(_)));
            let fired = driver.settled.len() - before - flushed;
            prop_assert_eq!(fired, usize::from(flushed == 0 && planned <= driver.now));
            let next = driver.deadline().unwrap();
            prop_assert_eq!(next % interval, 0);
            prop_assert!(next <= driver.now + interval);
            prop_assert!(next > driver.now || (flushed == 1 && next == planned));
        }
    }

    #[test]
    fn a_throttle_keeps_its_distance_and_forgets_nothing(
        steps in steps(), interval in 1_u64..60, punctual: bool,
    ) {
        let settled = Driver::new(Timed::at_most_every(ms(interval)).unwrap(), punctual).run(&steps);
        prop_assert!(closest(&settled).is_none_or(|closest| closest >= interval));
        prop_assert!(!punctual || longest(&settled).is_none_or(|longest| longest <= interval));
        // After a long enough pause, an event is not held.
        for pair in settled.windows(2) {
            let free = pair[0].at + interval;
            let first = pair[1].events.first();
            prop_assert!(first.is_none_or(|first| *first < free || *first == pair[1].at));
        }
    }

    #[test]
    fn a_debounce_ends_with_the_quiet_or_its_bound(
        steps in steps(), quiet in 1_u64..20, more in 0_u64..60, punctual: bool,
    ) {
        let at_most = quiet + more;
        let debounced = Debounced::new(ms(quiet), ms(at_most)).unwrap();
        for settled in Driver::new(debounced, punctual).run(&steps) {
            if settled.how == How::Flush {
                continue;
            }
            let (first, last) = (settled.events[0], settled.events[settled.events.len() - 1]);
            let end = (last + quiet).min(first + at_most);
            prop_assert!(settled.at >= end && (!punctual || settled.at == end));
        }
    }

    #[test]
    fn a_flush_leaves_no_deadline_but_that_of_every(
        steps in steps(), time in 1_u64..60, punctual: bool,
    ) {
        for (make, plans) in WITH_A_TIME {
            let mut driver = Driver::new(Windowed::events(1).unwrap(), punctual);
            driver.strategy = make(ms(time));
            driver.strategy.on_started(driver.start);
            for step in &steps {
                driver.step(*step);
                let idle = driver.held.is_empty();
                prop_assert!(!idle || driver.deadline().is_some() == plans, "wakes for nothing");
            }
            driver.step(Step::Flush(0));
            prop_assert_eq!(driver.deadline().is_some(), plans);
        }
    }
}
