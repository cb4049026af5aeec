//! Submitting tasks that wait for others, together with those others or for ones that there are already.
//!
//! All ids are drawn first. A task that waits is stored before what it waits for, with a time to look again; the new ones it
//! waits for are stored with their links to it. Those that there are already get theirs by a commit. Whatever is cut off half
//! way is found by the look, which any worker of its type makes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures::{StreamExt, TryStreamExt, stream};

use super::submission::{self, About, When, check_payload};
use super::submit::{Draft, batch_size};
use super::{Core, Queue, marker};
use crate::error::{Error, Result};
use crate::id::{CommitId, RecordId, TaskId};
use crate::limits;
use crate::payload::Parcels;
use crate::record::{After, BatchRecord, Json, Link, Linking, On, Options, Park, Results, Task, TaskStatus};
use crate::time::Timestamp;

/// Slots that the waiting tasks of one record have in all: each takes some bytes of it.
const SLOTS_A_RECORD: usize = 2_000;

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// A task that there is already.
    Task(TaskId),
    /// All tasks of an earlier node of the same submit.
    Node(usize),
}

/// Tasks of one type and with the same options that wait for the same others.
#[derive(Clone, Debug)]
pub struct Node {
    /// Their type.
    pub kind: String,
    /// Their inputs, one a task.
    pub inputs: Vec<Json>,
    /// Timeout, priority, retries.
    pub options: Options,
    /// When they may start; a delay counts from the end of what they wait for.
    pub when: When,
    /// What else is told about them.
    pub about: About,
    /// What they wait for.
    pub after: Vec<Dependency>,
    /// Whether they run then.
    pub on: On,
    /// Where their handler takes what came of those.
    pub results: Option<Results>,
}

/// A record that is to be stored.
struct Planned {
    record: BatchRecord,
    node: usize,
}

impl Node {
    fn check(&self, place: usize) -> Result<()> {
        submission::check(&self.kind, &self.options, self.when, &self.about)?;
        for (n, input) in self.inputs.iter().enumerate() {
            check_payload(&format!("input number {n}"), input)?;
        }
        let later = |dependency: &&Dependency| matches!(dependency, Dependency::Node(node) if *node >= place);
        if let Some(Dependency::Node(node)) = self.after.iter().find(later) {
            return Err(Error::Invalid(format!(
                "node {place} waits for node {node}, which does not come before it: give nodes in an order in which none \
                 waits for itself or for a later one"
            )));
        }
        Ok(())
    }
}

impl Queue {
    /// Submits tasks that wait for others; returns the ids of each node's tasks. A task whose dependencies are none is
    /// submitted like any other.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is stored: for what no task can be, for nodes out of order, for too many tasks, and for
    /// tasks that too many others wait for. The store's: then some of the tasks may exist, and those of them that wait for one
    /// that does not are called off.
    pub async fn submit_graph(&self, nodes: &[Node]) -> Result<Vec<Vec<TaskId>>> {
        nodes.iter().enumerate().try_for_each(|(place, node)| node.check(place))?;
        let count: usize = nodes.iter().map(|node| node.inputs.len()).sum();
        if count > limits::SUBMIT_MANY {
            return Err(Error::Invalid(format!("{count} tasks in one call; give up to {}", limits::SUBMIT_MANY)));
        }
        for node in nodes {
            self.check_inputs(&node.kind, &node.inputs).await?;
        }
        let (mut planned, ids) = self.core().plan(nodes)?;
        let waits =
            planned.iter().any(|one| !one.record.links.is_empty() || one.record.tasks.iter().any(Task::awaits_others));
        let others = link_all(&mut planned)?;
        self.core().check_others(&others).await?;
        if waits {
            self.core().allow_links().await?;
        }
        // Whoever waits comes before what it waits for: it must be there when that ends.
        for node in (0..nodes.len()).rev() {
            let of_node: Vec<Planned> = planned.extract_if(.., |one| one.node == node).collect();
            let stores = stream::iter(of_node).map(|one| self.core().store_planned(one.record));
            stores.buffer_unordered(limits::SUBMITS_IN_FLIGHT).boxed().try_collect::<()>().await?;
        }
        let waiting: BTreeSet<RecordId> = others.iter().map(|(_, link)| link.target.record()).collect();
        for record in waiting {
            self.core().look_after(record).await?;
        }
        Ok(ids)
    }
}

/// Gives the new records their links to each other; returns those that records which there are already are to have.
fn link_all(planned: &mut [Planned]) -> Result<Vec<(RecordId, Link)>> {
    let places: BTreeMap<RecordId, usize> =
        planned.iter().enumerate().map(|(place, one)| (one.record.id, place)).collect();
    let (mut links, mut others) = (Vec::new(), Vec::new());
    for one in planned.iter() {
        // All tasks of one record wait for the same.
        let Some((first, after)) = one.record.tasks.first().and_then(|task| Some((task, task.after.as_ref()?))) else {
            continue;
        };
        let count = u16::try_from(one.record.tasks.len()).unwrap_or(u16::MAX);
        for (slot, wanted) in after.open() {
            let link = Link::new(wanted.of.clone(), one.record.id.task(first.n), count, slot);
            match places.get(&wanted.record) {
                Some(place) => links.push((*place, link)),
                None => others.push((wanted.record, link)),
            }
        }
    }
    for (place, link) in links {
        let Some(source) = planned.get_mut(place) else { continue };
        if !source.record.has_room_for(link.target) {
            return Err(too_many(source.record.id));
        }
        source.record.links.push(link);
    }
    Ok(others)
}

