//! Checks of single objects: conditions, races, reads, deletions, the clock.
#![expect(clippy::missing_errors_doc, reason = "every check errs with what the store does wrong")]

use std::sync::Arc;

use bytes::Bytes;

use super::{AnyStore, Broken, Check, at_once, contend, fill, found, get, must, put, read, write};
use crate::store::{Condition, ETag, Got, Put};

/// Rounds of a race: a store that checks first and writes later loses only some.
const ROUNDS: usize = 10;

/// Writers in one race.
const WRITERS: usize = 16;

/// `IfAbsent` writes only where nothing is, `IfMatch` only over that very object; a refused put changes nothing.
pub async fn a_put_writes_only_under_its_condition(store: &AnyStore) -> Check {
    let key = "conditions/one";
    let stray = ETag("\"00000000000000000000000000000000\"".to_owned());
    must!(get(store, key).await? == Got::Missing, "{key:?} was there before it was written");
    let refused = put(store, key, "0", &Condition::IfMatch(stray.clone())).await?;
    must!(refused == Put::Refused, "If-Match on a missing key gave {refused:?}");

    let Put::Stored(first) = put(store, key, "1", &Condition::IfAbsent).await? else {
        return Err(Broken("If-None-Match: * was refused where nothing was".to_owned()));
    };
    for condition in [Condition::IfAbsent, Condition::IfMatch(stray)] {
        let refused = put(store, key, "x", &condition).await?;
        must!(refused == Put::Refused, "{condition:?} over another object gave {refused:?}");
    }
    must!(read(store, key).await?.body == "1", "a refused put changed the object");

    let Put::Stored(second) = put(store, key, "2", &Condition::IfMatch(first.clone())).await? else {
        return Err(Broken("If-Match with the right tag was refused".to_owned()));
    };
    let refused = put(store, key, "x", &Condition::IfMatch(first)).await?;
    must!(refused == Put::Refused, "If-Match with an old tag gave {refused:?}");
    let object = read(store, key).await?;
    must!(object.body == "2" && object.etag == second, "after the second put a read gave {object:?}");

    store.delete_many(&[key.to_owned()]).await?;
    let refused = put(store, key, "x", &Condition::IfMatch(second)).await?;
    must!(refused == Put::Refused, "If-Match on a deleted key gave {refused:?}");
    let stored = put(store, key, "3", &Condition::IfAbsent).await?;
    must!(matches!(stored, Put::Stored(_)), "If-None-Match: * on a deleted key gave {stored:?}");
    Ok(())
}

/// Many at once create one key: one succeeds, and it is its body that is there.
pub async fn of_racing_creators_exactly_one_wins(store: &AnyStore) -> Check {
    for round in 0..ROUNDS {
        race(store, &format!("race/create/{round}"), &Condition::IfAbsent).await?;
    }
    Ok(())
}

/// Many at once change one object that all have read: one succeeds, and it is its body that is there.
pub async fn of_racing_changers_exactly_one_wins(store: &AnyStore) -> Check {
    for round in 0..ROUNDS {
        let key = format!("race/change/{round}");
        let etag = write(store, &key, "before").await?;
        race(store, &key, &Condition::IfMatch(etag)).await?;
    }
    Ok(())
}

async fn race(store: &AnyStore, key: &str, condition: &Condition) -> Check {
    let body = |writer| format!("{key} by {writer}");
    let puts = (0..WRITERS).map(|writer| contend(Arc::clone(store), key.to_owned(), body(writer), condition.clone()));
    let answers = at_once(puts.collect()).await?;
    let won = answers.iter().enumerate().filter_map(|(writer, answer)| match answer {
        Put::Stored(etag) => Some((writer, etag.clone())),
        Put::Refused => None,
    });
    let won: Vec<(usize, ETag)> = won.collect();
    let [(writer, etag)] = won.as_slice() else {
        return Err(Broken(format!("{} of {WRITERS} racing puts with {condition:?} succeeded", won.len())));
    };
    let object = read(store, key).await?;
    must!(object.body == body(*writer), "the winner's body is not the one that is there: {object:?}");
    must!(object.etag == *etag, "the winner's tag is not the object's: {object:?}");
    Ok(())
}

