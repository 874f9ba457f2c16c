//! Counts what is in a module before anything is made of it.
//!
//! The toolchain holds a whole module in memory, several times its size, and its time grows faster
//! than that. So what it is given has bounds: each is far above what a compiler for any language
//! writes, and far below what the host could not bear. Of the code itself is counted what a
//! compiler has to keep in mind for it (`weight.rs`).

use std::collections::BTreeSet;

use wasmparser::{
    ComponentExternName, ComponentInstance, ComponentType, ComponentTypeDeclaration, FunctionBody,
    InstanceTypeDeclaration, Parser, Payload,
};

use crate::error::LoadProblem;
use crate::guarded::check_time;
use crate::limits::{
    ENTRIES_MAX, FUNCTION_BYTES_MAX, FUNCTIONS_MAX, INSTANTIATED_MAX, MODULE_BYTES_MAX,
    NESTED_INSTANCES_MAX, NESTED_TYPES_MAX, PARTS_MAX, TYPE_SECTION_BYTES_MAX, TYPE_SECTIONS_MAX,
};
use crate::weight::{TooHeavy, Types};

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
            Ok(payload) => {
                check_nesting(&payload, bytes)?;
                parts.count(&payload)?;
                parts.check()?;
                parts.note_types(&payload);
            }
            Err(_) => break,
        }
    }
    Ok(())
}

/// Refuses types that may be nested deeper than the stack of those who read them: they call
/// themselves for each level. Each level begins with one of two bytes, so there are at most as many
/// levels as such bytes.
fn check_nesting(payload: &Payload<'_>, bytes: &[u8]) -> Result<(), LoadProblem> {
    let Payload::ComponentTypeSection(types) = payload else { return Ok(()) };
    let section = bytes.get(types.range()).unwrap_or(bytes);
    let levels = section.iter().filter(|byte| matches!(byte, 0x41 | 0x42)).count();
    check(
        "beginnings of types in one section",
        levels,
        NESTED_TYPES_MAX,
        "it was not made by a compiler, or holds far more than a plugin needs",
    )
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
    packages: Packages,
    /// Of the modules that are open, the innermost last.
    modules: Vec<Types>,
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
                self.check_weight(body)?;
            }
            Payload::CustomSection(section) if section.name().starts_with(TYPE_SECTION) => {
                self.type_sections += 1;
                check(
                    "bytes in its component type",
                    section.data().len(),
                    TYPE_SECTION_BYTES_MAX,
                    "build it with the tidemill-plugin crate, which writes it",
                )?;
                self.packages.of_section(section.data())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Keeps what the code of a module refers to.
    fn note_types(&mut self, payload: &Payload<'_>) {
        match payload {
            Payload::Version { .. } => self.modules.push(Types::default()),
            Payload::End(_) => drop(self.modules.pop()),
            _ => {}
        }
        // Those that are declared too often have been refused.
        let Some(module) = self.modules.last_mut() else { return };
        match payload {
            Payload::TypeSection(section) => module.add_types(section),
            Payload::ImportSection(section) => module.add_imports(section),
            Payload::FunctionSection(section) => module.add_functions(section),
            _ => {}
        }
    }

    fn check_weight(&mut self, body: &FunctionBody<'_>) -> Result<(), LoadProblem> {
        check_time();
        let Some(module) = self.modules.last_mut() else { return Ok(()) };
        module.check(body).map_err(|TooHeavy { what, limit }| {
            LoadProblem::TooLarge(format!(
                "it has more than {limit} {what}, which is the limit; it was not made by a \
                 compiler, or does in one function what should be several"
            ))
        })
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
        let entries = self.functions + self.globals + self.imports;
        check(
            "functions, globals and imports over all core instances",
            entries.saturating_mul(self.core_instances),
            INSTANTIATED_MAX,
            advice,
        )?;
        check("modules and components", self.modules_and_components, PARTS_MAX, advice)?;
        check("instances of components", self.nested_instances, NESTED_INSTANCES_MAX, advice)?;
        check("component types", self.type_sections, TYPE_SECTIONS_MAX, advice)
    }
}

