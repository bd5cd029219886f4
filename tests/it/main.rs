//! What pgherald promises, on a real PostgreSQL.

mod bad_input;
mod deafness;
mod drift;
mod half_open;
mod handler_faults;
mod no_silent_gap;
mod reconnect;
mod shutdown;
mod slow_subscriber;
mod supervision;
mod support;
mod tls;
mod typed_handlers;
