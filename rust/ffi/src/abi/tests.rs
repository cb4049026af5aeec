//! The exports as a caller sees them, with operations whose course the tests decide.
#![expect(unsafe_code, reason = "the exports are called as C calls them")]

use std::ffi::{CStr, c_char};
use std::ptr;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::handles;
use crate::queue::MOST_BYTES;
use crate::testing::{readable, with_panics};

const SOON: i64 = 30_000;

fn engine() -> *mut bq_engine {
    let (mut engine, config) = (ptr::null_mut(), br#"{"url": "memory:"}"#);
    // SAFETY: the arguments are places and bytes of this function's.
    let status = unsafe { bq_engine_open(config.as_ptr(), config.len(), &raw mut engine, ptr::null_mut()) };
    assert_eq!(status, BQ_OK);
    engine
}

fn queue_on(engine: *mut bq_engine) -> *mut bq_queue {
    let mut queue = ptr::null_mut();
    // SAFETY: the place is this function's.
    assert_eq!(unsafe { bq_queue_open(engine, &raw mut queue, ptr::null_mut()) }, BQ_OK);
    queue
}

fn submit(queue: *mut bq_queue, op: &str, token: u64) -> i32 {
    submit_with(queue, op, b"{}", token, ptr::null_mut())
}

fn submit_with(queue: *mut bq_queue, op: &str, request: &[u8], token: u64, error: *mut *mut bq_error) -> i32 {
    // SAFETY: the bytes are borrowed for the call, and `error` is NULL or a place of the caller's.
    unsafe { bq_submit(queue, op.as_ptr(), op.len(), request.as_ptr(), request.len(), token, error) }
}

fn drain(queue: *mut bq_queue, max: usize) -> Vec<Value> {
    let mut buffer = ptr::null_mut();
    // SAFETY: the place is this function's.
    assert_eq!(unsafe { bq_queue_drain(queue, max, &raw mut buffer, ptr::null_mut()) }, BQ_OK);
    if buffer.is_null() {
        return Vec::new();
    }
    // SAFETY: the buffer is this function's until it is freed.
    let (data, len) = unsafe { ((*buffer).data, (*buffer).len) };
    // SAFETY: `len` bytes and a NUL lie there.
    let bytes = unsafe { std::slice::from_raw_parts(data, len + 1) };
    assert_eq!(bytes[len], 0);
    let completions = serde_json::from_slice(&bytes[..len]).unwrap();
    // SAFETY: it is freed once.
    unsafe { bq_buffer_free(buffer) };
    completions
}

/// Waits until `count` completions have come.
fn collect(queue: *mut bq_queue, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    while found.len() < count {
        assert_eq!(bq_queue_wait(queue, SOON), BQ_OK);
        found.extend(drain(queue, count));
    }
    found
}

fn text(text: *const c_char) -> String {
    // SAFETY: the ABI promises text that ends in NUL.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

/// The status, code and message of an error, which is freed.
fn take(error: *mut bq_error) -> (i32, String, String) {
    // SAFETY: the error is the caller's and is freed once.
    unsafe {
        let parts = (bq_error_status(error), text(bq_error_code(error)), text(bq_error_message(error)));
        bq_error_free(error);
        parts
    }
}

#[test]
fn an_answer_comes_back_with_its_token() {
    let queue = queue_on(engine());
    submit_with(queue, "test.echo", br#"{"a": [1, "two"]}"#, u64::MAX, ptr::null_mut());
    assert_eq!(collect(queue, 1), [json!({"token": u64::MAX, "ok": {"a": [1, "two"]}})]);
    assert_eq!(bq_queue_wait(queue, 0), BQ_TIMEOUT);
}

#[test]
fn an_empty_request_stands_for_an_empty_object() {
    let queue = queue_on(engine());
    submit_with(queue, "test.echo", b"", 1, ptr::null_mut());
    assert_eq!(collect(queue, 1), [json!({"token": 1, "ok": {}})]);
}

#[test]
fn the_error_of_an_operation_is_its_answer() {
    let queue = queue_on(engine());
    submit(queue, "test.not_found", 7);
    let error = json!({"code": "not_found", "message": "say \"why\"\n"});
    assert_eq!(collect(queue, 1), [json!({"token": 7, "error": error})]);
}

#[test]
fn a_drain_takes_no_more_than_asked_and_keeps_the_order() {
    let queue = queue_on(engine());
    for token in 0..5 {
        submit(queue, "test.never", token);
    }
    for token in 0..5 {
        assert_eq!(bq_cancel(queue, token), BQ_OK);
    }
    let tokens = |max| drain(queue, max).iter().map(|one| one["token"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(tokens(2), [0, 1]);
    assert_eq!(tokens(2), [2, 3]);
    assert_eq!(tokens(2), [4]);
    assert!(tokens(2).is_empty());
}

#[test]
fn the_descriptor_is_readable_exactly_while_completions_wait() {
    let queue = queue_on(engine());
    let fd = bq_queue_fd(queue);
    for _ in 0..3 {
        assert!(!readable(fd));
        submit(queue, "test.never", 1);
        submit(queue, "test.never", 2);
        assert!(!readable(fd));
        bq_cancel(queue, 1);
        bq_cancel(queue, 2);
        assert!(readable(fd));
        drain(queue, 1);
        assert!(readable(fd));
        drain(queue, 1);
    }
    assert!(!readable(fd));
}

#[test]
fn a_cancelled_operation_completes_once_as_closed() {
    let queue = queue_on(engine());
    submit(queue, "test.never", 1);
    submit(queue, "test.never", 1);
    submit(queue, "test.never", 2);
    bq_cancel(queue, 1);
    bq_cancel(queue, 1);
    let found = drain(queue, 10);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|one| one["token"] == 1 && one["error"]["code"] == "closed"));
    submit(queue, "test.echo", 3);
    assert_eq!(collect(queue, 1)[0]["token"], 3);
}

#[test]
fn a_panic_inside_an_operation_is_its_answer_and_the_queue_goes_on() {
    let queue = queue_on(engine());
    submit(queue, "test.panic", 1);
    let found = collect(queue, 1);
    assert_eq!(found[0]["error"]["code"], "internal");
    assert!(found[0]["error"]["message"].as_str().unwrap().contains("the operation panics"));
    submit(queue, "test.echo", 2);
    assert_eq!(collect(queue, 1)[0]["ok"], json!({}));
}

#[test]
fn a_full_queue_refuses_until_it_is_drained() {
    let queue = queue_on(engine());
    for token in 0..BQ_MAX_PENDING as u64 {
        assert_eq!(submit(queue, "test.never", token), BQ_OK);
    }
    let mut error = ptr::null_mut();
    assert_eq!(submit_with(queue, "test.never", b"", 0, &raw mut error), BQ_ERR_OVERLOADED);
    assert_eq!(take(error).1, "overloaded");
    bq_cancel(queue, 0);
    assert_eq!(submit(queue, "test.never", 0), BQ_ERR_OVERLOADED);
    assert_eq!(drain(queue, 1).len(), 1);
    assert_eq!(submit(queue, "test.never", 0), BQ_OK);
}

#[test]
fn answers_that_nobody_drains_take_no_more_memory_than_they_may_and_each_still_comes() {
    const ANSWER: usize = 4 << 20;
    let queue = queue_on(engine());
    let request = format!("\"{}\"", "x".repeat(ANSWER - 2));
    let count = 3 * MOST_BYTES / ANSWER;
    for token in 0..count as u64 {
        assert_eq!(submit_with(queue, "test.echo", request.as_bytes(), token, ptr::null_mut()), BQ_OK);
    }
    let (mut tokens, mut most) = (Vec::new(), 0);
    while tokens.len() < count {
        assert_eq!(bq_queue_wait(queue, SOON), BQ_OK);
        let full = || handles::queue(queue.addr()).unwrap().bytes() + ANSWER > MOST_BYTES;
        let deadline = Instant::now() + Duration::from_secs(30);
        while !full() && tokens.len() + MOST_BYTES / ANSWER <= count && Instant::now() < deadline {
            thread::yield_now();
        }
        most = most.max(handles::queue(queue.addr()).unwrap().bytes());
        tokens.extend(drain(queue, 1).iter().map(|one| one["token"].as_u64().unwrap()));
    }
    assert!(most <= MOST_BYTES + ANSWER, "{most} bytes waited");
    tokens.sort_unstable();
    assert_eq!(tokens, (0..count as u64).collect::<Vec<_>>(), "each once");
    assert_eq!(handles::queue(queue.addr()).unwrap().bytes(), 0);
}

#[test]
fn what_waits_for_room_is_over_when_its_engine_closes() {
    let engine = engine();
    let queue = queue_on(engine);
    let request = format!("\"{}\"", "x".repeat(MOST_BYTES));
    for token in 0..3 {
        assert_eq!(submit_with(queue, "test.echo", request.as_bytes(), token, ptr::null_mut()), BQ_OK);
    }
    assert_eq!(bq_engine_close(engine, SOON), BQ_OK, "nothing was left to be given up");
    assert_eq!(collect(queue, 3).len(), 3);
}

#[test]
fn closing_a_queue_wakes_who_waits_and_makes_the_handle_useless() {
    let engine = engine();
    let queue = queue_on(engine);
    submit(queue, "test.never", 1);
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let queue = queue.addr();
            thread::spawn(move || bq_queue_wait(ptr::without_provenance_mut(queue), -1))
        })
        .collect();
    assert_eq!(bq_queue_close(queue), BQ_OK);
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), BQ_ERR_CLOSED);
    }
    assert_eq!(bq_queue_wait(queue, -1), BQ_ERR_CLOSED);
    assert_eq!(bq_cancel(queue, 1), BQ_ERR_CLOSED);
    assert_eq!(submit(queue, "test.echo", 1), BQ_ERR_CLOSED);
    assert_eq!(bq_queue_fd(queue), -1);
    assert_eq!(bq_queue_close(queue), BQ_ERR_CLOSED);
    assert_eq!(bq_engine_close(engine, -1), BQ_OK, "nothing is left in flight");
}

