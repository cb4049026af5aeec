//! Who works here, who is dead, and what the dead still hold.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::leases::Leases;
use super::visit::{Visit, keys_of};
use super::{Check, Status, plural};
use crate::error::Result;
use crate::id::WorkerId;
use crate::keys;
use crate::limits;
use crate::queue::CorruptObject;
use crate::worker::Registration;

/// Registrations that are read; of more, the first.
const MOST_READ: usize = 200;
/// Unreadable ones that are named.
const MOST_NAMED: usize = 20;

/// A worker, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub id: String,
    pub host: String,
    pub types: Vec<String>,
    pub alive: bool,
    /// It takes tasks, as far as it says.
    pub takes: bool,
    pub running: usize,
    pub concurrency: usize,
    /// Places taken for good.
    pub stuck: usize,
    /// Leases under its name.
    pub leases: usize,
}

/// The workers that were found.
#[derive(Clone, Debug, Default)]
pub(super) struct Workers {
    pub members: Vec<Member>,
    pub corrupt: Vec<CorruptObject>,
    /// Registrations that were not read.
    pub unread: usize,
    /// Leases of workers that have no registration.
    pub strangers: usize,
}

impl Workers {
    pub(super) fn alive(&self) -> usize {
        self.members.iter().filter(|member| member.alive).count()
    }

    /// Living workers that take tasks.
    pub(super) fn taking(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.alive && member.takes)
    }

    /// Living workers that take this type.
    pub(super) fn takers(&self, kind_hash: u32) -> Vec<&Member> {
        let takes = |member: &&Member| member.types.iter().any(|kind| keys::type_hash(kind) == kind_hash);
        self.taking().filter(takes).collect()
    }
}

pub(super) async fn gather(visit: &Visit, leases: &Result<Leases>) -> Result<Workers> {
    let page = visit.list(keys::WORKERS, None, limits::PAGE).await?;
    let beats: BTreeMap<_, _> =
        page.value.entries.iter().map(|entry| (entry.key.clone(), entry.last_modified)).collect();
    let mut held: BTreeMap<WorkerId, usize> = BTreeMap::new();
    if let Ok(leases) = leases {
        for (entry, _) in &leases.entries {
            *held.entry(entry.worker).or_default() += 1;
        }
    }
    let mut wanted = keys_of(&page.value.entries);
    let mut workers = Workers { unread: wanted.len().saturating_sub(MOST_READ), ..Workers::default() };
    wanted.truncate(MOST_READ);
    for (key, body) in visit.read(wanted).await? {
        match serde_json::from_slice::<Registration>(&body) {
            Ok(worker) if keys::worker(worker.id) == key => {
                let beat = beats.get(&key).copied().unwrap_or(page.at);
                let leases = held.remove(&worker.id).unwrap_or_default();
                // It may have claimed since it wrote that it holds nothing.
                let idle = worker.running == 0 && leases == 0;
                workers.members.push(Member {
                    id: worker.id.to_string(),
                    alive: page.at.since(beat) <= visit.settings.silence(idle),
                    leases,
                    takes: worker.takes_tasks(),
                    host: worker.host,
                    types: worker.types,
                    running: worker.running,
                    concurrency: worker.concurrency,
                    stuck: worker.stuck,
                });
            }
            Ok(_) => workers.corrupt.push(CorruptObject { key, message: "it is another worker's registration".into() }),
            Err(error) => workers.corrupt.push(CorruptObject { key, message: error.to_string() }),
        }
    }
    workers.strangers = if workers.unread == 0 { held.values().sum() } else { 0 };
    Ok(workers)
}

pub(super) fn judge(workers: &Result<Workers>) -> Check {
    let name = "workers";
    let workers = match workers {
        Ok(workers) => workers,
        Err(error) => return Check::unknown(name, error),
    };
    let alive = workers.alive();
    let dead: Vec<&Member> = workers.members.iter().filter(|member| !member.alive).collect();
    let left: usize = dead.iter().map(|member| member.leases).sum::<usize>() + workers.strangers;
    let named: Vec<String> = dead.iter().filter(|dead| dead.leases > 0).map(|dead| who(dead)).take(5).collect();
    let figures = |check: Check| {
        check
            .with("alive", alive)
            .with("dead", dead.len())
            .with("leases_of_the_dead", left)
            .with("unread", workers.unread)
    };
    let unreadable: Vec<Value> = workers
        .corrupt
        .iter()
        .take(MOST_NAMED)
        .map(|corrupt| json!({"key": corrupt.key, "message": corrupt.message}))
        .collect();
    let figures = |check: Check| beside(figures(check), &workers.corrupt).with("corrupt", unreadable);
    if left > 0 {
        let whose = if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) };
        let what = format!("{} held by dead workers{whose}", plural(left, "lease"));
        return figures(if alive == 0 {
            Check::new(name, Status::Failed, what, "start a worker: nobody is alive who could take these tasks over")
        } else {
            let advice = "nothing, if they died just now: a living worker takes over within a minute; if it stays so, look at \
                          the living workers' logs";
            Check::new(name, Status::Warning, what, advice)
        });
    }
    if alive == 0 {
        let what =
            if dead.is_empty() { "no worker runs".to_owned() } else { format!("no worker runs; {} dead", dead.len()) };
        return figures(Check::new(name, Status::Warning, what, "start one: buquet worker MODULE:APP"));
    }
    let stuck: Vec<&Member> = workers.members.iter().filter(|member| member.alive && member.stuck > 0).collect();
    if !stuck.is_empty() {
        let said = stuck
            .iter()
            .take(5)
            .map(|member| format!("{} has lost {} of its {} places", who(member), member.stuck, member.concurrency));
        let what = format!("{} to attempts that were given up and do not return", said.collect::<Vec<_>>().join(", "));
        let advice = "start these workers again; and give the calls that their handlers make limits of their own, since \
                      a thread cannot be stopped";
        return figures(Check::new(name, Status::Warning, what, advice));
    }
    if workers.taking().next().is_none() {
        let what = format!("no worker takes tasks: {} alive and about to end", plural(alive, "worker"));
        return figures(Check::new(name, Status::Warning, what, "start one: buquet worker MODULE:APP"));
    }
    figures(Check::ok(name, format!("{} alive, {} dead without anything left", plural(alive, "worker"), dead.len())))
}

