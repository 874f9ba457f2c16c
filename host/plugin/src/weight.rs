//! How much a compiler has to keep in mind for a function, beside what its bytes say.
//!
//! A few bytes can stand for many values: a block whose type has a thousand results, a local that
//! is carried through thousands of loops. The compiler makes each of them, its time and memory grow
//! with them, and it cannot be interrupted within a function. So they are counted before. What
//! compilers write has next to nothing of it, as they make machine code of functions themselves.

use wasmparser::{
    BlockType, FuncType, FunctionBody, FunctionSectionReader, ImportSectionReader, Operator,
    TypeRef, TypeSectionReader,
};

use crate::limits::{CARRIED_LOCALS_MAX, CARRIED_VALUES_MAX, LOCAL_STEPS_MAX};

/// What a function's instructions refer to in its module.
#[derive(Default)]
pub(crate) struct Types {
    /// Parameters and results of each type.
    types: Vec<Arity>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    /// How many of these have been imported, or looked at.
    seen: usize,
}

#[derive(Clone, Copy, Default)]
struct Arity {
    parameters: u64,
    results: u64,
}

/// One limit that a function is beyond.
pub(crate) struct TooHeavy {
    pub(crate) what: &'static str,
    pub(crate) limit: u64,
}

impl Types {
    /// What cannot be read is left to the compiler, here as below.
    pub(crate) fn add_types(&mut self, section: &TypeSectionReader<'_>) {
        let arity = |ty: FuncType| Arity {
            parameters: ty.params().len() as u64,
            results: ty.results().len() as u64,
        };
        let types = section.clone().into_iter_err_on_gc_types();
        self.types.extend(types.map_while(Result::ok).map(arity));
    }

    pub(crate) fn add_imports(&mut self, section: &ImportSectionReader<'_>) {
        let imports = section.clone().into_imports().map_while(Result::ok);
        let functions = imports.filter_map(|import| match import.ty {
            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => Some(ty),
            _ => None,
        });
        self.functions.extend(functions);
        self.seen = self.functions.len();
    }

    pub(crate) fn add_functions(&mut self, section: &FunctionSectionReader<'_>) {
        self.functions.extend(section.clone().into_iter().map_while(Result::ok));
    }

    fn of_type(&self, ty: u32) -> Arity {
        self.types.get(ty as usize).copied().unwrap_or_default()
    }

    fn of_function(&self, function: u32) -> Arity {
        self.functions.get(function as usize).map_or_else(Arity::default, |ty| self.of_type(*ty))
    }

    fn of_block(&self, block: BlockType) -> Arity {
        match block {
            BlockType::Empty => Arity::default(),
            BlockType::Type(_) => Arity { parameters: 0, results: 1 },
            BlockType::FuncType(ty) => self.of_type(ty),
        }
    }

    /// Refuses the next function if it is beyond a limit. Reads as far as it can be read, as the compiler
    /// does.
    pub(crate) fn check(&mut self, body: &FunctionBody<'_>) -> Result<(), TooHeavy> {
        let own = self.of_function(u32::try_from(self.seen).unwrap_or(u32::MAX));
        self.seen += 1;
        let mut weight = Weight::new(self, own);
        let Ok(locals) = body.get_locals_reader() else { return Ok(()) };
        for local in locals {
            let Ok((count, _)) = local else { return Ok(()) };
            weight.locals += u64::from(count);
        }
        let Ok(operators) = body.get_operators_reader() else { return Ok(()) };
        for operator in operators {
            let Ok(operator) = operator else { return Ok(()) };
            weight.add(&operator)?;
        }
        Ok(())
    }
}

/// A block that is open: how many values a jump to it carries.
struct Label {
    carried: u64,
    is_loop: bool,
}

struct Weight<'a> {
    types: &'a Types,
    labels: Vec<Label>,
    /// Values that no instruction of their own made.
    values: u64,
    locals: u64,
    loops: u64,
    /// Beginnings and ends of blocks so far.
    blocks: u64,
    /// How many there were when a local was last used.
    used: Vec<u64>,
    /// Blocks through which the compiler goes to find what a local holds.
    steps: u64,
}

