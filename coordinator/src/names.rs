//! Names that somebody may have meant.

/// How many near names are offered.
const OFFERED: usize = 5;

/// A name is near when at most one letter in so many of what was typed is wrong.
const LETTERS_PER_EDIT: usize = 3;

/// Shorter texts are contained in too many names to mean one.
const SHORTEST_PART: usize = 3;

/// The names that `typed` may have meant, nearest first: those that contain it, those a few letters off, those that it contains.
pub(crate) fn near(typed: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut near: Vec<_> = names
        .into_iter()
        .filter_map(|name| Some((distance(typed, &name)?, name)))
        .collect();
    near.sort();
    near.dedup();
    near.truncate(OFFERED);
    near.into_iter().map(|(_, name)| name).collect()
}

fn distance(typed: &str, name: &str) -> Option<usize> {
    let (typed, name) = (typed.to_lowercase(), name.to_lowercase());
    let contains = |long: &str, short: &str| short.len() >= SHORTEST_PART && long.contains(short);
    if contains(&name, &typed) {
        return Some(0);
    }
    let length = typed.chars().count();
    let mut edits_of_typed = edits(&typed, &name);
    if length >= SHORTEST_PART {
        // It may also be a beginning.
        let begin: String = name.chars().take(length).collect();
        edits_of_typed = edits_of_typed.min(edits(&typed, &begin));
    }
    if edits_of_typed <= length / LETTERS_PER_EDIT {
        return Some(edits_of_typed);
    }
    contains(&typed, &name).then_some(usize::MAX)
}

/// Levenshtein distance: letters to insert, delete or replace.
pub(crate) fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (above, to) in row.iter().skip(1).zip(b.chars()) {
            left = (diagonal + usize::from(from != to))
                .min(left + 1)
                .min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", "", 0)]
    #[case("", "abc", 3)]
    #[case("kitten", "sitting", 3)]
    #[case("maxRuning", "maxRunning", 1)]
    fn counts_letters(#[case] a: &str, #[case] b: &str, #[case] expected: usize) {
        assert_eq!(edits(a, b), expected);
        assert_eq!(edits(b, a), expected);
    }

    #[rstest]
    #[case::a_letter("gpu-fraction-0_51", &["gpu-fraction-0_50", "gpu-fraction-0_13"])]
    #[case::begin("gpu-fractoin", &["gpu-fraction-0_13", "gpu-fraction-0_50"])]
    #[case::part("fraction", &["gpu-fraction-0_13", "gpu-fraction-0_50"])]
    #[case::case("DEFAULT", &["default"])]
    #[case::longer("acme/default", &["default"])]
    #[case::far("xyzzy", &[])]
    #[case::too_short_to_mean_one("gp", &[])]
    #[case::nothing("", &[])]
    fn offers_what_is_near(#[case] typed: &str, #[case] expected: &[&str]) {
        let names = [
            "gpu-fraction-0_50",
            "default",
            "gpu-fraction-0_13",
            "default",
        ];
        assert_eq!(near(typed, names.map(str::to_owned)), expected);
    }
}