/// Several add to one number by reading and conditionally writing until it works: the sum is right.
pub async fn changes_by_comparing_and_swapping_lose_nothing(store: &AnyStore) -> Check {
    const ADDERS: usize = 4;
    const EACH: usize = 5;
    let key = "swap/number";
    write(store, key, "0 by nobody").await?;
    let adders = (0..ADDERS).map(|adder| {
        let store = Arc::clone(store);
        async move {
            for _ in 0..EACH {
                while !add_one(&store, key, adder).await? {}
            }
            Ok(())
        }
    });
    at_once(adders.collect()).await?;
    let total = number(&read(store, key).await?.body)?;
    must!(total == ADDERS * EACH, "{ADDERS} adders of {EACH} each made {total}");
    Ok(())
}

async fn add_one(store: &AnyStore, key: &str, adder: usize) -> Result<bool, Broken> {
    let object = read(store, key).await?;
    let body = format!("{} by {adder}", number(&object.body)? + 1);
    let put = contend(Arc::clone(store), key.to_owned(), body, Condition::IfMatch(object.etag)).await?;
    Ok(matches!(put, Put::Stored(_)))
}

fn number(body: &Bytes) -> Result<usize, Broken> {
    let text = String::from_utf8_lossy(body);
    let digits = text.split(' ').next().unwrap_or_default();
    digits.parse().map_err(|_| Broken(format!("a body was changed into {text:?}")))
}

/// A read right after a write shows its bytes, whatever they are, its tag, and a plausible time.
pub async fn a_read_shows_what_was_written(store: &AnyStore) -> Check {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let bodies = [Bytes::new(), Bytes::from(all), Bytes::from_static("{\"é\": \"\\u0000\"}".as_bytes()), large()];
    let resolution = store.clock_resolution_ms();
    for (n, body) in bodies.into_iter().enumerate() {
        let key = format!("read/{n}");
        for body in [Bytes::from_static(b"older"), body] {
            let put = store.put(&key, body.clone(), &Condition::Always).await?;
            let got = store.get(&key, None).await?;
            let object = found(&key, got.value)?;
            must!(object.body == body, "{} bytes were written, {} others read", body.len(), object.body.len());
            must!(put.value == Put::Stored(object.etag.clone()), "{:?}, but {:?} read", put.value, object.etag);
            let (written, now) = (object.last_modified.0, got.at.0);
            let plausible = (put.at.0 - resolution - 5_000..=now + resolution).contains(&written);
            must!(plausible, "written at {written}, while the put was answered at {}, the get at {now}", put.at.0);
        }
    }
    Ok(())
}

