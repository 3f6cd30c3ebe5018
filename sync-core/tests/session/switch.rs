//! A change of branch is held back until it is whole, and brought over together.

use std::{fs, time::Duration};

use sync_core::{engine::Mode, session::SessionOptions};

use super::lab::{Lab, noise, write};

const FILES: usize = 1200;

fn name(number: usize) -> String {
    format!("src/{}/{number}", number % 40)
}

/// Files of a branch: more than one batch takes, where they differ from those of another.
fn check_out(lab: &Lab, numbers: impl Iterator<Item = usize>, branch: u8) {
    for number in numbers {
        let mut content = noise(4000, branch);
        content.extend(number.to_le_bytes());
        lab.write(&name(number), content);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_branch_is_never_seen() {
    for mode in [Mode::OneWaySafe, Mode::TwoWaySafe] {
        let lab = Lab::new();
        fs::create_dir(lab.alpha(".git")).unwrap();
        check_out(&lab, 0..FILES, 1);
        lab.write("old/a", "moved with its directory");
        let running = lab.start_with(SessionOptions { mode, ..SessionOptions::default() }).await;
        running.ready().await;
        running.flush().await;
        lab.assert_same_but_git();

        fs::write(lab.alpha(".git/index.lock"), "").unwrap();
        check_out(&lab, 0..FILES / 2, 2);
        fs::rename(lab.alpha("old"), lab.alpha("new")).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = fs::read(lab.beta(&name(0))).unwrap();
        assert!(lab.beta("old/a").exists() && before[..100] == noise(100, 1)[..], "it is told before it is whole");
        check_out(&lab, FILES / 2..FILES, 2);
        fs::remove_file(lab.alpha(".git/index.lock")).unwrap();
        let last = lab.beta(&name(FILES - 1));
        let deadline = std::time::Instant::now() + super::lab::PATIENCE;
        while fs::read(&last).unwrap()[..100] != noise(100, 2)[..] {
            assert!(std::time::Instant::now() < deadline, "a lock that is gone holds nothing");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running.flush().await;
        lab.assert_same_but_git();

        // What it holds is no longer whole when it can't be read as it was planned, and goes on all the same.
        fs::write(lab.alpha(".git/index.lock"), "").unwrap();
        check_out(&lab, 0..FILES, 3);
        fs::remove_file(lab.alpha(".git/index.lock")).unwrap();
        check_out(&lab, 0..FILES, 4);
        running.flush().await;
        lab.assert_same_but_git();
        write(&lab.alpha("save"), "a save");
        running.flush().await;
        lab.assert_same_but_git();
        running.stop().await;
    }
}
