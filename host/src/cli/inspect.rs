//! `tidemill inspect`: what is in a plugin.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};
use serde_json::{Value, json};
use tidemill_core::{
    FunctionKind, FunctionSignature, PluginModule, Secrets, Variable, variable_columns,
};
use tidemill_plugin_host::{Import, Module};
use tidemill_types::{Interval, format_column_type, format_schema};

use super::arguments::InspectArguments;
use super::check::code_of;
use super::report::grouped;
use super::{begin, complain, printed};
use crate::query::{Shared, load_plugin};

/// Prints what the plugin has, as text or JSON.
pub(super) fn inspect(arguments: &InspectArguments) -> u8 {
    let nothing = Secrets::default();
    if let Err(status) = begin() {
        return status;
    }
    let module = match load_plugin(&Shared::new(false), &arguments.file, String::new()) {
        Ok(module) => module,
        Err(error) => {
            complain(&nothing, &error);
            return code_of(error.is_retryable());
        }
    };
    let file = arguments.file.display().to_string();
    let text = if arguments.json {
        format!("{:#}\n", as_json(&file, &module))
    } else {
        as_text(&file, &module, None)
    };
    printed(&text)
}

/// What the plugin has, for people; `built` says what it was built for, where that is known.
pub(super) fn as_text(file: &str, module: &Module, built: Option<&str>) -> String {
    let count = module.functions().len();
    let built = built.map_or_else(String::new, |built| format!("  built    {built}\n"));
    let mut text = format!(
        "{file}: {count} function{}\n{built}  digest   {}\n  size     {} bytes\n",
        if count == 1 { "" } else { "s" },
        module.digest(),
        grouped(module.bytes().len() as u64)
    );
    let width = module.imports().iter().map(|import| import.interface.len()).max().unwrap_or(0);
    for (place, import) in module.imports().iter().enumerate() {
        let label = if place == 0 { "imports" } else { "" };
        let grant = match import.grant {
            Some(key) => format!("; only with `{key}` in [plugin.{}]", module.name()),
            None => String::new(),
        };
        let _ =
            writeln!(text, "  {label:<7}  {:<width$}  {}{grant}", import.interface, import.purpose);
    }
    for function in module.functions() {
        text.push('\n');
        describe(&mut text, function);
    }
    text
}

/// A paragraph for a function.
fn describe(text: &mut String, function: &FunctionSignature) {
    let kind = format!(
        "{}, {}deterministic",
        function.kind.name(),
        if function.deterministic { "" } else { "not " }
    );
    let name = &function.name;
    let (input, output) = (function.input.as_deref(), function.output.as_deref());
    let _ = match function.kind {
        FunctionKind::Scalar | FunctionKind::Aggregate => {
            let arguments = input.map_or_else(|| "…".to_owned(), ddl);
            let given = output.and_then(|output| output.fields().first());
            let given = given.map_or_else(|| "…".to_owned(), |column| format_column_type(column));
            let state = match function.state.as_slice() {
                [] => String::new(),
                state => format!("\n  state  {}", ddl(&variable_columns(state))),
            };
            writeln!(text, "{name}({arguments}) → {given}\n  {kind}{state}")
        }
        FunctionKind::Transform if function.passes_others => {
            let columns = |schema: Option<&Schema>| {
                let columns = schema.map_or_else(String::new, ddl);
                if columns.is_empty() { "no column".to_owned() } else { columns }
            };
            let (reads, sets) = (columns(input), columns(output));
            writeln!(
                text,
                "{name}\n  {kind}\n  reads  {reads}\n  sets   {sets}; lets the others through"
            )
        }
        FunctionKind::ForeachBatch => writeln!(text, "{name}\n  {kind}"),
        FunctionKind::Stateful => {
            let columns = |schema: Option<&Schema>| schema.map_or_else(String::new, ddl);
            let key = columns(function.key.as_deref());
            let (taken, given) = (columns(input), columns(output));
            let _ = writeln!(
                text,
                "{name}\n  {kind}\n  key    {key}\n  takes  {taken}\n  gives  {given}"
            );
            if let Some(initial) = &function.initial {
                let _ = writeln!(text, "  starts {}", ddl(initial));
            }
            function.state.iter().try_for_each(|kept| writeln!(text, "  keeps  {}", variable(kept)))
        }
        FunctionKind::Transform => {
            let taken = input.map_or_else(|| "any rows".to_owned(), ddl);
            let given = output.map_or_else(|| "what follows from the rows".to_owned(), ddl);
            writeln!(text, "{name}\n  {kind}\n  takes  {taken}\n  gives  {given}")
        }
    };
    for form in &function.migrations {
        let _ = writeln!(text, "  takes over {}", ddl(form));
    }
    for line in function.documentation.trim().lines() {
        let _ = writeln!(text, "  {}", format!("| {}", line.trim()).trim_end());
    }
}

/// A variable of a key: `count bigint, a value forgotten after 1 hour`.
fn variable(variable: &Variable) -> String {
    let column = ddl(&variable_columns(std::slice::from_ref(variable)));
    let forgotten = variable.ttl.map_or_else(String::new, |ttl| {
        let ttl = Interval { micros: i64::try_from(ttl).unwrap_or(i64::MAX) };
        format!(", forgotten after {ttl}")
    });
    format!("{column}, a {}{forgotten}", variable.shape.name())
}

/// Columns in Spark's DDL: `id string not null, tags array<string>`.
fn ddl(schema: &Schema) -> String {
    let column = |field: &FieldRef| {
        let not_null = if field.is_nullable() { "" } else { " not null" };
        format!("{}{not_null}", format_schema(&Schema::new(vec![Arc::clone(field)])))
    };
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}

fn as_json(file: &str, module: &Module) -> Value {
    let import = |import: &Import| {
        json!({
            "interface": import.interface,
            "purpose": import.purpose,
            "grant": import.grant,
        })
    };
    let state = |variable: &Variable| {
        json!({
            "column": ddl(&variable_columns(std::slice::from_ref(variable))),
            "kind": variable.shape.name(),
            "ttl_micros": variable.ttl,
        })
    };
    let function = |function: &FunctionSignature| {
        json!({
            "name": function.name,
            "kind": function.kind.name(),
            "input": function.input.as_deref().map(ddl),
            "output": function.output.as_deref().map(ddl),
            "passes_others": function.passes_others,
            "key": function.key.as_deref().map(ddl),
            "initial_state": function.initial.as_deref().map(ddl),
            "migrations": function.migrations.iter().map(|form| ddl(form)).collect::<Vec<_>>(),
            "state": function.state.iter().map(state).collect::<Vec<_>>(),
            "deterministic": function.deterministic,
            "documentation": function.documentation,
        })
    };
    json!({
        "file": file,
        "digest": module.digest().to_string(),
        "bytes": module.bytes().len(),
        "imports": module.imports().iter().map(import).collect::<Vec<_>>(),
        "functions": module.functions().iter().map(function).collect::<Vec<_>>(),
    })
}
