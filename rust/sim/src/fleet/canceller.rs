//! Somebody who wants tasks called off: some by their ids, or all with a tag or of a type.

use buquet_core::Error;
use buquet_core::id::TaskId;
use buquet_core::queue::CancelFilter;
use buquet_core::record::Cancelling;

use super::{Living, name_of};
use crate::journal::{Answer, Meant, Wish};

/// Pages that fail because the network does.
const PATIENCE: usize = 5;

impl Living {
    /// Calls off these tasks.
    pub(super) async fn cancel(&self, ids: Vec<TaskId>) {
        self.store.resumed().await;
        if ids.is_empty() {
            return;
        }
        let by = self.wish(Meant::Tasks(ids.iter().map(ToString::to_string).collect()));
        match self.queue.cancel(&ids, Some(by.clone()), None).await {
            Ok(answers) => {
                for (id, answer) in ids.iter().zip(answers) {
                    self.answered(&by, *id, answer);
                }
                self.granted(&by);
            }
            Err(Error::Unavailable(_)) => {}
            Err(error) => self.world.complain(&self.name, &format!("tasks could not be called off: {error}")),
        }
    }

    /// Calls off all that are meant.
    pub(super) async fn cancel_all(&self, meant: Meant) {
        let filter = match &meant {
            Meant::Tag(tag) => CancelFilter { tag: Some(tag.clone()), ..CancelFilter::default() },
            Meant::Type(kind) => CancelFilter { kind: Some(kind.clone()), ..CancelFilter::default() },
            Meant::Tasks(_) => return,
        };
        let by = self.wish(meant);
        let (mut cursor, mut failures) = (None::<String>, 0);
        while failures < PATIENCE {
            match self.queue.cancel_matching(&filter, Some(by.clone()), None, cursor.as_deref()).await {
                Ok((counts, next)) => {
                    let detail = format!("{by}: {} and {} that run", counts.cancelled, counts.requested);
                    self.world.trace.event(&self.name, "cancelled", &detail);
                    cursor = next;
                    if cursor.is_none() {
                        return self.granted(&by);
                    }
                }
                Err(Error::Unavailable(_)) => failures += 1,
                Err(error) => {
                    return self.world.complain(&self.name, &format!("tasks could not be called off: {error}"));
                }
            }
        }
    }

    fn wish(&self, meant: Meant) -> String {
        let (from, mut journal) = (self.world.store.now(), self.world.journal.borrow_mut());
        let by = format!("{}#{}", self.name, journal.wishes.len());
        journal.wishes.insert(by.clone(), Wish { meant, from, until: None, answers: Vec::new() });
        by
    }

    fn answered(&self, by: &str, id: TaskId, answer: Cancelling) {
        self.world.trace.event(&self.name, "cancelled", &format!("{by}: {id} {answer:?}"));
        let answer = match answer {
            Cancelling::Cancelled => Answer::Cancelled,
            Cancelling::Requested => Answer::Requested,
            Cancelling::Finished(status) => Answer::Finished(name_of(status)),
            Cancelling::Missing => Answer::Missing,
        };
        if let Some(wish) = self.world.journal.borrow_mut().wishes.get_mut(by) {
            wish.answers.push((id.to_string(), answer));
        }
    }

    fn granted(&self, by: &str) {
        let until = self.world.store.now();
        if let Some(wish) = self.world.journal.borrow_mut().wishes.get_mut(by) {
            wish.until = Some(until);
        }
    }
}
