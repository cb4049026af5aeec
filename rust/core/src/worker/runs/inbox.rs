//! Looking into the inbox of a run that is driven here.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, stream};

use super::{Driving, Shared};
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::keys;
use crate::limits::PAGE;
use crate::record::Json;
use crate::store::Got;
use crate::workflow::driver::{Arrived, CallbackNews, Inbox};
use crate::workflow::entry::{Entry, News, Received, Told, What};
use crate::workflow::ids::digest;
use crate::workflow::inbox::{CALLBACKS, Letter, Sign, SignOf};
use crate::workflow::limits;
use crate::workflow::signals::Signal;

/// Objects of one inbox read at the same time.
const READS_IN_FLIGHT: usize = 16;

/// What a listing has found.
#[derive(Debug, Default)]
struct Listed {
    /// Names, and the last parts of keys.
    paths: Vec<(String, String)>,
    /// Names of which there are more.
    more: BTreeSet<String>,
    /// Whether there are objects of other names.
    others: bool,
}

/// What one object of an inbox was.
enum Read {
    Signal(Signal),
    Callback(Box<CallbackNews>),
    /// It is not for this life of the run: it can be deleted.
    Old(String),
    /// It is gone, or cannot be read.
    Nothing,
}

impl Shared {
    /// Reads what has come for a run: of each name that something waits for, the earliest ones.
    pub(super) async fn look_into_inbox(
        &self,
        id: TaskId,
        driving: &Arc<Driving>,
        arrived: &mut Arrived,
    ) -> Result<()> {
        let names = waited_for(driving);
        let Listed { paths, more, others } = self.list_inbox(id, &names).await?;
        let cursor = if self.settings().variant.has_signal_cursor() { cursor(driving) } else { None };
        let is_after = |last: &str| {
            let sent = last.split('_').next().and_then(|time| time.parse::<i64>().ok());
            cursor.is_none_or(|cursor| sent.is_none_or(|sent| sent > cursor))
        };
        let wanted: Vec<(String, String)> = paths.into_iter().filter(|(_, last)| is_after(last)).collect();
        let (generation, mut signals, unread) = {
            let state = driving.lock();
            let known = |(name, last): &(String, String)| state.read.get(&format!("{name}/{last}")).cloned();
            let is_heard = |(name, last): &(String, String)| state.heard.contains(&format!("{name}/{last}"));
            let wanted: Vec<_> = wanted.into_iter().filter(|path| !is_heard(path)).collect();
            let (known_ones, unread): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|path| known(path).is_some());
            (state.driver.run().generation, known_ones.iter().filter_map(known).collect::<Vec<_>>(), unread)
        };
        let reads = stream::iter(unread).map(|(name, last)| self.read_letter(id, generation, name, last));
        let read: Vec<Result<Read>> = reads.buffered(READS_IN_FLIGHT).boxed().collect().await;
        let mut old = Vec::new();
        for read in read {
            match read? {
                Read::Signal(signal) => {
                    driving.lock().read.insert(signal.path(), signal.clone());
                    signals.push(signal);
                }
                Read::Callback(news) => {
                    driving.lock().heard.insert(news.key.clone());
                    arrived.callbacks.push(*news);
                }
                Read::Old(key) => old.push(key),
                Read::Nothing => {}
            }
        }
        self.desk().deleter.delete(old);
        arrived.inbox = Some(Inbox { signals, more, others });
        Ok(())
    }

    /// Where the objects of an inbox lie that have one of these names, the earliest ones of each; of which names there are
    /// more; and whether there are others.
    async fn list_inbox(&self, id: TaskId, names: &BTreeSet<String>) -> Result<Listed> {
        let inbox = keys::inbox(id);
        let page = self.desk().bucket.list(&inbox, None, PAGE).await?.value;
        let mut listed = Listed::default();
        if !page.more {
            for (name, last) in page.entries.iter().filter_map(|listed| keys::parse_signal(id, &listed.key)) {
                if names.contains(name) {
                    listed.paths.push((name.to_owned(), last.to_owned()));
                } else {
                    listed.others = true;
                }
            }
            return Ok(listed);
        }
        listed.others = true;
        for name in names {
            let of_name = self.desk().bucket.list(&format!("{inbox}{name}/"), None, PAGE).await?.value;
            let paths = of_name.entries.iter().filter_map(|listed| keys::parse_signal(id, &listed.key));
            listed.paths.extend(paths.map(|(name, last)| (name.to_owned(), last.to_owned())));
            if of_name.more {
                listed.more.insert(name.clone());
            }
        }
        Ok(listed)
    }

    async fn read_letter(&self, id: TaskId, generation: u64, name: String, last: String) -> Result<Read> {
        let key = keys::signal(id, &name, &last);
        let Got::Found(object) = self.desk().bucket.get(&key, None).await?.value else { return Ok(Read::Nothing) };
        let decoded = if name == CALLBACKS {
            Sign::decode(&key, &object.body).map(SignOf::Callback)
        } else {
            Letter::decode(&key, &object.body).map(SignOf::Signal)
        };
        match decoded {
            Ok(SignOf::Signal(letter)) if letter.generation < generation => Ok(Read::Old(key)),
            Ok(SignOf::Callback(sign)) if sign.generation < generation => Ok(Read::Old(key)),
            Ok(SignOf::Signal(letter)) => {
                let (payload, payload_ref) = self.keep_small(id, &name, &last, letter.payload).await?;
                let received = Received { payload, payload_ref, sent_at: letter.at, id: letter.id };
                Ok(Read::Signal(Signal { name, key: last, received }))
            }
            Ok(SignOf::Callback(sign)) => {
                let path = format!("{name}/{last}");
                let life = (sign.generation, sign.execution);
                let (op, mut sign) = (sign.op, sign.into_sign());
                if let crate::workflow::driver::CallbackSign::Ended(end) = &mut sign
                    && let Some(output) = end.output.take()
                {
                    (end.output, end.output_ref) = self.keep_small(id, "callback", &last, output).await?;
                }
                Ok(Read::Callback(Box::new(CallbackNews { key: path, op, life, sign })))
            }
            Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => {
                self.report(&key, format!("{error}; left where it is"));
                Ok(Read::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    /// What goes into the journal in place of something that has come: itself, or where it lies if it is large.
    async fn keep_small(
        &self,
        id: TaskId,
        name: &str,
        last: &str,
        value: Json,
    ) -> Result<(Option<Json>, Option<crate::workflow::entry::ResultRef>)> {
        if value.text().len() <= limits::RESULT_BYTES {
            return Ok((Some(value), None));
        }
        let key = format!("{name}.{}", digest(&["signal", &id.to_string(), name, last]));
        Ok((None, Some(self.write_result(id, key, &value).await?)))
    }

    /// Deletes objects of a run's inbox, given where in it they lie.
    pub(super) fn delete_consumed(&self, id: TaskId, paths: Vec<String>) {
        let key = |path: String| path.split_once('/').map(|(name, last)| keys::signal(id, name, last));
        self.desk().deleter.delete(paths.into_iter().filter_map(key));
    }
}

/// The broken variant: when the signal was sent that was consumed last.
fn cursor(driving: &Driving) -> Option<i64> {
    let state = driving.lock();
    let sent = state.driver.ledger().entries().iter().filter_map(|entry| match &**entry {
        Entry::Told(Told { news: News::Signal { signal: Some(signal), .. }, .. }) => Some(signal.sent_at.0),
        _ => None,
    });
    sent.max()
}

/// The names of the signals that something waits for, and that of callbacks if one is open.
fn waited_for(driving: &Driving) -> BTreeSet<String> {
    let state = driving.lock();
    let (mut names, ledger) = (state.driver.awaited(), state.driver.ledger());
    let mut open = ledger.open().iter().filter_map(|op| ledger.ask(*op));
    if open.any(|ask| matches!(ask.what, What::Callback { .. })) {
        names.insert(CALLBACKS.to_owned());
    }
    drop(state);
    names
}
