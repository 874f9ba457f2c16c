//! One instance of a plugin, and the calls of its exports.

use tidemill_core::{BatchContext, FunctionKind, PluginFailure};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Func, Instance, InstancePre, Lift, Lower,
};
use wasmtime::{Engine, Store};

use crate::abi::{Context, FUNCTIONS, Failure, Function, Opened};
use crate::giving::Giving;
use crate::keyed::Keyed;
use crate::kinds::{Kind, kinds};
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
    pub(crate) begin: ComponentExportIndex,
    /// Those of each kind whose interface is exported, in the kind's order.
    of_kinds: Vec<(FunctionKind, Vec<ComponentExportIndex>)>,
}

impl Exports {
    /// Finds the exports, or the name of the one that is missing.
    pub(crate) fn of(component: &Component) -> Result<Exports, String> {
        let missing = |name: &str| format!("it exports no `{name}`");
        let interface = |name: &str| component.get_export_index(None, name);
        let find = |interface: &ComponentExportIndex, name: &str| {
            let found = component.get_export_index(Some(interface), name);
            found.ok_or_else(|| missing(name))
        };
        let functions = interface(FUNCTIONS).ok_or_else(|| missing(FUNCTIONS))?;
        let mut of_kinds = Vec::new();
        for kind in kinds() {
            if let Some(exported) = interface(kind.interface) {
                let exports = kind.exports.iter().map(|name| find(&exported, name));
                of_kinds.push((kind.kind, exports.collect::<Result<_, _>>()?));
            }
        }
        Ok(Exports {
            describe: find(&functions, "describe")?,
            open: find(&functions, "open")?,
            begin: find(&functions, "begin")?,
            of_kinds,
        })
    }

    /// Those of a kind, if the plugin has its interface.
    pub(crate) fn of_kind(&self, kind: FunctionKind) -> Option<&[ComponentExportIndex]> {
        let found = self.of_kinds.iter().find(|(known, _)| *known == kind);
        found.map(|(_, exports)| exports.as_slice())
    }
}

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
        let mut store = store(&prepared.engine, CallState::new(limits, log));
        let deadline_ticks = ticks(limits.deadline);
        store.set_epoch_deadline(deadline_ticks);
        match prepared.for_rows.instantiate(&mut store) {
            Ok(instance) => Ok(Guest { store, instance, deadline_ticks }),
            Err(error) => Err(start_failure(&mut store, &error)),
        }
    }

    /// Bytes that it holds in its memories and tables.
    pub(crate) fn memory(&self) -> u64 {
        self.store.data().memory()
    }

    pub(crate) fn describe(&mut self, exports: &Exports) -> Result<Vec<Function>, PluginFailure> {
        let describe = self.export(&exports.describe)?;
        self.call::<(), (Vec<Function>,)>(describe, ()).map(|(functions,)| functions)
    }

    pub(crate) fn open(
        &mut self,
        exports: &Exports,
        function: &str,
        config: &str,
        schema: String,
    ) -> Result<Opened, PluginFailure> {
        let open = self.export(&exports.open)?;
        let (opened,): (Result<Opened, Failure>,) = self.call(open, (function, config, schema))?;
        Ok(opened?)
    }

    pub(crate) fn begin(
        &mut self,
        exports: &Exports,
        context: &BatchContext,
    ) -> Result<(), PluginFailure> {
        self.store.data_mut().log.is_of(context.batch);
        let begin = self.export(&exports.begin)?;
        self.call(begin, (Context::from(context),))
    }

    pub(crate) fn exports(
        &mut self,
        exports: &Exports,
        kind: &Kind,
    ) -> Result<Vec<Func>, PluginFailure> {
        let exports = exports.of_kind(kind.kind).unwrap_or_default();
        exports.iter().map(|export| self.export(export)).collect()
    }

    /// Calls a function that may give rows, and reach the state of keys where there are any.
    pub(crate) fn call_giving<P, R>(
        &mut self,
        function: Func,
        parameters: P,
        giving: Giving,
        keyed: Option<Keyed>,
    ) -> Result<(R, Giving), PluginFailure>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let state = self.store.data_mut();
        (state.giving, state.keyed) = (Some(giving), keyed);
        let result = self.call(function, parameters);
        let state = self.store.data_mut();
        state.keyed = None;
        let giving = state.giving.take();
        // It lies there since before the call.
        let lost = || PluginFailure::Host("the rows of the call are lost".to_owned());
        Ok((result?, giving.ok_or_else(lost)?))
    }

    fn call<P, R>(&mut self, function: Func, parameters: P) -> Result<R, PluginFailure>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.store.set_epoch_deadline(self.deadline_ticks);
        self.store.data_mut().log.restart();
        // The types are compared for each call: parameters that lie in the caller's columns have a life
        // of their own.
        let typed = function.typed::<P, R>(&self.store).map_err(unfit)?;
        let result = typed.call(&mut self.store, parameters);
        result.map_err(|error| failure(&mut self.store, &error))
    }

    fn export(&mut self, export: &ComponentExportIndex) -> Result<Func, PluginFailure> {
        let function = self.instance.get_func(&mut self.store, export);
        function.ok_or_else(|| PluginFailure::Signature("it lacks an export".to_owned()))
    }
}

/// The module exports something else than what the contract says.
pub(crate) fn unfit(error: wasmtime::Error) -> PluginFailure {
    PluginFailure::Signature(error.to_string())
}
