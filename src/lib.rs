//! The engine and the command line of `pacer`.
//!
//! Data flows one way: TOML text ([`spec`]) → checked graph ([`resolve`], [`graph`]) → scheduled jobs
//! ([`engine`], [`executor`]) → stored results ([`key`], [`cache`], [`store`]) → what people see ([`ui`], [`cli`]).

pub mod cache;
pub mod care;
pub mod cli;
pub mod diagnostic;
pub mod digest;
pub mod engine;
pub mod event;
pub mod executor;
pub mod graph;
pub mod journal;
pub mod key;
pub mod resolve;
pub mod spec;
pub mod stat_cache;
pub mod store;
pub mod ui;