#[test]
fn closing_an_engine_completes_what_was_accepted() {
    let engine = engine();
    let (first, second) = (queue_on(engine), queue_on(engine));
    submit(first, "test.never", 1);
    submit(second, "test.never", 2);
    assert_eq!(bq_engine_close(engine, 10), BQ_TIMEOUT);
    for (queue, token) in [(first, 1), (second, 2)] {
        assert_eq!(submit(queue, "test.echo", 9), BQ_ERR_CLOSED);
        assert!(readable(bq_queue_fd(queue)));
        assert_eq!(bq_queue_wait(queue, -1), BQ_OK);
        let found = drain(queue, 10);
        assert_eq!((&found[0]["token"], &found[0]["error"]["code"]), (&json!(token), &json!("closed")));
        assert_eq!(found.len(), 1);
        assert_eq!(bq_queue_wait(queue, -1), BQ_ERR_CLOSED, "nothing can come any more");
        assert_eq!(bq_queue_close(queue), BQ_OK);
    }
    assert_eq!(bq_engine_close(engine, 0), BQ_ERR_CLOSED);
    let mut queue = ptr::null_mut();
    // SAFETY: the place is this function's.
    assert_eq!(unsafe { bq_queue_open(engine, &raw mut queue, ptr::null_mut()) }, BQ_ERR_CLOSED);
}

