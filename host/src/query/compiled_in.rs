//! Plugins that are compiled into the executable.
//!
//! They have no bytes that a checkpoint could keep. What stands for them is the name and the
//! executable: a build with other code is another generation, so that a batch which one
//! build left in flight is never replayed by another as if it were the same.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ReadCache};
use tidemill_core::{
    AggregateInstance, BatchContext, BatchHost, BoxFuture, Digest, FrameHandle, FunctionInstance,
    FunctionSignature, PluginError, PluginModule, PluginUsage, Shape,
};

/// Bytes of the executable that are read at a time.
const CHUNK: u64 = 1 << 20;

/// A plugin of the embedding program, under a digest that is this build's.
pub(super) struct CompiledIn {
    module: Arc<dyn PluginModule>,
    identity: Arc<[u8]>,
    digest: Digest,
}

impl CompiledIn {
    pub(super) fn new(module: Arc<dyn PluginModule>) -> io::Result<CompiledIn> {
        Ok(CompiledIn::of_build(module, this_build()?))
    }

    fn of_build(module: Arc<dyn PluginModule>, build: Digest) -> CompiledIn {
        let identity = format!("plugin {} compiled into the executable {build}\n", module.name());
        let digest = Digest::of(identity.as_bytes());
        CompiledIn { module, identity: Arc::from(identity.as_bytes()), digest }
    }

    /// What a checkpoint keeps for its digest.
    pub(super) fn identity(&self) -> Arc<[u8]> {
        Arc::clone(&self.identity)
    }
}

/// What stands for this build, found once in a process: the note of the linker, which is a digest of
/// what it linked, or where there is none the digest of the whole file.
fn this_build() -> io::Result<Digest> {
    static BUILD: OnceLock<Digest> = OnceLock::new();
    if let Some(build) = BUILD.get() {
        return Ok(*build);
    }
    let mut file = executable()?;
    let build = match build_id(&mut file) {
        Some(id) => Digest::of(&id),
        None => of_whole(&mut file)?,
    };
    Ok(*BUILD.get_or_init(|| build))
}

/// The linker's note of an ELF file. No more than its headers and the note are read.
fn build_id(file: &mut File) -> Option<Vec<u8>> {
    let parts = ReadCache::new(file);
    let parsed = ElfFile64::<Endianness, _>::parse(&parts).ok()?;
    // Shorter ones are not made of the contents.
    parsed.build_id().ok()?.filter(|id| id.len() >= 16).map(<[u8]>::to_vec)
}

/// Digest of the digests of the file's parts.
fn of_whole(file: &mut File) -> io::Result<Digest> {
    file.rewind()?;
    let (mut digests, mut chunk) = (Vec::new(), Vec::new());
    loop {
        chunk.clear();
        if (&mut *file).take(CHUNK).read_to_end(&mut chunk)? == 0 {
            return Ok(Digest::of(&digests));
        }
        digests.extend(Digest::of(&chunk).0);
    }
}

/// The file that this process was started from: on Linux even when another has its name by now.
fn executable() -> io::Result<File> {
    match File::open("/proc/self/exe") {
        Ok(file) => Ok(file),
        Err(_) => File::open(std::env::current_exe()?),
    }
}

impl PluginModule for CompiledIn {
    fn name(&self) -> &str {
        self.module.name()
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn functions(&self) -> &[FunctionSignature] {
        self.module.functions()
    }

    fn shape(&self, function: &str, input: SchemaRef) -> Result<Shape, PluginError> {
        self.module.shape(function, input)
    }

    fn open(
        &self,
        function: &str,
        context: &BatchContext,
        input: SchemaRef,
        shape: &Shape,
    ) -> Result<Box<dyn FunctionInstance>, PluginError> {
        self.module.open(function, context, input, shape)
    }

    fn open_aggregate(
        &self,
        function: &str,
        context: &BatchContext,
    ) -> Result<Box<dyn AggregateInstance>, PluginError> {
        self.module.open_aggregate(function, context)
    }

    fn foreach_batch<'a>(
        &'a self,
        function: &'a str,
        context: &'a BatchContext,
        host: Arc<dyn BatchHost>,
        batch: FrameHandle,
    ) -> BoxFuture<'a, Result<(), PluginError>> {
        self.module.foreach_batch(function, context, host, batch)
    }

    fn usage(&self) -> PluginUsage {
        self.module.usage()
    }

    fn usage_by_function(&self) -> Vec<(String, PluginUsage)> {
        self.module.usage_by_function()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    struct Empty(&'static str);

    impl PluginModule for Empty {
        fn name(&self) -> &str {
            self.0
        }

        fn digest(&self) -> Digest {
            Digest::of(self.0.as_bytes())
        }

        fn functions(&self) -> &[FunctionSignature] {
            &[]
        }

        fn shape(&self, _: &str, input: SchemaRef) -> Result<Shape, PluginError> {
            Ok(Shape::of_all(&input, Arc::clone(&input)))
        }
    }

    #[test]
    fn another_build_is_another_generation() {
        let build = this_build().unwrap();
        assert_eq!(this_build().unwrap(), build);
        let of = |name, build| CompiledIn::of_build(Arc::new(Empty(name)), build);
        let here = CompiledIn::new(Arc::new(Empty("a"))).unwrap();
        assert_eq!(here.digest(), of("a", build).digest());
        assert_ne!(here.digest(), of("b", build).digest());
        assert_ne!(here.digest(), of("a", Digest::of(b"another build")).digest());
        // The file is read where the linker left no note.
        let whole = of_whole(&mut executable().unwrap()).unwrap();
        assert_ne!(whole, build, "this executable has a note");
        assert_eq!(of_whole(&mut executable().unwrap()).unwrap(), whole);
        // A checkpoint checks what it keeps against the digest.
        assert_eq!(Digest::of(&here.identity()), here.digest());
    }
}
