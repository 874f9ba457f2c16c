//! A plugin on the contract alone: no SDK and no Arrow, as a plugin in another language is written. It
//! has one scalar and one transform, and exports the interfaces of these two kinds.

#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "only a guest exports"))]

mod bindings {
    #![allow(unsafe_code, reason = "generated: the canonical ABI")]
    #![allow(unreachable_pub, reason = "generated")]

    wit_bindgen::generate!({
        path: "../../schemas/wit",
        inline: r#"
            package tidemill:bare;
            world bare {
                import tidemill:plugin/rows@0.2.0;
                export tidemill:plugin/functions@0.2.0;
                export tidemill:plugin/scalars@0.2.0;
                export tidemill:plugin/transforms@0.2.0;
            }
        "#,
        world: "bare",
        generate_all,
    });
}

use bindings::exports::tidemill::plugin::{functions, scalars, transforms};
use bindings::tidemill::plugin::rows::{Selection, give};
use bindings::tidemill::plugin::types::{
    BatchContext, Block, Column, Failure, Function, FunctionKind, Opened, Origin, RowError,
};

/// Numbers that `open` gives for the functions.
const TWICE: u32 = 0;
const LONG: u32 = 1;

/// Bytes of a name that is long.
const LONG_BYTES: u32 = 8;

struct Bare;

fn function(name: &str, kind: FunctionKind, input: &str, output: &str) -> Function {
    Function {
        name: name.to_owned(),
        kind,
        input: Some(input.to_owned()),
        output: Some(output.to_owned()),
        passes_others: kind == FunctionKind::Transform,
        state: Vec::new(),
        deterministic: true,
        documentation: String::new(),
        properties: Vec::new(),
    }
}

impl functions::Guest for Bare {
    fn describe() -> Vec<Function> {
        vec![
            function("twice", FunctionKind::Scalar, "n bigint", "twice bigint"),
            // It adds no column, and lets those through that it does not look at.
            function("long_names", FunctionKind::Transform, "name string", ""),
        ]
    }

    fn open(function: String, _config: String, input: String) -> Result<Opened, Failure> {
        // As simple as it gets: columns without backticks and nested types, `name string, n bigint`.
        let columns: Vec<&str> = input.split(", ").collect();
        let numbers = 0..columns.len() as u32;
        match function.as_str() {
            "twice" => Ok(Opened {
                id: TWICE,
                output: "twice bigint".to_owned(),
                reads: vec![0],
                origins: vec![Origin::Made],
            }),
            "long_names" => {
                let name = columns.iter().position(|column| column.starts_with("name "));
                let name = name.ok_or_else(|| {
                    Failure::BadInput(format!("there is no column \"name\" in ({input})"))
                })?;
                Ok(Opened {
                    id: LONG,
                    output: input.clone(),
                    reads: vec![name as u32],
                    origins: numbers.map(Origin::Passed).collect(),
                })
            }
            other => Err(Failure::BadInput(format!("there is no function \"{other}\""))),
        }
    }

    fn begin(_context: BatchContext) {}
}

impl scalars::Guest for Bare {
    fn call(_opened: u32, arguments: Block) -> Result<Vec<RowError>, Failure> {
        let Some(Column { nodes, buffers }) = arguments.columns.into_iter().next() else {
            return Err(Failure::BadInput("twice() takes a number".to_owned()));
        };
        let [nulls, numbers] = <[Vec<u8>; 2]>::try_from(buffers)
            .map_err(|_| Failure::Fatal("a BIGINT has two buffers".to_owned()))?;
        let twice = numbers.chunks_exact(8).flat_map(|number| {
            let number = number.try_into().map_or(0, i64::from_le_bytes);
            number.wrapping_mul(2).to_le_bytes()
        });
        // What was null stays null.
        let column = Column { nodes, buffers: vec![nulls, twice.collect()] };
        give(&Selection::All, &[column]);
        Ok(Vec::new())
    }
}

impl transforms::Guest for Bare {
    fn call(_opened: u32, input: Block) -> Result<Vec<RowError>, Failure> {
        let column = input.columns.first();
        let buffers = column.map(|column| column.buffers.as_slice());
        let Some([nulls, offsets, _]) = buffers else {
            return Err(Failure::Fatal("a STRING has three buffers".to_owned()));
        };
        let offset = |row: usize| {
            let bytes = offsets.get(row * 4..row * 4 + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let is_there = |row: usize| nulls.is_empty() || nulls[row / 8] & (1 << (row % 8)) != 0;
        let rows = 0..input.rows as usize;
        let long =
            rows.filter(|row| is_there(*row) && offset(row + 1) - offset(*row) >= LONG_BYTES);
        give(&Selection::Taken(long.map(|row| row as u32).collect()), &[]);
        Ok(Vec::new())
    }
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "the exports of the canonical ABI")]
const _: () = {
    bindings::export!(Bare with_types_in bindings);
};
