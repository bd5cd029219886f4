//! pgherald-testkit
