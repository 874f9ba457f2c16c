//! Did you mean …?

/// The known name that a mistyped one was most likely meant to be; `None` where none is near.
///
/// Near is what a few slips of the pen make: a letter more, less or other, or two swapped, for
/// every three letters. Case is no slip.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LETTERS_A_SLIP: usize = 3;
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|other| (strsim::damerau_levenshtein(&lower, &other.to_lowercase()), other))
        .filter(|(slips, other)| slips * LETTERS_A_SLIP <= other.len().max(name.len()))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let known = ["output_mode", "options", "maxFilesPerTrigger", "rate"];
        assert_eq!(nearest("output_mod", known), Some("output_mode"));
        assert_eq!(nearest("optinos", known), Some("options"));
        assert_eq!(nearest("MAXFILEPERTRIGGER", known), Some("maxFilesPerTrigger"));
        assert_eq!(nearest("rates", known), Some("rate"));
        assert_eq!(nearest("zzz", known), None);
        assert_eq!(nearest("out", known), None);
        assert_eq!(nearest("", known), None);
    }
}
