//! The state store in memory keeps the contract of state back ends.

use tidemill_checkpoint::{MemoryStateStore, contract};

#[test]
fn the_store_in_memory_keeps_the_contract() {
    contract::check(MemoryStateStore::new);
}
