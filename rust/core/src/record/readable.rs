//! Whether JSON can be read by every front, decided without building anything of it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Checks that `text` is JSON nested at most 127 deep, without half characters, and without numbers that no double
/// can hold.
///
/// # Errors
/// What is wrong, and where.
pub fn check(text: &str) -> serde_json::Result<()> {
    serde_json::from_str::<Walked>(text).map(drop)
}

/// A value that was read and forgotten. Unlike `IgnoredAny` it looks at every letter of it.
struct Walked;

impl<'de> Deserialize<'de> for Walked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Walked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_str<E>(self, _: &str) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Walked, A::Error> {
        while items.next_element::<Walked>()?.is_some() {}
        Ok(Walked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Walked, A::Error> {
        while fields.next_entry::<Walked, Walked>()?.is_some() {}
        Ok(Walked)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(depth: usize) -> [String; 2] {
        ["[", "{\"a\":"].map(|open| {
            let close = if open == "[" { "]" } else { "}" };
            format!("{}1{}", open.repeat(depth), close.repeat(depth))
        })
    }

    #[test]
    fn what_some_reader_would_choke_on_is_not_readable() {
        for bad in ["\"\\ud800\"", "{\"\\udfff\":1}", "[1e999]", "[", "", "\"\\x\"", "1 2"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(nested(127).iter().all(|text| check(text).is_ok()));
        assert!(nested(128).iter().all(|text| check(text).is_err()));
        assert!(nested(100_000).iter().all(|text| check(text).is_err()));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_reader_that_builds_the_value(text in "[\\[\\]{}\",:0-9eE+.\\\\uda tfn-]{0,24}") {
            prop_assert_eq!(check(&text).is_ok(), serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }
}
