//! Over a slow link.

use std::time::Duration;

use super::{
    lab::{Lab, Running, Served, destination},
    takeover::Proxy,
};

/// 32 Mbit/s.
const BYTES_PER_SECOND: u32 = 4_000_000;

fn text(lines: u32) -> Vec<u8> {
    (0..lines).flat_map(|line| format!("line {line} of {lines}\n").into_bytes()).collect()
}

/// That it is near does not make it fast.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_is_compressed_where_the_link_is_slow_though_it_is_near() {
    let lab = Lab::new();
    // What tells how slow it is.
    lab.write("noise", super::lab::noise(1 << 20, 1));
    let served = Served::start(&[lab.path("beta")]).await;
    let proxy = Proxy::start_slow(served.address, BYTES_PER_SECOND);
    let root = lab.path("beta");
    let running = Running::start(&lab.path("alpha"), destination(proxy.address, &root), served.options()).await;
    running.ready().await;
    running.flush().await;
    let before = proxy.to_agent_bytes();
    // One with a stream of its own, and in small ones.
    let whole = text(200_000);
    lab.write("large", &whole);
    for number in 0..20 {
        lab.write(&format!("small/{number}"), text(4_000 + number));
    }
    running.flush().await;
    lab.assert_same();
    let sent = proxy.to_agent_bytes() - before;
    let content = whole.len() as u64 + 20 * text(4_000).len() as u64;
    assert!(sent < content / 2, "{sent} bytes for {content}");
    tokio::time::timeout(Duration::from_secs(30), running.stop()).await.unwrap();
}
