//! What the server's things are called in the store.

use buquet_core::store::hosted::VERSIONED;

/// The secret key, if the server made one.
pub const SECRET: &str = "server/secret";

/// The buckets.
pub const BUCKETS: &str = "buckets/";

/// A bucket.
pub fn bucket(name: &str) -> String {
    format!("{BUCKETS}{name}")
}

/// An object, or what the objects of a listing begin with.
pub fn object(bucket: &str, key: &str) -> String {
    format!("{VERSIONED}{bucket}/{key}")
}

/// The key of an object in `bucket`, from its name in the store.
pub fn key<'a>(bucket: &str, name: &'a str) -> &'a str {
    name.get(VERSIONED.len() + bucket.len() + 1..).unwrap_or_default()
}

/// An upload in parts.
pub fn upload(id: &str) -> String {
    format!("uploads/{id}")
}

/// What the parts of an upload begin with.
pub fn parts(id: &str) -> String {
    format!("parts/{id}/")
}

/// A part of an upload.
pub fn part(id: &str, number: i32) -> String {
    format!("parts/{id}/{number:05}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_again_whatever_it_holds() {
        for name in ["a", "a/b", "/", "é", "tasks/x"] {
            assert_eq!(key("dev", &object("dev", name)), name);
        }
    }
}
