//! Reading JSON objects so that fields this version does not know are kept.
//!
//! In one pass and without building anything in between: a record of a hundred tasks has more than a thousand fields.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A field's name, borrowed from the text where it can be.
#[derive(Debug)]
pub struct Name<'a>(pub Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// Says in which field something is wrong.
pub fn in_field<E: Error>(name: &str, error: &E) -> E {
    E::custom(format_args!("field {name:?}: {error}"))
}

/// A field that must be there.
pub fn take<T, E: Error>(name: &'static str, found: Option<T>) -> Result<T, E> {
    found.ok_or_else(|| E::missing_field(name))
}

/// A field that may be missing.
#[expect(clippy::unnecessary_wraps, reason = "one of several ways to take a field")]
pub fn take_or_default<T: Default, E: Error>(_: &'static str, found: Option<T>) -> Result<T, E> {
    Ok(found.unwrap_or_default())
}

/// A count that may be missing: then it is 1.
#[expect(clippy::unnecessary_wraps, reason = "one of several ways to take a field")]
pub fn take_or_one<E: Error>(_: &'static str, found: Option<u16>) -> Result<u16, E> {
    Ok(found.unwrap_or(1))
}

/// A field that may be missing; one that is `null` is there.
#[expect(clippy::unnecessary_wraps, reason = "one of several ways to take a field")]
pub const fn take_if_there<T, E: Error>(_: &'static str, found: Option<T>) -> Result<Option<T>, E> {
    Ok(found)
}

/// Implements `Deserialize` for a struct with a field `extra`, which gets the fields that are not named here.
macro_rules! read_keeping_the_unknown {
    ($name:ident { $($field:ident: $take:ident($key:literal)),* $(,)? }) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> std::result::Result<$name, A::Error> {
                        use $crate::record::fields::{Name, in_field};
                        $(let mut $field = None;)*
                        let mut extra = $crate::record::Extra::new();
                        while let Some(Name(name)) = map.next_key()? {
                            match &*name {
                                $($key => $field = Some(map.next_value().map_err(|error| in_field($key, &error))?),)*
                                _ => {
                                    extra.insert(name.into_owned(), map.next_value()?);
                                }
                            }
                        }
                        Ok($name { $($field: $crate::record::fields::$take($key, $field)?,)* extra })
                    }
                }

                deserializer.deserialize_map(Fields)
            }
        }
    };
}

pub(crate) use read_keeping_the_unknown;
