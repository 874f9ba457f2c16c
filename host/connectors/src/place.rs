//! Whether a place could be written, asked without writing or creating anything.

use std::path::Path;

use rustix::fs::{Access, access};
use tidemill_core::ConnectorError;

/// Refuses a directory that could not be written, or created where it is missing.
pub(crate) fn check_writable_directory(directory: &Path) -> Result<(), ConnectorError> {
    let Some(nearest) = directory.ancestors().find(|path| path.exists()) else {
        return Err(ConnectorError::fatal(format!(
            "the directory {} cannot be created: nothing on the way to it exists",
            directory.display()
        )));
    };
    if !nearest.is_dir() {
        return Err(ConnectorError::fatal(format!(
            "{} should become a directory, and {} is a file",
            directory.display(),
            nearest.display()
        )));
    }
    access(nearest, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        ConnectorError::fatal(format!(
            "the directory {} may not be written; change its permissions or write elsewhere",
            nearest.display()
        ))
        .caused_by(std::io::Error::from(error))
    })
}

/// Refuses a file that could not be written.
pub(crate) fn check_writable_file(file: &Path) -> Result<(), ConnectorError> {
    access(file, Access::READ_OK | Access::WRITE_OK).map_err(|error| {
        ConnectorError::fatal(format!(
            "the file {} may not be written; change its permissions or write elsewhere",
            file.display()
        ))
        .caused_by(std::io::Error::from(error))
    })
}
