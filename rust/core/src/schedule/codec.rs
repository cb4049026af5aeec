//! Reading and writing stored schedules so that nothing a newer version wrote is dropped.

use bytes::Bytes;
use serde::Deserialize;

use super::model::{Schedule, check_name};
use crate::error::{Error, Result};
use crate::id::CommitId;
use crate::keys;
use crate::record::{advance, quoted, refuse_newer};

/// The newest format this code reads and the one it writes.
pub const FORMAT: u32 = 1;

impl Schedule {
    /// Marks the next revision as written by `commit`.
    pub fn stamp(&mut self, commit: CommitId) {
        advance(&mut self.rev, &mut self.commit, &mut self.trail, commit);
    }

    /// The stored form.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be written as JSON, which no value of this type should cause.
    pub fn encode(&self) -> Result<Bytes> {
        serde_json::to_vec(self)
            .map(Bytes::from)
            .map_err(|error| Error::Internal(format!("schedule {} cannot be written as JSON: {error}", self.name)))
    }

    /// Reads the stored form found under `key`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is no schedule, [`Error::Layout`] if a newer version wrote it.
    pub fn decode(key: &str, body: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let corrupt = |what: String| {
            let what = quoted(&what);
            Error::Corrupt(format!("{key} is not a valid schedule: {what}; look at the object, or delete the schedule"))
        };
        // Of what a newer version wrote, only the format need make sense.
        let format = serde_json::from_slice(body).map_or(FORMAT, |Format { format }| format);
        refuse_newer(key, format, FORMAT)?;
        let schedule: Self = serde_json::from_slice(body).map_err(|error| corrupt(error.to_string()))?;
        check_name(&schedule.name).map_err(|error| corrupt(error.to_string()))?;
        if keys::schedule(&schedule.name) != key {
            return Err(corrupt(format!("it holds the schedule {:?}", schedule.name)));
        }
        schedule.definition.options.check().map_err(|error| corrupt(error.to_string()))?;
        let readable = schedule.definition.input.check_readable();
        readable.map_err(|error| corrupt(format!("its input cannot be read: {error}")))?;
        schedule.definition.timing().map_err(|error| corrupt(error.to_string()))?;
        Ok(schedule)
    }
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::model::{CatchUp, Definition, Overlap, Run, Skip, SkipReason, slot_jitter, slot_record};
    use super::*;
    use crate::entropy::Entropy;
    use crate::id::{RecordId, ScheduleId, WorkerId};
    use crate::record::{Extra, Json, Options};
    use crate::time::Timestamp;

    /// A schedule that fires every ten minutes and has never fired.
    pub fn schedule() -> Schedule {
        let entropy = Entropy::seeded(1);
        let definition = Definition {
            cron: None,
            timezone: None,
            every_ms: Some(600_000),
            kind: "report".into(),
            input: Json::parse("{}").unwrap(),
            options: Options::default(),
            ttl_ms: None,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            overlap: Overlap::Allow,
            catch_up: CatchUp::Latest,
            catch_up_limit: 100,
            jitter_ms: 0,
            extra: Extra::new(),
        };
        Schedule {
            format: FORMAT,
            name: "reports".into(),
            id: ScheduleId::random(&entropy),
            rev: 1,
            commit: CommitId::random(&entropy),
            trail: Vec::new(),
            created_at: Timestamp(0),
            changed_at: Timestamp(0),
            enabled: true,
            declared_in: None,
            undeclared_at: None,
            definition,
            handled: Timestamp(0),
            waiting: None,
            last_run: None,
            last_skip: None,
            extra: Extra::new(),
        }
    }

    fn decode(body: &str) -> Result<Schedule> {
        Schedule::decode("schedules/reports.json", body.as_bytes())
    }

