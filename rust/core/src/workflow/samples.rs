//! Entries for tests.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::entry::{
    Arm, Ask, CallAsk, CancelOp, ChildAsk, End, Entry, Fault, Kind, News, OnClose, OnFailure, Outcome, Place, Received,
    ResultRef, StepAsk, Told, What,
};
use super::model::{Millis, Op};
use crate::id::TaskId;
use crate::record::{Extra, Json, RetryPolicy};

pub fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

pub fn place(name: &str, n: u32) -> Place {
    Place { scope: String::new(), name: name.into(), n }
}

pub fn ask(at: i64, name: &str, n: u32, what: What) -> Ask {
    Ask { at: Millis(at), place: place(name, n), what, extra: Extra::new() }
}

pub fn step(at: i64, name: &str) -> Entry {
    Entry::Ask(ask(at, name, 0, What::Step(StepAsk::default())))
}

pub fn timer(at: i64, n: u32, until: i64) -> Entry {
    Entry::Ask(ask(at, "sleep", n, What::Timer { until: Millis(until) }))
}

pub fn signal(at: i64, name: &str, n: u32, until: Option<i64>) -> Entry {
    Entry::Ask(ask(at, name, n, What::Signal { until: until.map(Millis) }))
}

pub fn select(at: i64, n: u32, arms: &[(&str, Arm)]) -> Entry {
    let arms = arms.iter().map(|(label, arm)| ((*label).to_owned(), arm.clone())).collect();
    Entry::Ask(ask(at, "select", n, What::Select { arms }))
}

pub fn call(at: i64, name: &str) -> Entry {
    Entry::Ask(ask(at, name, 0, What::Call(call_ask(name))))
}

pub fn call_ask(kind: &str) -> CallAsk {
    CallAsk {
        args: None,
        task: None,
        kind: kind.into(),
        input: Some(json("{}")),
        input_ref: None,
        options: None,
        compensates: None,
    }
}

pub fn child(at: i64, name: &str, on_close: OnClose) -> Entry {
    let child = ChildAsk {
        args: None,
        run: None,
        workflow: name.into(),
        input: Some(json("{}")),
        input_ref: None,
        options: None,
        on_close,
    };
    Entry::Ask(ask(at, name, 0, What::Child(child)))
}

pub fn callback(at: i64, name: &str, until: Option<i64>, heartbeat_ms: Option<u64>) -> Entry {
    Entry::Ask(ask(at, name, 0, What::Callback { until: until.map(Millis), heartbeat_ms }))
}

pub fn cancel(at: i64, op: Op) -> Entry {
    Entry::Cancel(CancelOp { at: Millis(at), op, extra: Extra::new() })
}

pub fn told(at: i64, news: News) -> Entry {
    Entry::Told(Told { at: Millis(at), news, extra: Extra::new() })
}

pub fn ended(at: i64, kind: Kind, op: Op, end: End) -> Entry {
    told(at, News::Ended { kind, op, end })
}

pub fn completed(at: i64, op: Op) -> Entry {
    ended(at, Kind::Step, op, End::completed(json("1"), 1))
}

pub fn failed(at: i64, op: Op) -> Entry {
    ended(at, Kind::Step, op, End::without(Outcome::Failed, Some(Fault::new("ValueError", "no".into())), 1))
}

pub fn told_cancel(at: i64) -> Entry {
    told(at, News::Cancel { reason: None, by: None })
}

pub fn received(sent_at: i64) -> Received {
    Received { payload: Some(json("true")), payload_ref: None, sent_at: Millis(sent_at), id: None }
}

pub fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

prop_compose! {
    fn arbitrary_ref()(name in "[a-z]{1,8}", bytes in any::<u64>(), items in any::<Option<u32>>(), digit in "[0-9a-f]")
        -> ResultRef
    {
        let (hex, sha256) = (digit.repeat(16), digit.repeat(64));
        ResultRef { key: format!("{name}.{hex}"), sha256, bytes, items, extra: Extra::new() }
    }
}

fn arbitrary_json() -> impl Strategy<Value = Json> {
    prop::sample::select(vec![
        "null",
        "[1, 2.50]",
        "{\"b\": 1, \"a\": [\"é\"]}",
        "\"x\"",
        "-0.0",
        "12345678901234567890",
    ])
    .prop_map(json)
}

fn arbitrary_args() -> impl Strategy<Value = Option<BTreeMap<String, String>>> {
    prop::option::of(prop::collection::btree_map("[a-z]{1,6}", "[0-9a-f]{16}", 0..4))
}

fn arbitrary_fault() -> impl Strategy<Value = Fault> {
    let one = ("[A-Z][a-z]{0,8}", "\\PC{0,20}", prop::option::of("\\PC{0,20}"), prop::option::of(0..9_u32));
    let leaf = one.prop_map(|(kind, message, traceback, op)| Fault {
        kind,
        message,
        traceback,
        cause: None,
        op,
        extra: Extra::new(),
    });
    leaf.prop_recursive(3, 3, 1, |inner| {
        (inner.clone(), inner).prop_map(|(outer, cause)| Fault { cause: Some(Box::new(cause)), ..outer })
    })
}