impl<'a> Weight<'a> {
    fn new(types: &'a Types, own: Arity) -> Weight<'a> {
        Weight {
            types,
            // A jump beyond all blocks is a return.
            labels: vec![Label { carried: own.results, is_loop: false }],
            values: 0,
            locals: own.parameters,
            loops: 0,
            blocks: 0,
            used: Vec::new(),
            steps: 0,
        }
    }

    /// Counts values of an instruction that may have one for nothing, as most have.
    fn carry(&mut self, values: u64) -> Result<(), TooHeavy> {
        self.values = self.values.saturating_add(values.saturating_sub(1));
        within("values carried between the blocks of one function", self.values, CARRIED_VALUES_MAX)
    }

    fn jump(&mut self, depth: u32) -> Result<(), TooHeavy> {
        let place = self.labels.len().checked_sub(depth as usize + 1);
        let label = place.and_then(|place| self.labels.get(place));
        self.carry(label.map_or(0, |label| label.carried))
    }

    fn open(&mut self, block: BlockType, is_loop: bool) -> Result<(), TooHeavy> {
        let Arity { parameters, results } = self.types.of_block(block);
        self.blocks += 1;
        self.loops += u64::from(is_loop);
        let carried = if is_loop { parameters } else { results };
        self.labels.push(Label { carried, is_loop });
        let carried = self.loops.saturating_mul(self.locals);
        within("locals carried through loops in loops", carried, CARRIED_LOCALS_MAX)?;
        self.carry(parameters.saturating_add(results))
    }

    fn end(&mut self) {
        self.blocks += 1;
        if self.labels.pop().is_some_and(|label| label.is_loop) {
            self.loops -= 1;
        }
    }

    fn read(&mut self, local: u32) -> Result<(), TooHeavy> {
        let since = self.blocks - self.used.get(local as usize).copied().unwrap_or_default();
        self.steps = self.steps.saturating_add(since);
        self.touch(local);
        within("blocks between the uses of the locals of one function", self.steps, LOCAL_STEPS_MAX)
    }

    fn touch(&mut self, local: u32) {
        let local = local as usize;
        // More locals than bytes of a function there are none of, as the compiler will say.
        if local >= self.used.len() && local < crate::limits::FUNCTION_BYTES_MAX {
            self.used.resize(local + 1, 0);
        }
        if let Some(used) = self.used.get_mut(local) {
            *used = self.blocks;
        }
    }

    fn add(&mut self, operator: &Operator<'_>) -> Result<(), TooHeavy> {
        match operator {
            Operator::Block { blockty } | Operator::If { blockty } => self.open(*blockty, false),
            Operator::TryTable { try_table } => self.open(try_table.ty, false),
            Operator::Loop { blockty } => self.open(*blockty, true),
            Operator::Else => {
                self.blocks += 1;
                Ok(())
            }
            Operator::End => {
                self.end();
                Ok(())
            }
            Operator::Br { relative_depth }
            | Operator::BrIf { relative_depth }
            | Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth } => self.jump(*relative_depth),
            Operator::BrTable { targets } => {
                let default = std::iter::once(targets.default());
                let mut targets = targets.targets().map_while(Result::ok).chain(default);
                targets.try_for_each(|depth| self.jump(depth))
            }
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                self.carry(self.types.of_function(*function_index).results)
            }
            Operator::CallIndirect { type_index, .. }
            | Operator::ReturnCallIndirect { type_index, .. }
            | Operator::CallRef { type_index }
            | Operator::ReturnCallRef { type_index } => {
                self.carry(self.types.of_type(*type_index).results)
            }
            Operator::LocalGet { local_index } => self.read(*local_index),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                self.touch(*local_index);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn within(what: &'static str, found: u64, limit: u64) -> Result<(), TooHeavy> {
    if found <= limit { Ok(()) } else { Err(TooHeavy { what, limit }) }
}
