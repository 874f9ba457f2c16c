//! Plugins through the public door. The guests are the packages under `plugins/`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod aggregates;
mod attacks;
mod bare;
mod calls;
mod faults;
mod handlers;
mod handmade;
mod hostile;
mod loading;
mod reloading;
mod reuse;
mod stateful;
mod support;
