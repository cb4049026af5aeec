//! What somebody who misspelt a name may have meant.

/// The known name that is nearest, if any is near: `; did you mean "name"?`, else nothing.
pub fn did_you_mean(name: &str, known: &[&str]) -> String {
    let distance = |other: &str| strsim::damerau_levenshtein(name, other);
    let near = known.iter().map(|other| (distance(other), *other)).min();
    let most = (name.chars().count() / 3).max(2);
    near.filter(|(distance, _)| *distance <= most)
        .map_or_else(String::new, |(_, other)| format!("; did you mean {other:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        assert_eq!(did_you_mean("concurency", &["concurrency", "prefetch"]), "; did you mean \"concurrency\"?");
        assert_eq!(did_you_mean("colour", &["concurrency", "prefetch"]), "");
        assert_eq!(did_you_mean("x", &[]), "");
    }
}
