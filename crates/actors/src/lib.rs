//! pgherald-actors
