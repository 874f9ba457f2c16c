//! What two runs do not have in common.

use std::collections::HashMap;

/// The places of those texts that the others have not, or not so often.
pub(super) fn only(these: &[String], others: &[String]) -> Vec<usize> {
    let mut left: HashMap<&str, usize> = HashMap::new();
    others.iter().for_each(|other| *left.entry(other).or_default() += 1);
    let mut is_only = |text: &String| match left.get_mut(text.as_str()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    these.iter().enumerate().filter(|(_, text)| is_only(text)).map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_more_often_is_left_over() {
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (these, others) = (texts(&["a", "b", "a", "a"]), texts(&["a", "c", "a"]));
        assert_eq!(only(&these, &others), [1, 3]);
        assert_eq!(only(&others, &these), [1]);
    }
}
