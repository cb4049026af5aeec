//! How entries are written and read. Fields and kinds that this version does not know are kept.

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::entry::{
    Ask, CallAsk, CancelOp, ChildAsk, End, Entry, Kind, News, Outcome, Place, Received, StepAsk, Told, What,
};
use super::model::{Millis, Op};
use crate::record::{Extra, Json};

/// Fields that are taken one by one; what is left is not known here.
struct Fields(Extra);

impl Fields {
    /// A field that may be missing or null.
    fn get<T: DeserializeOwned, E: serde::de::Error>(&mut self, name: &str) -> Result<Option<T>, E> {
        let Some(raw) = self.0.remove(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|error| E::custom(format_args!("field {name:?}: {error}")))
    }

    /// A field that must be there.
    fn need<T: DeserializeOwned, E: serde::de::Error>(&mut self, name: &'static str) -> Result<T, E> {
        self.get(name)?.ok_or_else(|| E::missing_field(name))
    }

    /// A field that may be missing; one that is null is there.
    fn json<E: serde::de::Error>(&mut self, name: &str) -> Result<Option<Json>, E> {
        let Some(raw) = self.0.remove(name) else { return Ok(None) };
        Json::parse(raw.get()).map(Some).map_err(E::custom)
    }

    /// The name of a kind, which stays where it is.
    fn kind(&self, field: &str) -> Option<String> {
        self.0.get(field).and_then(|raw| serde_json::from_str(raw.get()).ok())
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields(Extra::deserialize(deserializer)?);
        match (fields.kind("ask"), fields.kind("told")) {
            (Some(kind), None) if kind == "cancel" => cancel(fields).map(Self::Cancel),
            (Some(kind), None) if known(&kind).is_some() => ask(fields).map(Self::Ask),
            (None, Some(kind)) if kind == "cancel" || known(&kind).is_some() => told(fields).map(Self::Told),
            (Some(_), Some(_)) => Err(D::Error::custom("an entry is both an ask and a told")),
            (None, None) => Err(D::Error::custom("an entry is neither an ask nor a told")),
            (Some(_), None) | (None, Some(_)) => Ok(Self::Unknown(fields.0)),
        }
    }
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        told(Fields(Extra::deserialize(deserializer)?))
    }
}

fn known(kind: &str) -> Option<Kind> {
    use Kind::{Call, Callback, Child, Select, Signal, Step, Timer};
    [Step, Call, Child, Timer, Signal, Select, Callback].into_iter().find(|known| known.name() == kind)
}

fn cancel<E: serde::de::Error>(mut fields: Fields) -> Result<CancelOp, E> {
    fields.0.remove("ask");
    Ok(CancelOp { at: fields.need("at")?, op: fields.need("op")?, extra: fields.0 })
}

fn ask<E: serde::de::Error>(mut fields: Fields) -> Result<Ask, E> {
    let kind: Kind = fields.need("ask")?;
    let place = Place { scope: fields.need("scope")?, name: fields.need("name")?, n: fields.need("n")? };
    let what = match kind {
        Kind::Step => What::Step(StepAsk {
            args: fields.get("args")?,
            retry: fields.get("retry")?,
            timeout_ms: fields.get("timeout_ms")?,
            at_most_once: fields.get("at_most_once")?.unwrap_or_default(),
            on_failure: fields.get("on_failure")?,
            compensates: fields.get("compensates")?,
            when: fields.get("when")?.unwrap_or_default(),
        }),
        Kind::Call => What::Call(CallAsk {
            args: fields.get("args")?,
            task: fields.get("task")?,
            kind: fields.need("type")?,
            input: fields.json("input")?,
            input_ref: fields.get("input_ref")?,
            options: fields.json("options")?,
            compensates: fields.get("compensates")?,
        }),
        Kind::Child => What::Child(ChildAsk {
            args: fields.get("args")?,
            run: fields.get("run")?,
            workflow: fields.need("workflow")?,
            input: fields.json("input")?,
            input_ref: fields.get("input_ref")?,
            options: fields.json("options")?,
            on_close: fields.get("on_close")?.unwrap_or_default(),
        }),
        Kind::Timer => What::Timer { until: fields.need("until")? },
        Kind::Signal => What::Signal { until: fields.get("until")? },
        Kind::Select => What::Select { arms: fields.need("arms")? },
        Kind::Callback => What::Callback { until: fields.get("until")?, heartbeat_ms: fields.get("heartbeat_ms")? },
    };
    // What the front sends needs no time: the engine knows it.
    let at = fields.get("at")?.unwrap_or_default();
    Ok(Ask { at, place, what, extra: fields.0 })
}

