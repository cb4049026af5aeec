//! JSON Schemas of task types, published in the bucket and enforced on every submit.
//!
//! All of a queue's schemas are one object. That there is one the marker says, which everybody reads at the start, and
//! who submits now and then again, beside its submits: a queue without schemas waits for nothing. Where there are some,
//! a process reads them at its first submit and asks once a minute at most whether they have changed.

mod book;
mod check;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

pub(super) use self::book::Book;
use self::book::check_new;
pub use self::book::{Schemas, is_encoded};
use self::check::Compiled;
pub use self::check::Shown;
use super::{Core, Queue, marker};
use crate::bucket::{Bucket, Committed};
use crate::error::{Error, Result};
use crate::id::CommitId;
use crate::keys;
use crate::limits;
use crate::record::Json;
use crate::store::{Condition, ETag, Got};

/// How long schemas that were read count before it is asked whether they have changed.
pub const FRESH: Duration = Duration::from_mins(1);
/// How long a process that submits believes that the queue has no schemas: a GET in that time is next to nothing.
pub const UNSEEN: Duration = Duration::from_mins(5);

/// The schemas as this process knows them.
#[derive(Debug)]
pub struct Known {
    /// Whether the queue has any: said by its marker, or learnt here.
    any: AtomicBool,
    /// When the marker was last asked.
    asked: Mutex<Instant>,
    state: Mutex<State>,
    /// Held while they are read, so that many who submit at once read them once.
    reading: AsyncMutex<()>,
}

#[derive(Clone, Debug, Default)]
struct State {
    read: Option<Instant>,
    etag: Option<ETag>,
    inputs: Arc<BTreeMap<String, Compiled>>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            any: AtomicBool::new(false),
            asked: Mutex::new(Instant::now()),
            state: Mutex::default(),
            reading: AsyncMutex::default(),
        }
    }
}

impl Known {
    /// Notes what the marker says. Once there are some, somebody of this process may know of them already.
    pub fn note(&self, marked: marker::Marked) {
        self.any.fetch_or(marked.schemas, Ordering::Relaxed);
    }

    /// Whether it is time to ask the marker again; says so once.
    fn is_to_ask(&self) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = asked.elapsed() >= UNSEEN;
        if due {
            *asked = Instant::now();
        }
        due
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_fresh(state: &State) -> bool {
        state.read.is_some_and(|read| read.elapsed() < FRESH)
    }

    fn learn(&self, book: Option<(&Book, ETag)>) {
        let mut state = State { read: Some(Instant::now()), ..State::default() };
        if let Some((book, etag)) = book {
            self.any.store(true, Ordering::Relaxed);
            state.etag = Some(etag);
            let compiled =
                |(kind, schemas): (&String, &Schemas)| Some((kind.clone(), Compiled::new(schemas.input.as_ref()?)));
            state.inputs = Arc::new(book.schemas.iter().filter_map(compiled).collect());
        }
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The schemas of inputs, a minute old at most. If they cannot be asked for, those known before.
    async fn inputs(&self, bucket: &Bucket) -> Result<Arc<BTreeMap<String, Compiled>>> {
        let state = self.state();
        if Self::is_fresh(&state) {
            return Ok(state.inputs);
        }
        let _reading = self.reading.lock().await;
        let state = self.state();
        if Self::is_fresh(&state) {
            return Ok(state.inputs);
        }
        match bucket.get(keys::SCHEMAS, state.etag.as_ref()).await {
            Ok(answer) => match answer.value {
                Got::Found(object) => {
                    let book = Book::decode(keys::SCHEMAS, &object.body)?;
                    self.learn(Some((&book, object.etag)));
                }
                Got::NotModified => {
                    self.state.lock().unwrap_or_else(PoisonError::into_inner).read = Some(Instant::now());
                }
                Got::Missing => self.learn(None),
            },
            Err(error) if state.read.is_none() => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the schemas could not be looked at; those known before count"),
        }
        Ok(self.state().inputs)
    }
}

impl Core {
    /// Learns whether somebody has published the first schemas since the queue was opened.
    async fn look_for_schemas(&self) {
        match marker::look(&self.desk.bucket).await {
            Ok(marked) => self.schemas.note(marked),
            Err(error) => tracing::warn!(%error, "it could not be learnt whether the queue has schemas by now"),
        }
    }
}

impl Queue {
    /// Checks inputs against their type's schema, if it has one. Costs nothing in a queue without schemas.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the place in the input, the rule and the value there; the store's, where the queue has
    /// schemas that were never read.
    pub async fn check_inputs(&self, kind: &str, inputs: &[Json]) -> Result<()> {
        self.hold_to_schema(kind, inputs, Shown::Values).await.map(drop)
    }

