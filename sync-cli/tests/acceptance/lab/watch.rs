//! A running `synctl watch --output json`, and what it has said so far.

use std::io::{BufRead, BufReader};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::PATIENCE;
use super::process::{Finished, Guarded, drained};

#[derive(Default)]
struct Said {
    events: Mutex<Vec<Value>>,
    more: Condvar,
}

pub(in super::super) struct Watch {
    child: Guarded,
    said: Arc<Said>,
    reader: Option<JoinHandle<()>>,
    stderr: Option<JoinHandle<String>>,
}

impl Watch {
    pub(in super::super) fn start(mut command: Command) -> Self {
        let mut child = Guarded::start(&mut command);
        let (stdout, stderr) = child.take_output();
        let said = Arc::new(Said::default());
        let heard = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                heard.events.lock().unwrap().push(event);
                heard.more.notify_all();
            }
            heard.more.notify_all();
        });
        Self { child, said, reader: Some(reader), stderr: Some(drained(stderr)) }
    }

    pub(in super::super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Whether it is dead, by whatever hand.
    pub(in super::super) fn has_ended(&mut self) -> bool {
        self.child.wait(Duration::ZERO).is_ok()
    }

    /// Everything said so far. Each line was an object with its event's name and the format's version.
    pub(in super::super) fn events(&self) -> Vec<Value> {
        let events = self.said.events.lock().unwrap().clone();
        for event in &events {
            let well_formed = event["event"].is_string() && event["version"] == 1;
            assert!(well_formed, "not an event of version 1: {event}");
        }
        events
    }

    /// What was said since `mark` (a number of events).
    pub(in super::super) fn since(&self, mark: usize) -> Vec<Value> {
        self.events().split_off(mark)
    }

    pub(in super::super) fn mark(&self) -> usize {
        self.events().len()
    }

    pub(in super::super) fn wait_for(&self, event: &str) -> Value {
        self.wait_since(0, event, |found| found["event"] == event)
    }

    /// The first event since `mark` that is wanted.
    pub(in super::super) fn wait_since(&self, mark: usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut events = self.said.events.lock().unwrap();
        loop {
            if let Some(found) = events.iter().skip(mark).find(|event| wanted(event)) {
                return found.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let over = left.is_zero() || self.reader.as_ref().is_some_and(JoinHandle::is_finished);
            assert!(!over, "watch did not say {what}; it said {:#?}", &events[events.len().saturating_sub(30)..]);
            events = self.said.more.wait_timeout(events, left.min(Duration::from_millis(200))).unwrap().0;
        }
    }

    /// The sum of a number over the `synced` events since `mark`.
    pub(in super::super) fn sum_since(&self, mark: usize, field: &str) -> u64 {
        self.since(mark)
            .iter()
            .filter(|event| event["event"] == "synced")
            .filter_map(|event| event[field].as_u64())
            .sum()
    }

    /// The paths of the `synced` events since `mark`.
    pub(in super::super) fn synced_since(&self, mark: usize) -> Vec<String> {
        let paths = |event: &Value| event["paths"].as_array().cloned().unwrap_or_default();
        let events = self.since(mark);
        let synced = events.iter().filter(|event| event["event"] == "synced").flat_map(paths);
        synced.filter_map(|path| Some(path["path"].as_str()?.to_owned())).collect()
    }

    pub(in super::super) fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Ctrl-C: ends it, and gives what it left behind. It must be over within `limit`.
    pub(in super::super) fn interrupt(self, limit: Duration) -> (Finished, Vec<Value>) {
        self.signal(Signal::INT);
        self.end(limit)
    }

    /// Its exit code and what it left behind; it must be over within `limit`.
    pub(in super::super) fn end(mut self, limit: Duration) -> (Finished, Vec<Value>) {
        let started = Instant::now();
        let code = self.child.wait(limit).unwrap_or_else(|()| panic!("watch still runs after {limit:?}"));
        let took = started.elapsed();
        self.reader.take().map(JoinHandle::join).transpose().unwrap();
        let stderr = self.stderr.take().map(|stderr| stderr.join().unwrap()).unwrap_or_default();
        (Finished { code, stdout: String::new(), stderr, took }, self.events())
    }
}

/// A test that fails shows what the session said last.
impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let events = self.said.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let worth = |event: &&Value| event["event"] != "progress";
            let said: Vec<String> = events.iter().rev().filter(worth).take(25).map(Value::to_string).collect();
            eprintln!("watch said last, latest first:\n{}", said.join("\n"));
        }
    }
}
