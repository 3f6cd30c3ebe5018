//! What is said until a session begins, with an agent by hand at the other side, and with a real one.

#![allow(clippy::unwrap_used)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use quinn::{RecvStream, SendStream};
use sync_proto::{
    TreeHash,
    codec::encode_frame,
    message::{Bounded, Problems, Sentence},
};
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::{
    link::{Listener, Role, Secret, hello_respond},
    session::{Agent, AgentOptions},
};

const PATIENCE: Duration = Duration::from_secs(30);

type Answered = Result<(Connected, FrameReader), ConnectError>;

/// A controller that opens `root`, and what tells it that alpha is scanned.
struct Opening {
    is_scanned: watch::Sender<bool>,
    answered: JoinHandle<Answered>,
}

impl Opening {
    fn start(secret: &Secret, address: SocketAddr, root: &Path, is_scanned: bool) -> Self {
        Self::start_as(1, secret, address, root, is_scanned)
    }

    fn start_as(controller: u8, secret: &Secret, address: SocketAddr, root: &Path, is_scanned: bool) -> Self {
        let target = Target {
            host: address.ip().to_string(),
            port: address.port(),
            root: root.to_owned(),
            credentials: Credentials::from_secret(secret, Role::Controller).unwrap(),
            controller: ReplicaId([controller; 16]),
            ignore: IgnoreSettings::default(),
            push: false,
        };
        let is_scanned = watch::Sender::new(is_scanned);
        let watched = is_scanned.subscribe();
        let answered = tokio::spawn(async move {
            let dialed = target.dial(None).await?;
            target.open(dialed, watched).await
        });
        Self { is_scanned, answered }
    }

    async fn answer(self) -> Answered {
        timeout(PATIENCE, self.answered).await.unwrap().unwrap()
    }

    #[track_caller]
    fn refused(answered: Answered, words: &str) {
        let error = answered.map(|(connected, _)| connected.opened).unwrap_err().to_string();
        assert!(error.contains(words), "not `{words}`, but: {error}");
    }
}

/// An agent that says what it is told to, with a session that somebody wants to open.
struct Played {
    /// Lives as long as the agent.
    _listener: Listener,
    send: SendStream,
    recv: FrameReader,
}

impl Played {
    /// Listens, and gives what a controller then opens.
    async fn with(is_scanned: bool) -> (Self, Opening) {
        let secret = Secret::generate().unwrap();
        let credentials = Credentials::from_secret(&secret, Role::Agent).unwrap();
        let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &credentials).unwrap();
        let opening = Opening::start(&secret, listener.local_addr(), Path::new("/played"), is_scanned);
        let connection = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap().unwrap();
        let (mut send, mut recv): (SendStream, RecvStream) = connection.accept_bi().await.unwrap();
        hello_respond(&connection, &mut send, &mut recv, "played 0.0.0").await.unwrap();
        let mut played = Self { _listener: listener, send, recv: FrameReader::new(recv) };
        assert!(matches!(played.hear().await, ToAgent::Open(_)));
        (played, opening)
    }

    async fn hear(&mut self) -> ToAgent {
        timeout(PATIENCE, self.recv.read(CONTROL_FRAME_BYTES_MAX)).await.unwrap().unwrap().unwrap()
    }

    async fn say(&mut self, message: &ToController) {
        let mut bytes = Vec::new();
        encode_frame(message, &mut bytes, CONTROL_FRAME_BYTES_MAX).unwrap();
        self.send.write_all(&bytes).await.unwrap();
    }
}

fn opened() -> ToController {
    ToController::Opened(Opened {
        replica: ReplicaId([2; 16]),
        tree: TreeHash([0; 32]),
        entries: 7,
        complete: true,
        partials: Bounded::default(),
        problems: Problems::new([]),
    })
}

/// A reconnect waits for nothing that it did not wait for before.
#[tokio::test]
async fn where_alpha_is_scanned_the_session_begins_before_the_agent_has_said_anything() {
    let (mut played, opening) = Played::with(true).await;
    assert_eq!(played.hear().await, ToAgent::Begin);
    played.say(&opened()).await;
    let (connected, _) = opening.answer().await.unwrap();
    assert_eq!(connected.opened.entries, 7);
}

#[tokio::test]
async fn an_agent_that_is_asked_for_a_sign_of_life_gives_one_before_the_session_begins() {
    let (mut played, opening) = Played::with(false).await;
    for _ in 0..3 {
        played.say(&ToController::Pong(0)).await;
    }
    opening.is_scanned.send_replace(true);
    assert_eq!(played.hear().await, ToAgent::Begin);
    played.say(&ToController::Pong(0)).await;
    played.say(&opened()).await;
    opening.answer().await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_heard_before_alpha_is_scanned() {
    let (mut played, opening) = Played::with(false).await;
    played.say(&ToController::Refused(Sentence::new("in use by another"))).await;
    Opening::refused(opening.answer().await, "in use by another");
}

#[tokio::test]
async fn an_agent_that_opens_before_it_was_told_to_begin_is_left() {
    let (mut played, opening) = Played::with(false).await;
    played.say(&opened()).await;
    Opening::refused(opening.answer().await, "before it was told to begin");
}

async fn agent(secret: &Secret, root: &Path) -> Agent {
    let options = AgentOptions {
        roots: vec![root.to_owned()],
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        credentials: Credentials::from_secret(secret, Role::Agent).unwrap(),
        durable: false,
    };
    Agent::start(options).await.unwrap()
}

/// Waits until the agent has scanned its root: then it keeps its index.
async fn scanned(root: &Path) {
    let index = root.join(".synctl/index");
    let there = async {
        while !index.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, there).await.unwrap();
}

/// Longer than a live peer is silent, with alpha not scanned yet; then it begins with all that has come about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_side_takes_the_other_for_dead_while_alpha_is_scanned() {
    const FILES: u64 = 2000;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("before"), "before").unwrap();
    let secret = Secret::generate().unwrap();
    let agent = agent(&secret, dir.path()).await;
    let opening = Opening::start(&secret, agent.local_addr(), dir.path(), false);
    scanned(dir.path()).await;
    for number in 0..FILES {
        std::fs::write(dir.path().join(number.to_string()), "later").unwrap();
    }
    tokio::time::sleep(SILENCE_MAX + Duration::from_secs(2)).await;
    assert!(!opening.answered.is_finished(), "{:?}", opening.answer().await);
    opening.is_scanned.send_replace(true);
    let (connected, _) = opening.answer().await.unwrap();
    assert_eq!(connected.opened.entries, 1 + FILES);
    drop(connected);
    agent.stop().await;
}

/// Whoever asks for the root of a session that has not begun is told at once that it is in use; the session goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_has_not_begun_keeps_its_root() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "file").unwrap();
    let secret = Secret::generate().unwrap();
    let agent = agent(&secret, dir.path()).await;
    let opening = Opening::start(&secret, agent.local_addr(), dir.path(), false);
    scanned(dir.path()).await;
    for _ in 0..2 {
        let other = Opening::start_as(9, &secret, agent.local_addr(), dir.path(), true);
        Opening::refused(other.answer().await, "in use");
    }
    opening.is_scanned.send_replace(true);
    assert_eq!(opening.answer().await.unwrap().0.opened.entries, 1);
    agent.stop().await;
}