fn arbitrary_end() -> impl Strategy<Value = End> {
    let result = prop_oneof![
        arbitrary_json().prop_map(|output| (Some(output), None)),
        arbitrary_ref().prop_map(|there| (None, Some(there))),
    ];
    let completed = (result, 0..5_u32).prop_map(|((output, output_ref), attempts)| End {
        outcome: Outcome::Completed,
        output,
        output_ref,
        error: None,
        attempts,
    });
    let outcome = prop::sample::select(vec![Outcome::Cancelled, Outcome::Skipped, Outcome::Timeout]);
    prop_oneof![
        completed,
        (arbitrary_fault(), 0..5_u32).prop_map(|(error, n)| End::without(Outcome::Failed, Some(error), n)),
        (outcome, prop::option::of(arbitrary_fault())).prop_map(|(outcome, error)| End::without(outcome, error, 1)),
    ]
}

fn arbitrary_what() -> impl Strategy<Value = What> {
    let until = || prop::option::of((0..1_i64 << 40).prop_map(Millis));
    let step = (arbitrary_args(), any::<Option<u32>>(), until(), any::<[bool; 3]>(), any::<Option<u32>>()).prop_map(
        |(args, retries, _, [at_most_once, pauses, when], compensates)| {
            What::Step(StepAsk {
                args,
                retry: retries.map(|max_retries| RetryPolicy { max_retries, ..RetryPolicy::default() }),
                timeout_ms: retries.map(u64::from),
                at_most_once,
                on_failure: pauses.then_some(OnFailure::Pause),
                compensates,
                when,
            })
        },
    );
    let input = (prop::option::of(arbitrary_json()), prop::option::of(arbitrary_ref()), any::<u16>());
    let call =
        (arbitrary_args(), input, any::<Option<u32>>()).prop_map(|(args, (input, input_ref, n), compensates)| {
            let task: TaskId = "5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000".parse().unwrap();
            let (task, options) = (Some(task.record().task(n)), input.clone());
            What::Call(CallAsk { args, task, kind: "ship".into(), input, input_ref, options, compensates })
        });
    let child =
        (arbitrary_args(), prop::option::of(arbitrary_json()), any::<bool>()).prop_map(|(args, input, cancel)| {
            let on_close = if cancel { OnClose::Cancel } else { OnClose::Abandon };
            let (workflow, options) = ("order".into(), input.clone());
            What::Child(ChildAsk { args, run: None, workflow, input, input_ref: None, options, on_close })
        });
    let arm = prop_oneof![
        "[a-z]{1,6}".prop_map(Arm::Signal),
        any::<i64>().prop_map(|at| Arm::Timer(Millis(at))),
        any::<u32>().prop_map(Arm::Op),
    ];
    prop_oneof![
        step,
        call,
        child,
        any::<i64>().prop_map(|until| What::Timer { until: Millis(until) }),
        until().prop_map(|until| What::Signal { until }),
        prop::collection::btree_map("[a-z]{1,6}", arm, 1..4).prop_map(|arms| What::Select { arms }),
        (until(), any::<Option<u64>>()).prop_map(|(until, heartbeat_ms)| What::Callback { until, heartbeat_ms }),
    ]
}

fn arbitrary_news() -> impl Strategy<Value = News> {
    let received = (prop::option::of(arbitrary_json()), prop::option::of(arbitrary_ref()), any::<i64>(), "[a-z]{0,3}");
    let received = received.prop_map(|(payload, payload_ref, sent_at, id)| Received {
        payload,
        payload_ref,
        sent_at: Millis(sent_at),
        id: (!id.is_empty()).then_some(id),
    });
    let received = received.boxed();
    let kind = prop::sample::select(vec![Kind::Step, Kind::Call, Kind::Child, Kind::Callback]);
    let text = || prop::option::of("\\PC{0,20}");
    prop_oneof![
        (kind, any::<u32>(), arbitrary_end()).prop_map(|(kind, op, end)| News::Ended { kind, op, end }),
        any::<u32>().prop_map(|op| News::Timer { op }),
        (any::<u32>(), prop::option::of(received.clone())).prop_map(|(op, signal)| News::Signal { op, signal }),
        (any::<u32>(), "[a-z]{1,6}", prop::option::of(received)).prop_map(|(op, arm, signal)| News::Select {
            op,
            arm,
            signal
        }),
        (text(), text()).prop_map(|(reason, by)| News::Cancel { reason, by }),
    ]
}

/// Any entry, also one that could not stand anywhere.
pub fn arbitrary_entry() -> impl Strategy<Value = Entry> {
    let extra = prop::collection::btree_map("new_[a-z]{1,4}", arbitrary_json(), 0..2).prop_map(|fields| {
        let raw = |value: Json| serde_json::from_str(value.text()).unwrap();
        fields.into_iter().map(|(name, value)| (name, raw(value))).collect::<Extra>()
    });
    let extra = extra.boxed();
    let at = || (0..1_i64 << 40).prop_map(Millis);
    let place = ("[0-9.]{0,6}", "[a-z]{1,8}", any::<u32>()).prop_map(|(scope, name, n)| Place { scope, name, n });
    prop_oneof![
        (at(), place, arbitrary_what(), extra.clone()).prop_map(|(at, place, what, extra)| Entry::Ask(Ask {
            at,
            place,
            what,
            extra
        })),
        (at(), any::<u32>(), extra.clone()).prop_map(|(at, op, extra)| Entry::Cancel(CancelOp { at, op, extra })),
        (at(), arbitrary_news(), extra).prop_map(|(at, news, extra)| Entry::Told(Told { at, news, extra })),
    ]
}