#[test]
fn closing_an_engine_ends_a_wait_for_nothing() {
    let engine = engine();
    let queue = queue_on(engine);
    let waiter = {
        let queue = queue.addr();
        thread::spawn(move || bq_queue_wait(ptr::without_provenance_mut(queue), -1))
    };
    assert_eq!(bq_engine_close(engine, -1), BQ_OK);
    assert_eq!(waiter.join().unwrap(), BQ_ERR_CLOSED);
}

#[test]
fn every_operation_completes_once_while_the_engine_closes_under_its_submitters() {
    for _ in 0..50 {
        let engine = engine();
        let queue = queue_on(engine);
        let submitters: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.addr();
                thread::spawn(move || {
                    let op = |n: u64| if n.is_multiple_of(3) { "test.never" } else { "test.echo" };
                    (0..2_000).take_while(|n| submit(ptr::without_provenance_mut(queue), op(*n), *n) == BQ_OK).count()
                })
            })
            .collect();
        bq_engine_close(engine, 0);
        let mut accepted = 0;
        for submitter in submitters {
            accepted += submitter.join().unwrap();
        }
        assert_eq!(drain(queue, usize::MAX).len(), accepted);
        assert_eq!(bq_queue_wait(queue, -1), BQ_ERR_CLOSED);
        assert_eq!(bq_queue_close(queue), BQ_OK);
    }
}

