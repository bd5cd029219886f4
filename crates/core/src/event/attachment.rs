//! Values that subscribers compute of an event, once for all of them.
//!
//! A subscriber asks for room by an option of its subscription. The router then gives each event room before it distributes it,
//! and all clones of the event share the value.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use super::Event;

/// Room for one value.
pub(crate) type Attachment = Arc<OnceLock<Box<dyn Any + Send + Sync>>>;

/// Returns the events with room for a value each.
pub(crate) fn with_room(events: &[Event]) -> Arc<[Event]> {
    let with_room = |event: &Event| Event {
        attachment: Some(Attachment::default()),
        ..event.clone()
    };
    events.iter().map(with_room).collect()
}

impl Event {
    /// Returns the value that `compute` returns. If the event has room, the value is computed once for all of its clones.
    pub(crate) fn attached<T: Any + Clone + Send + Sync>(&self, compute: impl Fn() -> T) -> T {
        let Some(attachment) = &self.attachment else {
            return compute();
        };
        let kept = attachment.get_or_init(|| Box::new(compute()));
        // Another kind of subscriber may keep a value of another type.
        kept.downcast_ref().cloned().unwrap_or_else(compute)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::with_room;
    use crate::{Event, Operation};

    #[test]
    fn a_value_is_computed_once_for_all_clones_of_an_event_with_room() {
        let event = Event::builder("public", "t", Operation::Insert).build();
        let computed = Cell::new(0);
        let attached = |event: &Event| {
            event.attached(|| {
                computed.set(computed.get() + 1);
                computed.get()
            })
        };
        assert_eq!([attached(&event), attached(&event.clone())], [1, 2]);
        let events = with_room(&[event.clone(), event]);
        let clone = events[0].clone();
        assert_eq!([attached(&events[0]), attached(&clone)], [3, 3]);
        assert_eq!(attached(&events[1]), 4);
        assert_eq!(events[0].attached(|| "another type"), "another type");
    }
}