fn told<E: serde::de::Error>(mut fields: Fields) -> Result<Told, E> {
    let kind = fields.kind("told").unwrap_or_default();
    fields.0.remove("told");
    let at: Millis = fields.need("at")?;
    let news = if kind == "cancel" {
        News::Cancel { reason: fields.get("reason")?, by: fields.get("by")? }
    } else {
        let kind = known(&kind).ok_or_else(|| E::custom(format_args!("nobody can be told {kind:?}")))?;
        news(kind, fields.need("op")?, &mut fields)?
    };
    Ok(Told { at, news, extra: fields.0 })
}

fn news<E: serde::de::Error>(kind: Kind, op: Op, fields: &mut Fields) -> Result<News, E> {
    Ok(match kind {
        Kind::Step | Kind::Call | Kind::Child | Kind::Callback => {
            let end = End {
                outcome: fields.need("outcome")?,
                output: fields.json("output")?,
                output_ref: fields.get("output_ref")?,
                error: fields.get("error")?,
                attempts: fields.get("attempts")?.unwrap_or_default(),
            };
            News::Ended { kind, op, end }
        }
        Kind::Timer => News::Timer { op },
        Kind::Signal => match fields.need("outcome")? {
            Outcome::Completed => News::Signal { op, signal: Some(received(fields)?) },
            Outcome::Timeout => News::Signal { op, signal: None },
            other => return Err(E::custom(format_args!("a signal cannot be {other:?}"))),
        },
        Kind::Select => {
            let arm = fields.need("arm")?;
            let signal = fields.0.contains_key("sent_at").then(|| received(fields)).transpose()?;
            News::Select { op, arm, signal }
        }
    })
}

fn received<E: serde::de::Error>(fields: &mut Fields) -> Result<Received, E> {
    Ok(Received {
        payload: fields.json("payload")?,
        payload_ref: fields.get("payload_ref")?,
        sent_at: fields.need("sent_at")?,
        id: fields.get("id")?,
    })
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ask(ask) => ask.serialize(serializer),
            Self::Cancel(cancel) => cancel.serialize(serializer),
            Self::Told(told) => told.serialize(serializer),
            Self::Unknown(fields) => fields.serialize(serializer),
        }
    }
}

/// Writes a field, if it is there.
fn put<M: SerializeMap, T: Serialize>(map: &mut M, name: &'static str, value: Option<&T>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, value))
}

/// Writes a flag, if it is set.
fn flag<M: SerializeMap>(map: &mut M, name: &'static str, set: bool) -> Result<(), M::Error> {
    put(map, name, set.then_some(&true))
}

fn rest<M: SerializeMap>(mut map: M, at: Millis, extra: &Extra) -> Result<M::Ok, M::Error> {
    map.serialize_entry("at", &at)?;
    extra.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
    map.end()
}

impl Serialize for CancelOp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ask", "cancel")?;
        map.serialize_entry("op", &self.op)?;
        rest(map, self.at, &self.extra)
    }
}