fn large() -> Bytes {
    (0..300_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect()
}

/// With the tag of what is there a read answers "not modified", with any other it answers the object.
pub async fn a_known_object_is_not_sent_again(store: &AnyStore) -> Check {
    let key = "known/one";
    let first = write(store, key, "1").await?;
    let got = store.get(key, Some(&first)).await?.value;
    must!(got == Got::NotModified, "a read with the present tag gave {got:?}");
    let second = write(store, key, "2").await?;
    let got = found(key, store.get(key, Some(&first)).await?.value)?;
    must!(got.body == "2" && got.etag == second, "a read with an old tag gave {got:?}");
    store.delete_many(&[key.to_owned()]).await?;
    let got = store.get(key, Some(&second)).await?.value;
    must!(got == Got::Missing, "a read of a deleted object with its old tag gave {got:?}");
    Ok(())
}

/// The tag changes with the bytes.
pub async fn other_bytes_have_another_tag(store: &AnyStore) -> Check {
    let mut tags = Vec::new();
    for body in ["", "1", "2", "11", "2 "] {
        tags.push(write(store, "tag/one", body).await?);
    }
    let count = tags.len();
    tags.sort();
    tags.dedup();
    must!(tags.len() == count, "{count} bodies had only {} tags", tags.len());
    Ok(())
}

/// One deletion takes up to 1,000 keys, whether they are there or not, and leaves all others alone.
pub async fn deletions_take_many_keys_present_or_not(store: &AnyStore) -> Check {
    store.delete_many(&["many/never".to_owned()]).await?;
    let keys: Vec<String> = (0..1_000).map(|n| format!("many/{n:04}")).collect();
    let present: Vec<String> = keys.iter().step_by(9).cloned().collect();
    fill(store, &present).await?;
    write(store, "many/other", "x").await?;
    for _ in 0..2 {
        store.delete_many(&keys).await?;
        let left = store.list("many/", None, 10).await?.value;
        must!(left.entries.len() == 1, "after the deletion of all but one these are left: {:?}", left.entries);
    }
    for key in present.iter().take(3) {
        must!(get(store, key).await? == Got::Missing, "{key:?} was deleted but can be read");
    }
    must!(read(store, "many/other").await?.body == "x", "a key that was not named was deleted");
    let too_many: Vec<String> = (0..=1_000).map(|n| format!("many/{n:04}")).collect();
    must!(store.delete_many(&too_many).await.is_err(), "a deletion of 1,001 keys was accepted");
    Ok(())
}

/// Many requests at once do not get each other's answers, and one refusal fails no other.
pub async fn many_requests_at_once_all_get_their_own_answers(store: &AnyStore) -> Check {
    let keys: Vec<String> = (0..200).map(|n| format!("crowd/{n}")).collect();
    let taken: Vec<String> = keys.iter().step_by(2).cloned().collect();
    fill(store, &taken).await?;
    let puts =
        keys.iter().map(|key| contend(Arc::clone(store), key.clone(), format!("new {key}"), Condition::IfAbsent));
    for (n, answer) in at_once(puts.collect()).await?.into_iter().enumerate() {
        let refused = answer == Put::Refused;
        must!(refused == (n % 2 == 0), "put number {n} gave {answer:?}");
    }
    let reads = keys.iter().cloned().map(|key| {
        let store = Arc::clone(store);
        async move { read(&store, &key).await.map(|object| (key, object.body)) }
    });
    for (n, (key, body)) in at_once(reads.collect()).await?.into_iter().enumerate() {
        let wanted = if n % 2 == 0 { key.clone() } else { format!("new {key}") };
        must!(body == wanted, "{key:?} holds {body:?} instead of {wanted:?}");
    }
    Ok(())
}

/// The server's time never goes back from one answer to the next, and stored times are not ahead of it.
pub async fn the_clock_does_not_run_backwards(store: &AnyStore) -> Check {
    let key = "clock/one";
    let mut latest = store.put(key, Bytes::from_static(b"0"), &Condition::Always).await?.at;
    for n in 1..20_u8 {
        let got = store.get(key, None).await?;
        let absent = store.get("clock/absent", None).await?.at;
        let refused = store.put(key, Bytes::from_static(b"x"), &Condition::IfAbsent).await?.at;
        let put = store.put(key, Bytes::from(vec![n]), &Condition::Always).await?.at;
        let listed = store.list("clock/", None, 10).await?;
        for at in [got.at, absent, refused, put, listed.at] {
            must!(at >= latest, "an answer at {at} came after one at {latest}");
            latest = at;
        }
        let stored = listed.value.entries.iter().map(|entry| entry.last_modified).max().unwrap_or_default();
        let ahead = stored.0 - listed.at.0;
        must!(ahead <= store.clock_resolution_ms(), "a stored time is {ahead} ms ahead of the server's clock");
    }
    Ok(())
}
