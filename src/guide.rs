// The pages of `docs/`, which are compiled and run as tests here.
//
// Pages link to each other by reference (`[Strategies]`), with a definition at their end for those who read the files.
// The definitions of `links.md` come before them, so that here links lead to modules. Tests do without, and are named by
// the page and its lines.

macro_rules! pages {
    ($($page:ident: $file:literal;)*) => {$(
        #[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
        #[doc = include_str!(concat!("../docs/", $file))]
        pub mod $page {}
    )*};
}

pages! {
    getting_started: "getting-started.md";
    guarantees_and_limits: "guarantees-and-limits.md";
    caches: "caches.md";
    strategies: "strategies.md";
    durable_handlers: "durable-handlers.md";
    testing: "testing.md";
    axum_and_sqlx: "axum-and-sqlx.md";
    command: "command.md";
    operations: "operations.md";
    rolling_deploys: "rolling-deploys.md";
    migrating_from_pgcachewatch: "migrating-from-pgcachewatch.md";
}