/// The error for a record with links to too many targets.
pub(super) fn too_many(record: RecordId) -> Error {
    Error::Invalid(format!(
        "more than {} records of tasks wait for tasks of record {record}: let one task wait for those, and the others for \
         that one",
        limits::LINK_TARGETS
    ))
}

impl Core {
    /// The records of all nodes, with the ids of their tasks.
    fn plan(&self, nodes: &[Node]) -> Result<(Vec<Planned>, Vec<Vec<TaskId>>)> {
        let (bucket, limits) = (&self.desk.bucket, self.settings.record);
        let now = bucket.now();
        let (mut planned, mut ids): (Vec<Planned>, Vec<Vec<TaskId>>) = (Vec::new(), Vec::new());
        for (place, node) in nodes.iter().enumerate() {
            let after = after(node, &ids)?;
            // A delay counts from when the others have ended.
            let when = if after.is_some() && matches!(node.when, When::After(_)) { When::Now } else { node.when };
            let draft = |input: &Json| Draft::new(input.clone(), now, when, &node.about);
            let mut drafts: VecDeque<Draft> = node.inputs.iter().map(draft).collect::<Result<_>>()?;
            let slots = after.as_ref().map_or(0, |after| after.slots.len());
            let most = SLOTS_A_RECORD.checked_div(slots).unwrap_or(usize::MAX).max(1);
            let mut of_node = Vec::new();
            while !drafts.is_empty() {
                let size = batch_size(drafts.iter(), limits).clamp(1, most);
                let id = RecordId::random(bucket.entropy());
                let task = |(n, draft): (u16, Draft)| wait_for(draft.task(n, now), after.as_ref(), now);
                let tasks: Vec<Task> = (0..).zip(drafts.drain(..size)).map(task).collect();
                of_node.extend(tasks.iter().map(|task| id.task(task.n)));
                let commit = CommitId::random(bucket.entropy());
                let record = BatchRecord::new(id, node.kind.clone(), node.options.clone(), now, tasks, commit);
                planned.push(Planned { record, node: place });
            }
            ids.push(of_node);
        }
        Ok((planned, ids))
    }

    /// Refuses what waits for tasks that do not exist, or that too many wait for already.
    async fn check_others(&self, others: &[(RecordId, Link)]) -> Result<()> {
        let mut by_source: BTreeMap<RecordId, Vec<&Link>> = BTreeMap::new();
        for (source, link) in others {
            by_source.entry(*source).or_default().push(link);
        }
        for (source, links) in by_source {
            let found = self.desk.load(source).await?;
            let mut record = found.map(|found| found.record).filter(|record| !record.void);
            for link in links {
                let first = link.of.first().map_or(0, |(first, _)| *first);
                let missing = || Error::no_task(source.task(first));
                match record.as_mut().ok_or_else(missing)?.link(link.clone()) {
                    Linking::Missing => return Err(missing()),
                    Linking::Full => return Err(too_many(source)),
                    Linking::Added | Linking::Known | Linking::Ended(_) => {}
                }
            }
        }
        Ok(())
    }

    async fn store_planned(&self, mut record: BatchRecord) -> Result<()> {
        let bucket = &self.desk.bucket;
        let parcels = Parcels::of_inputs(record.id, &mut record.tasks, bucket.entropy());
        if parcels.around(bucket, self.desk.variant, self.desk.create(&mut record)).await? {
            record.claim_entries().for_each(|entry| self.announce(entry));
            return Ok(());
        }
        Err(Error::Unavailable(
            "a submit was overtaken by sweepers; the store is too slow. Those of its tasks that are stored and wait for one \
             that is not are called off: submit all of them again"
                .into(),
        ))
    }

    /// Lets the marker say that there are links, once, so that versions which do not know them stay away.
    async fn allow_links(&self) -> Result<()> {
        self.place.links.get_or_try_init(|| marker::announce_links(&self.desk.bucket)).await?;
        Ok(())
    }
}

/// What the tasks of a node wait for; `None` if for nothing.
fn after(node: &Node, ids: &[Vec<TaskId>]) -> Result<Option<After>> {
    let mut tasks: Vec<TaskId> = Vec::new();
    for dependency in &node.after {
        match dependency {
            Dependency::Task(task) => tasks.push(*task),
            Dependency::Node(node) => tasks.extend(ids.get(*node).into_iter().flatten()),
        }
    }
    if tasks.len() > limits::DEPENDENCIES {
        return Err(Error::Invalid(format!(
            "a task waits for {} others; give up to {}",
            tasks.len(),
            limits::DEPENDENCIES
        )));
    }
    let delay_ms = match node.when {
        When::After(delay) => Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        When::Now | When::At(_) => None,
    };
    let after = || After { results: node.results.clone(), ..After::new(&tasks, node.on, delay_ms) };
    Ok((!tasks.is_empty()).then(after))
}

fn wait_for(task: Task, after: Option<&After>, now: Timestamp) -> Task {
    let Some(after) = after else { return task };
    let park = Park { until: Some(now.after(limits::LOOK_AGAIN)), ..Park::default() };
    Task { status: TaskStatus::Waiting, after: Some(Box::new(after.clone())), park: Some(Box::new(park)), ..task }
}
