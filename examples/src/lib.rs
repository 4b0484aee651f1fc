//! Examples: one short runnable file per idea, in `examples/`. `cargo run -p mcpbus-examples --example hello`
//!
//! | example | idea |
//! | --- | --- |
//! | `hello` | a first topology and its ledger |
//! | `fan_out` | a copy for each, by key, in turn |
//! | `fan_in` | several producers into one aggregator |
//! | `backpressure` | bounded channels: wait, fail, drop with a count |
//! | `mcp_counter` | Model, Controller, Presenter, View |
//! | `placement` | one topology on one thread, on threads, as three processes |
//! | `client` | publish, subscribe, request, reply |
//! | `durable` | stored on disk: a subscriber that is away, a node that starts again, another try |
//! | `own_policy` | a routing policy of one's own |
//!
//! `bank/` and `weblog/` hold node files for `mcpbus run`.
