//! One instance of a plugin, and the calls of its exports.

use std::sync::Arc;

use tidemill_core::PluginFailure;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower,
    TypedFunc,
};
use wasmtime::{Engine, Store};

use crate::abi::{Context, FUNCTIONS, Failure, Function, Opened, Rows};
use crate::limits::{Limits, ticks};
use crate::state::{CallState, GuestLog, failure, start_failure, store};

/// A compiled plugin, linked to what it may call.
pub(crate) struct Prepared {
    pub(crate) engine: Engine,
    pub(crate) for_rows: InstancePre<CallState>,
    pub(crate) for_handlers: InstancePre<CallState>,
    pub(crate) exports: Exports,
}

/// Where the exports are.
pub(crate) struct Exports {
    pub(crate) describe: ComponentExportIndex,
    pub(crate) open: ComponentExportIndex,
    pub(crate) scalar: ComponentExportIndex,
    pub(crate) transform: ComponentExportIndex,
    pub(crate) foreach_batch: ComponentExportIndex,
}

impl Exports {
    /// Finds the exports, or the name of the one that is missing.
    pub(crate) fn of(component: &Component) -> Result<Exports, String> {
        let missing = |name: &str| format!("it exports no `{name}`");
        let functions = component.get_export_index(None, FUNCTIONS);
        let functions = functions.ok_or_else(|| missing(FUNCTIONS))?;
        let find =
            |name| component.get_export_index(Some(&functions), name).ok_or_else(|| missing(name));
        Ok(Exports {
            describe: find("describe")?,
            open: find("open")?,
            scalar: find("scalar")?,
            transform: find("transform")?,
            foreach_batch: find("foreach-batch")?,
        })
    }
}

/// A call that takes rows and gives rows.
pub(crate) type RowsCall = TypedFunc<(u32, Arc<Context>, Vec<u8>), (Result<Rows, Failure>,)>;

/// An instance on a store of its own, called from the thread that it is on.
pub(crate) struct Guest {
    store: Store<CallState>,
    instance: Instance,
    deadline_ticks: u64,
}

impl Guest {
    /// A fresh instance, with no memory of others.
    pub(crate) fn start(
        prepared: &Prepared,
        limits: Limits,
        log: GuestLog,
    ) -> Result<Guest, PluginFailure> {
        let mut store = store(&prepared.engine, CallState::new(limits, log, None));
        let deadline_ticks = ticks(limits.deadline);
        store.set_epoch_deadline(deadline_ticks);
        match prepared.for_rows.instantiate(&mut store) {
            Ok(instance) => Ok(Guest { store, instance, deadline_ticks }),
            Err(error) => Err(start_failure(&mut store, &error)),
        }
    }

    pub(crate) fn describe(&mut self, exports: &Exports) -> Result<Vec<Function>, PluginFailure> {
        let describe = self.export::<(), (Vec<Function>,)>(&exports.describe)?;
        self.call(&describe, ()).map(|(functions,)| functions)
    }

    pub(crate) fn open(
        &mut self,
        exports: &Exports,
        function: &str,
        config: &str,
        schema: Vec<u8>,
    ) -> Result<Opened, PluginFailure> {
        type Open = (String, String, Vec<u8>);
        let open = self.export::<Open, (Result<Opened, Failure>,)>(&exports.open)?;
        let (opened,) = self.call(&open, (function.to_owned(), config.to_owned(), schema))?;
        Ok(opened?)
    }

    pub(crate) fn rows_call(
        &mut self,
        export: &ComponentExportIndex,
    ) -> Result<RowsCall, PluginFailure> {
        self.export(export)
    }

    pub(crate) fn call<P, R>(
        &mut self,
        function: &TypedFunc<P, R>,
        parameters: P,
    ) -> Result<R, PluginFailure>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.store.set_epoch_deadline(self.deadline_ticks);
        self.store.data_mut().log.restart();
        let result = function.call(&mut self.store, parameters);
        result.map_err(|error| failure(&mut self.store, &error))
    }

    fn export<P, R>(
        &mut self,
        export: &ComponentExportIndex,
    ) -> Result<TypedFunc<P, R>, PluginFailure>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let function = self.instance.get_typed_func(&mut self.store, export);
        function.map_err(|error| PluginFailure::Host(error.to_string()))
    }
}
