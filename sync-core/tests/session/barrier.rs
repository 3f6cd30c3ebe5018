//! A flush is a barrier: what was on disk before it is at the other side after it.

use std::fs;

use sync_core::session::FlushError;

use super::lab::{Lab, PATIENCE, Served, noise};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flush_the_other_side_has_exactly_what_was_written() {
    let lab = Lab::new();
    lab.write("a", "");
    let running = lab.start().await;
    for number in 0..100_u32 {
        // The same length, within one tick of the clock, in place and by rename in turns.
        let content = format!("{number:05}");
        if number % 3 == 0 {
            lab.write("tmp", &content);
            fs::rename(lab.alpha("tmp"), lab.alpha("a")).unwrap();
        } else {
            lab.write("a", &content);
        }
        running.flush().await;
        assert_eq!(fs::read_to_string(lab.beta("a")).unwrap(), content);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_holds_for_files_that_are_hashed_beside() {
    let lab = Lab::new();
    let running = lab.start().await;
    for number in 0..12_u8 {
        // Written twice: the second time while the first is being read.
        lab.write("large", noise(4 << 20, number));
        if number % 2 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let last = noise(4 << 20, 100 + number);
        lab.write("large", &last);
        running.flush().await;
        assert!(fs::read(lab.beta("large")).unwrap() == last, "round {number}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_holds_for_whole_trees() {
    let lab = Lab::new();
    let running = lab.start().await;
    for round in 0..8 {
        let _ = fs::remove_dir_all(lab.alpha("tree"));
        for number in 0..150 {
            lab.write(&format!("tree/{}/{number}", number % 9), format!("{round}.{number}"));
        }
        running.flush().await;
        lab.assert_same();
    }
    running.stop().await;
}

/// Flushes at once, while something writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_flushes_at_once_all_come_back() {
    let lab = Lab::new();
    let running = lab.start().await;
    lab.write("big", noise(6 << 20, 1));
    let mut flushes = Vec::new();
    for number in 0..40 {
        lab.write(&format!("{number}"), format!("{number}"));
        flushes.push(running.session.flush());
    }
    for flush in flushes {
        tokio::time::timeout(PATIENCE, flush).await.unwrap().unwrap();
    }
    lab.assert_same();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_agent_it_says_so() {
    let lab = Lab::new();
    let mut served = Served::start(&[lab.path("beta")]).await;
    served.stop().await;
    let running = served.session(&lab.path("alpha"), &lab.path("beta")).await;
    let error = tokio::time::timeout(PATIENCE, running.session.flush()).await.unwrap().unwrap_err();
    assert!(matches!(error, FlushError::Disconnected(_)), "{error:?}");
    running.stop().await;
}
