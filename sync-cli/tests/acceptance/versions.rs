//! Fault 43: the other side speaks other versions of the protocol. Each side says so in one sentence that names who has to
//! be upgraded, and goes on with others.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use sync_core::link::{CloseCode, Credentials, Listener, Role, Secret, close, dial, sentence};
use sync_proto::hello::{HELLO_BYTES, Hello, VERSION_MAX, VERSION_MIN};

use super::lab::{Lab, PATIENCE, Watch, body, plant, run};

/// A hello of a program that is years ahead.
fn newer() -> Hello {
    let (version_min, version_max) = (VERSION_MAX + 1, VERSION_MAX + 3);
    Hello { version_min, version_max, features: u64::MAX, software: "synctl 9.9.9".to_owned() }
}

/// A hello of a program that is years behind.
fn older() -> Hello {
    Hello { version_min: 0, version_max: VERSION_MIN - 1, features: 0, software: "synctl 0.0.1".to_owned() }
}

/// How an agent of other versions answers.
#[derive(Clone, Copy)]
enum Answer {
    /// It says its own hello, and leaves it to the other side to see that they don't go together.
    Hello,
    /// It sees it itself, as `sync-agent` does: it closes the connection, with a sentence.
    Close,
}

/// An agent that authenticates and then speaks other versions. Ends with its runtime.
struct OtherAgent {
    port: u16,
    _runtime: tokio::runtime::Runtime,
}

impl OtherAgent {
    fn start(lab: &Lab, ours: Hello, answer: Answer) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let credentials = credentials(lab, Role::Agent);
        let listener =
            runtime.block_on(async { Listener::bind("127.0.0.1:0".parse().unwrap(), &credentials) }).unwrap();
        let port = listener.local_addr().port();
        runtime.spawn(async move {
            while let Some(Ok(connection)) = listener.accept().await {
                let Ok((mut send, mut recv)) = connection.accept_bi().await else { continue };
                let mut bytes = [0; HELLO_BYTES];
                recv.read_exact(&mut bytes).await.unwrap();
                let theirs = Hello::decode(&bytes).unwrap();
                match answer {
                    Answer::Hello => send.write_all(&ours.encode()).await.unwrap(),
                    Answer::Close => {
                        let said = theirs.agree(&ours).unwrap_err().to_string();
                        close(&connection, CloseCode::Version, &said);
                    }
                }
                connection.closed().await;
            }
        });
        Self { port, _runtime: runtime }
    }
}

fn credentials(lab: &Lab, role: Role) -> Credentials {
    Credentials::from_secret(&Secret::from_file(&lab.secret).unwrap(), role).unwrap()
}

/// `push` says it in one line and could not; `watch` says it, and keeps trying until an agent is there that it can talk to.
fn check(hello: &Hello, answer: Answer, software: &str, upgrade: &str) {
    let lab = Lab::new();
    plant(&lab.source, 1, 3);
    let agent = OtherAgent::start(&lab, hello.clone(), answer);
    let mut push = lab.synctl(["push"]);
    push.arg(&lab.source).arg(lab.destination(agent.port)).arg("--secret-file").arg(&lab.secret);
    push.arg("--state-dir").arg(lab.base().join("state"));
    let pushed = run(push, PATIENCE);
    super::refusals::refused(&pushed, &["version", software, upgrade]);
    assert!(pushed.took < Duration::from_secs(15), "at once, not after {:?}", pushed.took);

    let watch = Watch::start(lab.command("watch", agent.port));
    let said = watch.wait_since(0, "that the versions differ", |event| event["event"] == "disconnected");
    let reason = said["reason"].as_str().unwrap();
    assert!(reason.contains(software) && reason.contains(upgrade), "{reason}");
    assert!(said["retry_in_ms"].is_u64(), "it keeps trying: {said}");
    let mark = watch.mark();
    watch.wait_since(mark, "that it tries again", |event| event["event"] == "connecting");
    assert_eq!(fs::read_dir(&lab.target).unwrap().count(), 0, "something was synced");
    let port = agent.port;
    drop(agent);
    let agent = lab.agent_on(port);
    watch.wait_for("ready");
    lab.settle();
    drop(agent);
}

#[test]
fn fault_43_an_agent_that_is_newer() {
    check(&newer(), Answer::Close, "synctl 9.9.9", "upgrade this side");
    check(&newer(), Answer::Hello, "synctl 9.9.9", "upgrade this side");
}

#[test]
fn fault_43_an_agent_that_is_older() {
    check(&older(), Answer::Close, "synctl 0.0.1", "upgrade the other side");
    check(&older(), Answer::Hello, "synctl 0.0.1", "upgrade the other side");
}

/// The agent refuses with a sentence in the controller's words, and the session that it has goes on.
#[test]
fn fault_43_a_controller_of_another_version() {
    let lab = Lab::new();
    plant(&lab.source, 1, 3);
    let agent = lab.agent();
    let watch = lab.watch(&agent);
    for (hello, upgrade) in [(older(), "upgrade this side"), (newer(), "upgrade the other side")] {
        let said = refusal(&lab, ([127, 0, 0, 1], agent.port).into(), &hello);
        assert!(said.contains("version") && said.contains(upgrade), "{said}");
    }
    let content = body(1, 2_000);
    fs::write(lab.source.join("d0/new"), &content).unwrap();
    lab.arrives("d0/new", &content);
    assert_eq!(watch.interrupt(PATIENCE).0.code, Some(0));
    assert_eq!(lab.push(&agent).code, Some(0), "the next one is served");
    let (code, log) = agent.terminate(Duration::from_secs(3));
    assert_eq!(code, Some(0), "{log}");
    let lines = |software: &str| log.lines().filter(|line| line.contains(software) && line.contains("upgrade")).count();
    assert_eq!((lines("synctl 0.0.1"), lines("synctl 9.9.9")), (1, 1), "{log}");
}

/// What an agent says to a controller with this hello.
fn refusal(lab: &Lab, agent: SocketAddr, hello: &Hello) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let attempt = async {
        let dialed = dial(&agent.ip().to_string(), agent.port(), &credentials(lab, Role::Controller)).await.unwrap();
        let (mut send, mut recv) = dialed.connection.open_bi().await.unwrap();
        send.write_all(&hello.encode()).await.unwrap();
        assert!(recv.read_to_end(1 << 16).await.is_err(), "no hello comes back, nor anything else");
        sentence(&dialed.connection.closed().await)
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, attempt).await }).unwrap()
}
