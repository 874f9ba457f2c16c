//! Where console sinks print.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;

/// Standard output, or what a test reads. Clones share it, and what one batch prints is never
/// torn apart by another's.
#[derive(Clone)]
pub struct ConsoleOutput {
    writer: Option<Arc<Mutex<dyn Write + Send>>>,
}

impl ConsoleOutput {
    /// Standard output.
    #[must_use]
    pub fn stdout() -> ConsoleOutput {
        ConsoleOutput { writer: None }
    }

    /// Something else, which the caller may keep a handle to.
    #[must_use]
    pub fn shared(writer: Arc<Mutex<dyn Write + Send>>) -> ConsoleOutput {
        ConsoleOutput { writer: Some(writer) }
    }

    pub(super) fn print(
        &self,
        print: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        match &self.writer {
            Some(writer) => print(&mut *writer.lock()),
            None => {
                let mut stdout = io::stdout().lock();
                print(&mut stdout)?;
                stdout.flush()
            }
        }
    }
}
