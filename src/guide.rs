// The pages of `docs/`. Their code is compiled and run as doctests here.
//
// Pages link to each other by reference (`[Strategies]`). Each page defines its references at its end, for readers of the
// files. The definitions in `links.md` come first and take precedence, so the links of the documentation lead to modules.
// Doctests omit them, so that a test is named by its page and the line in that page.

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
    sizing: "sizing.md";
    rolling_deploys: "rolling-deploys.md";
    distributor: "distributor.md";
    distributor_security: "distributor-security.md";
    nats: "nats.md";
    migrating_from_pgcachewatch: "migrating-from-pgcachewatch.md";
}
