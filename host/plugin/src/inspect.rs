//! Counts what is in a module before anything is made of it.
//!
//! The toolchain holds a whole module in memory, several times its size, and its time grows faster
//! than that. So what it is given has bounds: each is far above what a compiler for any language
//! writes, and far below what the host could not bear. Reading goes by the sections' heads and
//! skips the code itself.

use wasmparser::{ComponentInstance, Parser, Payload};

use crate::error::LoadProblem;
use crate::limits::{
    ENTRIES_MAX, FUNCTION_BYTES_MAX, FUNCTIONS_MAX, MODULE_BYTES_MAX, NESTED_INSTANCES_MAX,
    PARTS_MAX, TYPE_SECTION_BYTES_MAX, TYPE_SECTIONS_MAX,
};

/// Name of the sections that hold a module's part of the contract.
const TYPE_SECTION: &str = "component-type";

/// Refuses a file that is too large.
pub(crate) fn check_size(bytes: usize) -> Result<(), LoadProblem> {
    check("bytes", bytes, MODULE_BYTES_MAX, "build it with `strip = true` and `opt-level = \"s\"`")
}

/// Refuses what the toolchain should not be given. What cannot be read is left to the compiler,
/// which has better words for it.
pub(crate) fn check_parts(bytes: &[u8]) -> Result<(), LoadProblem> {
    let mut parts = Parts::default();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(payload) => parts.count(&payload)?,
            Err(_) => break,
        }
        parts.check()?;
    }
    Ok(())
}

/// How many there are, over all modules and components in a file.
#[derive(Default)]
struct Parts {
    functions: usize,
    types: usize,
    imports: usize,
    exports: usize,
    globals: usize,
    memories_and_tables: usize,
    segments: usize,
    aliases: usize,
    modules_and_components: usize,
    core_instances: usize,
    nested_instances: usize,
    type_sections: usize,
}

impl Parts {
    fn count(&mut self, payload: &Payload<'_>) -> Result<(), LoadProblem> {
        match payload {
            Payload::FunctionSection(section) => add(&mut self.functions, section.count()),
            Payload::TypeSection(section) => add(&mut self.types, section.count()),
            Payload::CoreTypeSection(section) => add(&mut self.types, section.count()),
            Payload::ComponentTypeSection(section) => add(&mut self.types, section.count()),
            Payload::TagSection(section) => add(&mut self.types, section.count()),
            Payload::ImportSection(section) => add(&mut self.imports, section.count()),
            Payload::ComponentImportSection(section) => add(&mut self.imports, section.count()),
            Payload::ExportSection(section) => add(&mut self.exports, section.count()),
            Payload::ComponentExportSection(section) => add(&mut self.exports, section.count()),
            Payload::GlobalSection(section) => add(&mut self.globals, section.count()),
            Payload::TableSection(section) => add(&mut self.memories_and_tables, section.count()),
            Payload::MemorySection(section) => add(&mut self.memories_and_tables, section.count()),
            Payload::DataSection(section) => add(&mut self.segments, section.count()),
            Payload::ElementSection(section) => add(&mut self.segments, section.count()),
            Payload::ComponentAliasSection(section) => add(&mut self.aliases, section.count()),
            Payload::ComponentCanonicalSection(section) => {
                add(&mut self.functions, section.count());
            }
            Payload::InstanceSection(section) => add(&mut self.core_instances, section.count()),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.modules_and_components += 1;
            }
            Payload::ComponentInstanceSection(section) => {
                let made = section.clone().into_iter();
                let made = made.filter(|instance| {
                    matches!(instance, Ok(ComponentInstance::Instantiate { .. }))
                });
                self.nested_instances += made.count();
            }
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                check(
                    "bytes in one function",
                    range.end.saturating_sub(range.start),
                    FUNCTION_BYTES_MAX,
                    "it takes too long to compile; make several functions of it",
                )?;
            }
            Payload::CustomSection(section) if section.name().starts_with(TYPE_SECTION) => {
                self.type_sections += 1;
                check(
                    "bytes in its component type",
                    section.data().len(),
                    TYPE_SECTION_BYTES_MAX,
                    "build it with the tidemill-plugin crate, which writes it",
                )?;
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), LoadProblem> {
        let advice = "it was not made by a compiler, or holds far more than a plugin needs";
        check("functions", self.functions, FUNCTIONS_MAX, advice)?;
        let entries = [
            ("types", self.types),
            ("imports", self.imports),
            ("exports", self.exports),
            ("globals", self.globals),
            ("memories and tables", self.memories_and_tables),
            ("segments of data and tables", self.segments),
            ("aliases", self.aliases),
        ];
        for (what, found) in entries {
            check(what, found, ENTRIES_MAX, advice)?;
        }
        check("core instances", self.core_instances, PARTS_MAX, advice)?;
        check("modules and components", self.modules_and_components, PARTS_MAX, advice)?;
        check("instances of components", self.nested_instances, NESTED_INSTANCES_MAX, advice)?;
        check("component types", self.type_sections, TYPE_SECTIONS_MAX, advice)
    }
}

fn add(sum: &mut usize, count: u32) {
    // What is declared counts, whether or not the bytes are there.
    *sum = sum.saturating_add(count as usize);
}

fn check(what: &str, found: usize, limit: usize, advice: &str) -> Result<(), LoadProblem> {
    if found <= limit {
        return Ok(());
    }
    Err(LoadProblem::TooLarge(format!("it has {found} {what}, and the limit is {limit}; {advice}")))
}