#[test]
fn arguments_that_cannot_be_used_are_refused_with_the_reason() {
    let (engine, mut error) = (engine(), ptr::null_mut());
    let queue = queue_on(engine);
    let op = "test.echo";
    // SAFETY: every pointer is NULL, a place of this function's, or goes with its length; handles are not followed.
    let calls: [(i32, &str); 8] = unsafe {
        let mut call = |call: &mut dyn FnMut(*mut *mut bq_error) -> i32| {
            error = ptr::null_mut();
            let status = call(&raw mut error);
            let (same, code, message) = take(error);
            assert_eq!((status, code.as_str()), (same, "invalid"));
            (status, Box::leak(message.into_boxed_str()) as &str)
        };
        let (mut some_engine, mut some_queue, mut some_buffer) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        [
            call(&mut |error| bq_engine_open(ptr::null(), 2, &raw mut some_engine, error)),
            call(&mut |error| bq_engine_open(ptr::null(), 0, ptr::null_mut(), error)),
            call(&mut |error| bq_queue_open(ptr::null_mut(), &raw mut some_queue, error)),
            call(&mut |error| bq_queue_open(queue.cast(), &raw mut some_queue, error)),
            call(&mut |error| bq_submit(queue, [0xff].as_ptr(), 1, ptr::null(), 0, 1, error)),
            call(&mut |error| bq_submit(queue, op.as_ptr(), usize::MAX, ptr::null(), 0, 1, error)),
            call(&mut |error| {
                bq_submit(ptr::without_provenance_mut(1 << 40), op.as_ptr(), 1, ptr::null(), 0, 1, error)
            }),
            call(&mut |error| bq_queue_drain(queue, 0, &raw mut some_buffer, error)),
        ]
    };
    let messages = calls.map(|(_, message)| message);
    assert_eq!(messages[0], "config is NULL, but its length is 2");
    assert_eq!(messages[1], "out is NULL");
    assert_eq!(messages[2], "the engine is NULL");
    assert!(messages[3].contains("does not stand for the engine"), "{}", messages[3]);
    assert!(messages[4].contains("not UTF-8"), "{}", messages[4]);
    assert!(messages[5].contains("are the most"), "{}", messages[5]);
    assert!(messages[6].contains("no call ever returned 0x10000000000"), "{}", messages[6]);
    assert!(messages[7].contains("max is 0"), "{}", messages[7]);
    assert_eq!(bq_engine_close(ptr::null_mut(), 0), BQ_ERR_INVALID);
    assert_eq!(bq_queue_close(ptr::null_mut()), BQ_ERR_INVALID);
    assert_eq!(bq_queue_wait(ptr::null_mut(), 0), BQ_ERR_INVALID);
    assert_eq!(bq_cancel(ptr::null_mut(), 0), BQ_ERR_INVALID);
    assert_eq!(bq_queue_fd(ptr::null()), -1);
}

#[test]
fn null_is_an_error_without_text_and_a_buffer_that_needs_no_freeing() {
    // SAFETY: NULL is allowed in all of them.
    unsafe {
        assert_eq!(bq_error_status(ptr::null()), BQ_ERR_INVALID);
        assert_eq!(text(bq_error_code(ptr::null())), "");
        assert_eq!(text(bq_error_message(ptr::null())), "");
        bq_error_free(ptr::null_mut());
        bq_buffer_free(ptr::null_mut());
    }
}

#[test]
fn no_panic_leaves_an_export() {
    let engine = engine();
    let queue = queue_on(engine);
    let (mut error, mut some_engine, mut some_queue, mut buffer) =
        (ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    let mut failed = Vec::new();
    // SAFETY: every pointer is NULL or a place of this function's; errors are freed once.
    with_panics(|| unsafe {
        failed.push(bq_engine_open(ptr::null(), 0, &raw mut some_engine, &raw mut error));
        failed.push(bq_queue_open(engine, &raw mut some_queue, ptr::null_mut()));
        failed.push(bq_submit(queue, b"get".as_ptr(), 3, ptr::null(), 0, 1, ptr::null_mut()));
        failed.push(bq_queue_drain(queue, 1, &raw mut buffer, ptr::null_mut()));
        failed.push(bq_cancel(queue, 1));
        failed.push(bq_queue_wait(queue, -1));
        failed.push(bq_queue_close(queue));
        failed.push(bq_engine_close(engine, -1));
        failed.push(bq_error_status(error));
        assert_eq!(bq_queue_fd(queue), -1);
        assert_eq!(text(bq_error_code(error)), "");
        assert_eq!(text(bq_error_message(error)), "");
        bq_error_free(ptr::null_mut());
        bq_buffer_free(ptr::null_mut());
    });
    assert_eq!(failed, [BQ_ERR_INTERNAL; 9]);
    let (status, code, message) = take(error);
    assert_eq!((status, code.as_str()), (BQ_ERR_INTERNAL, "internal"));
    assert!(message.contains("the test asked for it"), "{message}");
    assert_eq!(bq_queue_close(queue), BQ_OK, "the handles are as they were");
    assert_eq!(bq_engine_close(engine, -1), BQ_OK);
}

#[test]
fn the_version_is_the_packages() {
    assert_eq!(text(bq_version()), env!("CARGO_PKG_VERSION"));
    assert_eq!(bq_abi_version(), BQ_ABI_VERSION);
}
