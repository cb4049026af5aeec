//! Checks of listings and of keys.
#![expect(clippy::missing_errors_doc, reason = "every check errs with what the store does wrong")]

use super::{AnyStore, Broken, Check, fill, must, read, write};
use crate::store::Page;

fn keys(page: &Page) -> Vec<&str> {
    page.entries.iter().map(|entry| entry.key.as_str()).collect()
}

async fn list(store: &AnyStore, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, Broken> {
    Ok(store.list(prefix, after, limit).await?.value)
}

/// Keys come in ascending byte order, only those that begin with the prefix, with size and time.
pub async fn a_listing_is_ordered_and_stays_in_its_prefix(store: &AnyStore) -> Check {
    // "~" and "é" sort after all letters, and capitals before small ones: bytes, not an alphabet.
    let sorted = ["order/A", "order/B/1", "order/a", "order/a/b", "order/aa", "order/~", "order/é"];
    for key in sorted.iter().rev().chain(&["orde", "order", "order0", "ordes/x"]) {
        write(store, key, *key).await?;
    }
    let page = list(store, "order/", None, 100).await?;
    must!(keys(&page) == sorted && !page.more, "the listing was {:?}, more: {}", keys(&page), page.more);
    for entry in &page.entries {
        must!(entry.size == entry.key.len() as u64, "{:?} is listed with {} bytes", entry.key, entry.size);
        let object = read(store, &entry.key).await?;
        let apart = object.last_modified.0.abs_diff(entry.last_modified.0);
        must!(apart <= 1_000, "{:?} is listed with a time {apart} ms from the object's", entry.key);
    }
    // A prefix need not end at a slash.
    let page = list(store, "order/a", None, 100).await?;
    must!(keys(&page) == ["order/a", "order/a/b", "order/aa"], "a prefix within a name gave {:?}", keys(&page));
    let page = list(store, "order/none", None, 100).await?;
    must!(page.entries.is_empty() && !page.more, "a prefix of nothing gave {:?}", keys(&page));
    Ok(())
}

/// A listing begins after the key given, which need not be there nor begin with the prefix.
pub async fn a_listing_begins_after_the_key_given(store: &AnyStore) -> Check {
    for key in ["after/1", "after/3", "after/5", "after/5/x"] {
        write(store, key, "x").await?;
    }
    for (after, limit, wanted, more) in [
        ("after/1", 100, vec!["after/3", "after/5", "after/5/x"], false),
        ("after/1", 2, vec!["after/3", "after/5"], true),
        ("after/2", 1, vec!["after/3"], true),
        ("after/5", 1, vec!["after/5/x"], false),
        ("after/5/x", 100, vec![], false),
        ("after/", 1, vec!["after/1"], true),
        ("aft", 2, vec!["after/1", "after/3"], true),
        ("b", 100, vec![], false),
    ] {
        let page = list(store, "after/", Some(after), limit).await?;
        must!(
            keys(&page) == wanted && page.more == more,
            "after {after:?}, at most {limit}: {:?}, more: {}",
            keys(&page),
            page.more
        );
    }
    Ok(())
}

/// Pages of any size, put together, are the whole listing.
pub async fn long_listings_come_in_pages_that_miss_nothing(store: &AnyStore) -> Check {
    let mut wanted: Vec<String> = (0..1_103).map(|n| format!("pages/{n}")).collect();
    fill(store, &wanted).await?;
    wanted.sort();
    for limit in [1_000, 137] {
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = list(store, "pages/", found.last().map(String::as_str), limit).await?;
            must!(page.entries.len() <= limit, "{} entries, though {limit} were asked for", page.entries.len());
            must!(!page.entries.is_empty() || !page.more, "an empty page says that there is more");
            found.extend(page.entries.into_iter().map(|entry| entry.key));
            if !page.more {
                break;
            }
        }
        must!(found == wanted, "pages of {limit} gave {} of {} keys, or in another order", found.len(), wanted.len());
    }
    for some in wanted.chunks(1_000) {
        store.delete_many(some).await?;
    }
    Ok(())
}

/// A key is what it is: nothing is decoded, trimmed, or cleaned up.
pub async fn odd_keys_are_kept_as_they_are(store: &AnyStore) -> Check {
    let long = format!("odd/{}", "l".repeat(700));
    let mut odd = vec![
        "odd/ü/日本/🪣",
        "odd/with space",
        "odd/a+b",
        "odd/a%2Fb",
        "odd/a%20b",
        "odd/<&>\"'",
        "odd/a=b&c=d?e#f",
        "odd/a,b;c:d@e",
        "odd/{j}[k]|l\\m^n`o",
        "odd/e.json",
        "odd/.hidden",
        "odd/~(x)*!$",
        &long,
    ];
    odd.sort_unstable();
    for key in &odd {
        write(store, key, (*key).to_owned()).await?;
    }
    for key in &odd {
        let object = read(store, key).await?;
        must!(object.body == *key, "{key:?} holds what was written to another key: {:?}", object.body);
    }
    let page = list(store, "odd/", None, 100).await?;
    must!(keys(&page) == odd, "the listing was {:?} instead of {odd:?}", keys(&page));
    for pair in odd.windows(2) {
        let [one, next] = pair else { continue };
        let page = list(store, "odd/", Some(one), 1).await?;
        must!(keys(&page) == [*next], "after {one:?} came {:?} instead of {next:?}", keys(&page));
    }
    let all: Vec<String> = odd.iter().map(|key| (*key).to_owned()).collect();
    store.delete_many(&all).await?;
    let page = list(store, "odd/", None, 100).await?;
    must!(page.entries.is_empty(), "these were deleted but are listed: {:?}", keys(&page));
    Ok(())
}
