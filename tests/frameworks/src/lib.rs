//! Nothing but tests: see `tests/`. They are a package of their own, because sqlx and refinery take long to build.