    /// Likewise, of inputs that are yet to be encoded or cut up, after which only their front can read them; what is
    /// `shown` of one that does not fit is up to it. Whether their type has a schema for inputs.
    ///
    /// # Errors
    /// As for [`Self::check_inputs`].
    pub async fn hold_to_schema(&self, kind: &str, inputs: &[Json], shown: Shown) -> Result<bool> {
        let known = &self.core().schemas;
        if !known.any.load(Ordering::Relaxed) {
            if known.is_to_ask() {
                let core = Arc::clone(self.core());
                self.core().spawner.spawn(async move { core.look_for_schemas().await });
            }
            return Ok(false);
        }
        let schemas = known.inputs(self.bucket()).await?;
        let Some(schema) = schemas.get(kind) else { return Ok(false) };
        for (n, input) in inputs.iter().enumerate() {
            let what = if inputs.len() == 1 { "the input".to_owned() } else { format!("input number {n}") };
            schema.check(&what, kind, input, shown)?;
        }
        Ok(true)
    }

    /// All schemas, by type.
    ///
    /// # Errors
    /// The store's, and [`Error::Corrupt`].
    pub async fn schemas(&self) -> Result<BTreeMap<String, Schemas>> {
        Ok(self.read_book().await?.map(|(book, _)| book.schemas).unwrap_or_default())
    }

    /// Publishes schemas: of each type named, all that it had are replaced. Whether anything changed.
    ///
    /// # Errors
    /// [`Error::Invalid`] names a schema that cannot be used; the store's.
    pub async fn put_schemas(&self, mut new: BTreeMap<String, Schemas>) -> Result<bool> {
        if new.is_empty() {
            return Err(Error::Invalid("no schemas are given".into()));
        }
        new.iter().try_for_each(|(kind, schemas)| check_new(kind, schemas))?;
        for schemas in new.values_mut() {
            schemas.at = self.bucket().now();
        }
        marker::announce_schemas(self.bucket()).await?;
        self.change(|book, commit| book.with(&new, commit)).await
    }

    /// Deletes a type's schemas; whether there were any.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_schema(&self, kind: &str) -> Result<bool> {
        self.change(|book, commit| Ok(book.without(kind, commit))).await
    }

    async fn read_book(&self) -> Result<Option<(Book, ETag)>> {
        match self.bucket().get(keys::SCHEMAS, None).await?.value {
            Got::Found(object) => {
                let book = Book::decode(keys::SCHEMAS, &object.body)?;
                self.core().schemas.learn(Some((&book, object.etag.clone())));
                Ok(Some((book, object.etag)))
            }
            Got::Missing | Got::NotModified => Ok(None),
        }
    }

    /// Changes the stored object by compare-and-swap.
    async fn change(&self, change: impl Fn(&Book, CommitId) -> Result<Option<Book>> + Send + Sync) -> Result<bool> {
        for _ in 0..limits::REBASES {
            let commit = CommitId::random(self.bucket().entropy());
            let read = self.read_book().await?;
            let (book, condition) = match &read {
                Some((book, etag)) => (book.clone(), Condition::IfMatch(etag.clone())),
                None => (Book::empty(commit), Condition::IfAbsent),
            };
            let Some(changed) = change(&book, commit)? else { return Ok(false) };
            let body = Bytes::from(changed.encode()?);
            if let Committed::Landed(etag) = self.bucket().commit(keys::SCHEMAS, body, &condition, commit).await? {
                self.core().schemas.learn(etag.map(|etag| (&changed, etag)));
                return Ok(true);
            }
        }
        Err(Error::Unavailable(format!("{} is changed by others all the time; try again", keys::SCHEMAS)))
    }
}