impl Serialize for Ask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ask", self.what.kind().name())?;
        map.serialize_entry("scope", &self.place.scope)?;
        map.serialize_entry("name", &self.place.name)?;
        map.serialize_entry("n", &self.place.n)?;
        match &self.what {
            What::Step(step) => put_step(&mut map, step)?,
            What::Call(call) => put_call(&mut map, call)?,
            What::Child(child) => put_child(&mut map, child)?,
            What::Timer { until } => map.serialize_entry("until", until)?,
            What::Signal { until } => put(&mut map, "until", until.as_ref())?,
            What::Select { arms } => map.serialize_entry("arms", arms)?,
            What::Callback { until, heartbeat_ms } => {
                put(&mut map, "until", until.as_ref())?;
                put(&mut map, "heartbeat_ms", heartbeat_ms.as_ref())?;
            }
        }
        rest(map, self.at, &self.extra)
    }
}

fn put_step<M: SerializeMap>(map: &mut M, step: &StepAsk) -> Result<(), M::Error> {
    let StepAsk { args, retry, timeout_ms, at_most_once, on_failure, compensates, when } = step;
    put(map, "args", args.as_ref())?;
    put(map, "retry", retry.as_ref())?;
    put(map, "timeout_ms", timeout_ms.as_ref())?;
    flag(map, "at_most_once", *at_most_once)?;
    put(map, "on_failure", on_failure.as_ref())?;
    put(map, "compensates", compensates.as_ref())?;
    flag(map, "when", *when)
}

fn put_call<M: SerializeMap>(map: &mut M, call: &CallAsk) -> Result<(), M::Error> {
    let CallAsk { args, task, kind, input, input_ref, options, compensates } = call;
    put(map, "args", args.as_ref())?;
    put(map, "task", task.as_ref())?;
    map.serialize_entry("type", kind)?;
    put(map, "input", input.as_ref())?;
    put(map, "input_ref", input_ref.as_ref())?;
    put(map, "options", options.as_ref())?;
    put(map, "compensates", compensates.as_ref())
}

fn put_child<M: SerializeMap>(map: &mut M, child: &ChildAsk) -> Result<(), M::Error> {
    let ChildAsk { args, run, workflow, input, input_ref, options, on_close } = child;
    put(map, "args", args.as_ref())?;
    put(map, "run", run.as_ref())?;
    map.serialize_entry("workflow", workflow)?;
    put(map, "input", input.as_ref())?;
    put(map, "input_ref", input_ref.as_ref())?;
    put(map, "options", options.as_ref())?;
    map.serialize_entry("on_close", on_close)
}

impl Serialize for Told {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("told", self.news.kind().map_or("cancel", Kind::name))?;
        put(&mut map, "op", self.news.op().as_ref())?;
        match &self.news {
            News::Ended { end, .. } => put_end(&mut map, end)?,
            News::Timer { .. } => {}
            News::Signal { signal: None, .. } => map.serialize_entry("outcome", &Outcome::Timeout)?,
            News::Signal { signal: Some(signal), .. } => {
                map.serialize_entry("outcome", &Outcome::Completed)?;
                put_received(&mut map, signal)?;
            }
            News::Select { arm, signal, .. } => {
                map.serialize_entry("arm", arm)?;
                signal.as_ref().map_or(Ok(()), |signal| put_received(&mut map, signal))?;
            }
            News::Cancel { reason, by } => {
                put(&mut map, "reason", reason.as_ref())?;
                put(&mut map, "by", by.as_ref())?;
            }
        }
        rest(map, self.at, &self.extra)
    }
}

fn put_end<M: SerializeMap>(map: &mut M, end: &End) -> Result<(), M::Error> {
    let End { outcome, output, output_ref, error, attempts } = end;
    map.serialize_entry("outcome", outcome)?;
    put(map, "output", output.as_ref())?;
    put(map, "output_ref", output_ref.as_ref())?;
    put(map, "error", error.as_ref())?;
    put(map, "attempts", (*attempts > 0).then_some(attempts))
}

fn put_received<M: SerializeMap>(map: &mut M, signal: &Received) -> Result<(), M::Error> {
    let Received { payload, payload_ref, sent_at, id } = signal;
    put(map, "payload", payload.as_ref())?;
    put(map, "payload_ref", payload_ref.as_ref())?;
    map.serialize_entry("sent_at", sent_at)?;
    put(map, "id", id.as_ref())
}

#[cfg(test)]
mod tests;
