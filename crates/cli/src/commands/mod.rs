//! The commands, and what several of them share.

pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod grant;
pub(crate) mod group;
mod group_health;
pub(crate) mod install;
mod plan;
pub(crate) mod relay;
mod repair;
pub(crate) mod serve;
pub(crate) mod set_aside;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod uninstall;
pub(crate) mod upgrade;
pub(crate) mod watch;
