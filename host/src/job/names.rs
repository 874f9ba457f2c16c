//! Names that a job gives: they become names of threads, of directories, and labels of metrics.

/// Bytes of a name. A file's may have 255, and what is made of a name is longer.
const BYTES_MAX: usize = 200;

/// Whether a name can be used in messages, threads and SQL.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(super) fn check_name(place: &str, name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("{place} has no name: write at least one letter"));
    }
    if name.len() > BYTES_MAX {
        let start: String = name.chars().take(20).collect();
        return Err(format!(
            "{place}: the name \"{start}…\" has {} bytes, and may have {BYTES_MAX}",
            name.len()
        ));
    }
    if let Some(found) = name.chars().find(|c| c.is_control()) {
        return Err(format!(
            "{place}: the name {name:?} has the control character {found:?} in it; leave it out"
        ));
    }
    Ok(())
}

/// Whether a name can be that of a directory beside others, too: a job's checkpoint is in one.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(super) fn check_file_name(place: &str, name: &str) -> Result<(), String> {
    check_name(place, name)?;
    if name.contains(['/', '\\']) || name == "." || name == ".." {
        return Err(format!(
            "{place}: \"{name}\" is no name for a directory, which the checkpoint's is made of: leave out \"/\", \"\\\" and \"..\"; where the checkpoint is, `checkpoint` says"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_directory() {
        for name in ["orders", "orders-2", "Täglich 1", "a.b", "..."] {
            assert_eq!(check_file_name("name", name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", "../x", "a/b", "/", "a\\b", "a\0b", "a\nb", &"x".repeat(201)] {
            assert!(check_file_name("name", name).is_err(), "{name:?}");
        }
    }
}