    #[test]
    fn what_a_newer_version_wrote_is_kept() {
        let mut value: serde_json::Value = serde_json::from_slice(&schedule().encode().unwrap()).unwrap();
        value["colour"] = "red".into();
        value["definition"]["calendar"] = "holidays".into();
        value["definition"]["options"]["group"] = 7.into();
        let kept: serde_json::Value =
            serde_json::from_slice(&decode(&value.to_string()).unwrap().encode().unwrap()).unwrap();
        assert_eq!(kept, value);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_key() {
        let with = |path: &[&str], new: serde_json::Value| {
            let mut value: serde_json::Value = serde_json::from_slice(&schedule().encode().unwrap()).unwrap();
            let place = path.iter().fold(&mut value, |value, field| &mut value[*field]);
            *place = new;
            decode(&value.to_string())
        };
        for (path, new) in [
            (&["name"][..], "other".into()),
            (&["name"], "../x".into()),
            (&["definition", "every_ms"], 1.into()),
            (&["definition", "cron"], "* * * * *".into()),
            (&["definition", "overlap"], "sometimes".into()),
            (&["definition", "options", "priority"], 12.into()),
            (&["handled"], serde_json::Value::Null),
            (&["id"], "x".into()),
        ] {
            let error = with(path, new).unwrap_err();
            assert!(matches!(error, Error::Corrupt(_)), "{path:?}: {error}");
            assert!(error.to_string().contains("schedules/reports.json"), "{error}");
        }
        assert!(matches!(with(&["format"], 2.into()), Err(Error::Layout(_))));
        assert!(matches!(decode("{\"format\": 9}"), Err(Error::Layout(_))));
    }

    #[test]
    fn a_slot_has_a_task_of_its_own_in_each_schedule() {
        let one = schedule();
        let again = Schedule { id: ScheduleId::random(&Entropy::seeded(2)), ..one.clone() };
        let changed = Schedule { rev: 9, enabled: false, ..one.clone() };
        let slot = Timestamp(600_000);
        assert_eq!(slot_record(&one, slot), slot_record(&changed, slot));
        assert_ne!(slot_record(&one, slot), slot_record(&one, Timestamp(1_200_000)));
        assert_ne!(slot_record(&one, slot), slot_record(&again, slot), "the name was used again");
    }

    #[test]
    fn jitter_spreads_slots_within_its_bound() {
        let mut schedule = schedule();
        assert_eq!(slot_jitter(&schedule, Timestamp(0)).as_millis(), 0);
        schedule.definition.jitter_ms = 1_000;
        let spread: Vec<u128> = (0..100).map(|n| slot_jitter(&schedule, Timestamp(n * 600_000)).as_millis()).collect();
        assert!(spread.iter().all(|jitter| *jitter < 1_000));
        let late = spread.iter().filter(|jitter| **jitter >= 500).count();
        assert!((25..75).contains(&late), "{spread:?}");
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        (0_i64..4_000_000_000_000).prop_map(Timestamp)
    }

    proptest! {
        #[test]
        fn a_schedule_survives_the_round_trip(
            name in "[a-z_][a-z0-9_:-]{0,20}", handled in time(), waiting in prop::option::of(time()),
            ran in prop::option::of((time(), any::<u64>())), skipped in prop::option::of(time()),
            cron in prop::option::of(prop::sample::select(vec!["*/5 * * * *", "0 9 * * mon-fri", "@daily"])),
            commits in 0_usize..100, enabled in any::<bool>(), module in prop::option::of("[a-z.]{1,10}"),
        ) {
            let entropy = Entropy::seeded(3);
            let mut schedule = Schedule { name, handled, waiting, enabled, declared_in: module, ..schedule() };
            if let Some(cron) = cron {
                schedule.definition.every_ms = None;
                schedule.definition.cron = Some(cron.to_owned());
                schedule.definition.timezone = Some("Europe/Berlin".into());
            }
            schedule.last_run = ran.map(|(slot, seed)| {
                let task = RecordId::random(&Entropy::seeded(seed)).task(0);
                Run { slot, task, at: slot, worker: WorkerId::random(&entropy), extra: Extra::new() }
            });
            schedule.last_skip =
                skipped.map(|slot| Skip { slot, reason: SkipReason::Overlap, at: slot, extra: Extra::new() });
            for _ in 0..commits {
                schedule.stamp(CommitId::random(&entropy));
            }
            let body = schedule.encode().unwrap();
            let read = Schedule::decode(&keys::schedule(&schedule.name), &body).unwrap();
            prop_assert_eq!(read.encode().unwrap(), body);
            prop_assert!(read.trail.len() <= crate::limits::TRAIL);
        }

        #[test]
        fn no_text_makes_the_reader_fail_in_any_other_way(text in "\\PC{0,80}") {
            let _ = decode(&text);
        }
    }
}
