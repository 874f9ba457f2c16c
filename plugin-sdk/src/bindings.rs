//! What wit-bindgen makes of the contract.

#![allow(missing_docs, reason = "generated; the contract itself is documented in wit/plugin.wit")]
#![allow(unsafe_code, reason = "generated: the canonical ABI")]
#![allow(unreachable_pub, reason = "generated; the exporting macro of other crates names these")]

// What an import takes is borrowed down to its last list, so that the host reads the buffers of a
// column where they are.
wit_bindgen::generate!({
    path: "wit",
    world: "plugin",
    ownership: Borrowing { duplicate_if_necessary: true },
    pub_export_macro: true,
    export_macro_name: "export_functions",
    runtime_path: "::tidemill_plugin::__private::rt",
    default_bindings_module: "::tidemill_plugin::__private::bindings",
});
