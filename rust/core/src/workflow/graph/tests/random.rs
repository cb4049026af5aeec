//! Random graphs with random outcomes in a random order.

use proptest::prelude::*;

use super::super::super::journal::Closed;
use super::*;

#[derive(Clone, Debug)]
struct Drawn {
    graph: Graph,
    dice: Vec<u32>,
}

fn join(n: u32) -> Join {
    [Join::Success, Join::Skipped, Join::Finished, Join::Failure][usize::try_from(n % 4).unwrap()]
}

fn on_failure(n: u32) -> StepFailure {
    use StepFailure::{Compensate, Continue, Fail, Pause};
    [Continue, Continue, Continue, Fail, Compensate, Pause][usize::try_from(n % 6).unwrap()]
}

prop_compose! {
    fn drawn()(
        shapes in prop::collection::vec((any::<u32>(), any::<u32>(), any::<[bool; 5]>()), 1..9),
        most in prop::option::of(1_u32..4),
        undoes in any::<bool>(),
        dice in prop::collection::vec(any::<u32>(), 200),
    ) -> Drawn {
        let name = |n: usize| format!("s{n}");
        let mut steps: Vec<Step> = Vec::new();
        for (n, (links, rules, [when, undo, mapped, task, once])) in shapes.iter().enumerate() {
            let before: Vec<String> = (0..n).filter(|m| (links >> (m % 32)).trailing_zeros() >= 2).map(name).collect();
            let before: Vec<&str> = before.iter().map(String::as_str).collect();
            let mut drawn = step(&name(n), &before);
            drawn.join = join(*rules);
            drawn.on_failure = on_failure(rules / 4);
            drawn.when = *when;
            drawn.at_most_once = *once;
            if drawn.join == Join::Failure
                && !steps.iter().any(|s| before.contains(&s.name.as_str()) && s.on_failure == StepFailure::Continue)
            {
                drawn.join = Join::Finished;
            }
            if *undo {
                drawn = undoable(drawn);
            }
            if *mapped && let Some(over) = before.first() {
                drawn.map_over = Some((*over).to_owned());
                drawn.max_concurrency = (rules % 3 > 0).then_some(rules % 3);
                drawn.tolerated_failures = (rules % 5 > 0).then_some(rules % 5);
                drawn.min_successful = (rules % 7 > 4).then_some(rules % 2 + 1);
            }
            if *task && drawn.on_failure != StepFailure::Pause {
                drawn.task = Some(TaskStep { kind: "ship".into(), options: None });
            }
            steps.push(drawn);
        }
        let on_cancel = if undoes { OnCancel::Compensate } else { OnCancel::Stop };
        Drawn { graph: Graph { max_concurrent_steps: most, on_cancel, ..graph(steps) }, dice }
    }
}

/// Plays to the end; `check` sees every state on the way.
fn play(drawn: &Drawn, mut check: impl FnMut(&Play)) -> Play {
    let mut play = Play::new(drawn.graph.clone());
    let mut dice = drawn.dice.iter().cycle();
    let mut roll = |sides: u32| dice.next().unwrap() % sides;
    let mut cancelled = false;
    for _ in 0..5_000 {
        check(&play);
        if play.end.is_some() {
            return play;
        }
        if !cancelled && roll(40) == 0 {
            cancelled = true;
            play.tell(News::Cancel { reason: None, by: None });
            continue;
        }
        let open = play.open();
        assert!(!open.is_empty(), "it has not ended, and waits for nothing: {:?}", play.body);
        let (op, _) = open[usize::try_from(roll(u32::try_from(open.len()).unwrap())).unwrap()];
        let skippable = matches!(&play.ledger.ask(op).unwrap().what, What::Step(step) if step.when);
        let error = || Some(Fault::new("ValueError", "no".into()));
        let end = match roll(8) {
            0 => End::without(Outcome::Failed, error(), 1),
            1 if skippable => End::without(Outcome::Skipped, None, 1),
            2 => End::without(Outcome::Cancelled, None, 1),
            _ => End::completed(json(["[]", "[1]", "[1,2,3]", "[1,2,3,4,5]"][usize::try_from(roll(4)).unwrap()]), 1),
        };
        play.ends(op, end);
    }
    panic!("it does not end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_step_ends_in_one_status_and_bounds_are_kept(drawn in drawn()) {
        let most = drawn.graph.max_concurrent_steps.map_or(usize::MAX, |most| usize::try_from(most).unwrap());
        let mut before: Option<Vec<StepStatus>> = None;
        let played = play(&drawn, |play| {
            assert!(play.open().len() <= most);
            for step in &play.graph.steps {
                let items = play.open().iter().filter(|(_, name)| name.starts_with(&format!("{}[", step.name))).count();
                assert!(items <= step.max_concurrency.map_or(usize::MAX, |most| usize::try_from(most).unwrap()));
            }
            let statuses = play.body.statuses();
            if let Some(before) = &before {
                for (from, to) in before.iter().zip(&statuses) {
                    assert!(!from.is_ended() || from == to, "{from:?} -> {to:?}");
                }
            }
            before = Some(statuses);
        });
        prop_assert!(played.body.statuses().iter().all(|status| status.is_ended()));
        prop_assert!(played.open().is_empty(), "nothing is left under way");
    }

    #[test]
    fn no_step_is_asked_for_before_those_it_depends_on_have_ended(drawn in drawn()) {
        let played = play(&drawn, |_| {});
        let graph = &played.graph;
        for (op, entry) in (0..).zip(played.ledger.entries()) {
            let Entry::Ask(ask) = &**entry else { continue };
            if ask.place.scope == body::COMPENSATE {
                continue;
            }
            let step = &graph.steps[graph.place(&ask.place.name).unwrap()];
            for (earlier, _) in (0..).zip(played.ledger.entries()) {
                let Some(other) = played.ledger.ask(earlier) else { continue };
                if step.depends_on.contains(&other.place.name) && other.place.scope != body::COMPENSATE {
                    prop_assert!(earlier < op, "{} is asked for before {}", ask.place.name, other.place.name);
                    let closed = played.ledger.closed(earlier);
                    let closed = closed.map(|(Closed::Told(place) | Closed::Cancelled(place))| place);
                    prop_assert!(closed.is_some_and(|place| place < op));
                }
            }
        }
    }

    #[test]
    fn replays_of_every_beginning_stand_where_the_run_stood(drawn in drawn(), cut in any::<prop::sample::Index>()) {
        let played = play(&drawn, |play| drop(play.replayed()));
        let length = cut.index(played.ledger.entries().len() + 1);
        let mut body = Body::new(Arc::clone(&played.graph), Input::default()).unwrap();
        let prefix = &played.ledger.entries()[..length];
        prop_assert!(replay(&mut body, prefix).is_ok(), "a journal that was cut anywhere goes on");
    }

    #[test]
    fn what_was_completed_is_undone_once_and_in_reverse(drawn in drawn()) {
        let played = play(&drawn, |_| {});
        let undone: Vec<Op> =
            (0..).zip(played.ledger.entries()).filter_map(|(op, _)| played.ledger.ask(op)?.what.compensates()).collect();
        let told = |op: &Op| match played.ledger.closed(*op) {
            Some(Closed::Told(place)) => place,
            other => panic!("{other:?}"),
        };
        let places: Vec<Op> = undone.iter().map(told).collect();
        prop_assert!(places.is_sorted_by(|a, b| a > b), "{places:?}");
        prop_assert!(undone.is_empty() || !matches!(played.end, Some(GraphEnd::Completed(_))));
    }
}
