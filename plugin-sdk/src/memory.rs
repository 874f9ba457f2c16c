//! The plugin's memory.
//!
//! Functions that make a text a row spend as much on allocations as on their own work with the allocator
//! that Rust has for this target. Memory is never given back to the host; an instance is gone after
//! its batch.

#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();