/// The packages whose interfaces the component types of a module name, in the order of the names.
///
/// The encoder follows the packages that use each other until it has seen all, and so without end,
/// down to where the stack and with it the process ends, if two of them use each other. An
/// interface can only use what was named before it. So that cannot be where all names of a package
/// follow each other, and nothing else is let through: a plugin names one package, the contract's.
#[derive(Default)]
struct Packages {
    named: BTreeSet<String>,
    last: String,
}

impl Packages {
    /// Reads a component type, or says why it is not to be read any further.
    fn of_section(&mut self, section: &[u8]) -> Result<(), LoadProblem> {
        for payload in Parser::new(0).parse_all(section) {
            let payload = payload.map_err(|_| LoadProblem::NoPlugin { reason: damaged() })?;
            check_nesting(&payload, section)?;
        }
        self.read(section).map_err(|reason| LoadProblem::NoPlugin { reason })
    }

    fn read(&mut self, section: &[u8]) -> Result<(), String> {
        // The encoder would look behind other beginnings, which an old format had.
        if !section.starts_with(b"\0asm") {
            return Err(damaged());
        }
        for payload in Parser::new(0).parse_all(section) {
            match payload.map_err(|_| damaged())? {
                Payload::ComponentTypeSection(types) => {
                    for found in types {
                        self.of_type(&found.map_err(|_| damaged())?)?;
                    }
                }
                Payload::ComponentImportSection(imports) => {
                    for import in imports {
                        self.name(&import.map_err(|_| damaged())?.name)?;
                    }
                }
                Payload::ComponentExportSection(exports) => {
                    for export in exports {
                        self.name(&export.map_err(|_| damaged())?.name)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Calls itself for the types in a type, which are few enough.
    fn of_type(&mut self, found: &ComponentType<'_>) -> Result<(), String> {
        match found {
            ComponentType::Component(parts) => parts.iter().try_for_each(|part| match part {
                ComponentTypeDeclaration::Type(inner) => self.of_type(inner),
                ComponentTypeDeclaration::Import(import) => self.name(&import.name),
                ComponentTypeDeclaration::Export { name, .. } => self.name(name),
                ComponentTypeDeclaration::CoreType(_) | ComponentTypeDeclaration::Alias(_) => {
                    Ok(())
                }
            }),
            ComponentType::Instance(parts) => parts.iter().try_for_each(|part| match part {
                InstanceTypeDeclaration::Type(inner) => self.of_type(inner),
                InstanceTypeDeclaration::Export { name, .. } => self.name(name),
                InstanceTypeDeclaration::CoreType(_) | InstanceTypeDeclaration::Alias(_) => Ok(()),
            }),
            _ => Ok(()),
        }
    }

    fn name(&mut self, name: &ComponentExternName<'_>) -> Result<(), String> {
        if name.version_suffix.is_some() {
            return Err(damaged());
        }
        [Some(name.name), name.implements].into_iter().flatten().try_for_each(|name| self.add(name))
    }

    /// Counts a name such as `namespace:package/interface@0.1.0`; others are of no package.
    fn add(&mut self, name: &str) -> Result<(), String> {
        let Some((package, interface)) = name.split_once('/') else { return Ok(()) };
        let package = match interface.split_once('@') {
            Some((_, version)) => format!("{package}@{version}"),
            None => package.to_owned(),
        };
        if package == self.last {
            return Ok(());
        }
        if !self.named.insert(package.clone()) {
            return Err(format!(
                "{}: it names `{package}`, then `{}`, and `{package}` again, as if they used each \
                 other",
                damaged(),
                self.last
            ));
        }
        self.last = package;
        Ok(())
    }
}

fn damaged() -> String {
    "its component type is damaged".to_owned()
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