/// The same finding, with registrations that cannot be read named beside it.
fn beside(mut check: Check, corrupt: &[CorruptObject]) -> Check {
    let Some(first) = corrupt.first() else { return check };
    let more = if corrupt.len() > 1 { format!(", and {} more", corrupt.len() - 1) } else { String::new() };
    check.what = format!("{}; {} is no registration: {}{more}", check.what, first.key, first.message);
    let separator = if check.advice.is_empty() { "" } else { "; " };
    check.advice = format!("{}{separator}delete {}, if it is nobody's; no task depends on it", check.advice, first.key);
    check.status = check.status.max(Status::Warning);
    check
}

fn who(member: &Member) -> String {
    if member.host.is_empty() { member.id.clone() } else { format!("{} on {}", member.id, member.host) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn member(alive: bool, leases: usize) -> Member {
        Member {
            id: "b3f0a7d12c4e8a90".into(),
            host: "web-1".into(),
            types: vec!["greet".into()],
            alive,
            takes: true,
            running: leases,
            concurrency: 4,
            stuck: 0,
            leases,
        }
    }

    pub fn staff(members: Vec<Member>) -> Workers {
        Workers { members, ..Workers::default() }
    }

    fn status(members: Vec<Member>) -> Status {
        judge(&Ok(staff(members))).status
    }

    #[test]
    fn dead_workers_matter_by_what_they_hold_and_by_who_is_there_to_take_it() {
        assert_eq!(status(vec![member(true, 3), member(false, 0)]), Status::Ok);
        assert_eq!(status(vec![]), Status::Warning);
        assert_eq!(status(vec![member(true, 0), member(false, 2)]), Status::Warning);
        let check = judge(&Ok(staff(vec![member(false, 2)])));
        assert_eq!(check.status, Status::Failed);
        assert!(check.what.contains("2 leases") && check.what.contains("on web-1"), "{check:?}");
    }

    #[test]
    fn a_living_worker_that_has_lost_places_is_named() {
        let stuck = |alive| Member { stuck: 4, takes: false, ..member(alive, 0) };
        let check = judge(&Ok(staff(vec![member(true, 0), stuck(true)])));
        assert_eq!(check.status, Status::Warning);
        assert!(check.what.contains("on web-1 has lost 4 of its 4 places"), "{check:?}");
        assert_eq!(status(vec![member(true, 0), stuck(false)]), Status::Ok, "the dead need none");
    }

    #[test]
    fn living_workers_that_all_drain_take_nothing() {
        let drains = || Member { takes: false, ..member(true, 1) };
        let check = judge(&Ok(staff(vec![drains()])));
        assert!(check.status == Status::Warning && check.what.contains("no worker takes tasks"), "{check:?}");
        assert_eq!(status(vec![drains(), member(true, 0)]), Status::Ok);
    }

    #[test]
    fn leases_of_somebody_unknown_count_and_a_corrupt_registration_is_named() {
        let workers = Workers { strangers: 1, ..staff(vec![member(true, 0)]) };
        assert_eq!(judge(&Ok(workers)).status, Status::Warning);
        let corrupt = vec![CorruptObject { key: "workers/x.json".into(), message: "no JSON".into() }];
        assert!(
            judge(&Ok(Workers { corrupt: corrupt.clone(), ..Workers::default() })).advice.contains("workers/x.json")
        );
        let check = judge(&Ok(Workers { corrupt, ..staff(vec![member(false, 2)]) }));
        assert_eq!(check.status, Status::Failed, "what is worse decides: {check:?}");
        assert!(check.what.contains("2 leases") && check.what.contains("workers/x.json"), "{check:?}");
    }

    #[test]
    fn a_type_is_taken_by_the_living_alone() {
        let drains = Member { takes: false, ..member(true, 0) };
        let workers = staff(vec![member(true, 0), member(false, 0), drains]);
        assert_eq!(workers.takers(keys::type_hash("greet")).len(), 1);
        assert!(workers.takers(keys::type_hash("other")).is_empty());
    }
}
