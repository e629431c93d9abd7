//! What every store does, on a folder and on a real redis-server (Debian's package; `deploy/ci/setup` installs it).
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tidegate_blobs::{Folder, NotFetched, NotKept, Redis, Store, check_in, fetch};
use tidegate_protocol::ids::TenantId;
use tidegate_protocol::payload::{PayloadHash, PayloadRef};

const PATIENCE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(86_400);

/// A redis-server on loopback, which ends with it.
struct Server {
    port: u16,
    folder: tempfile::TempDir,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let process = redis(port, &folder);
        Self { port, folder, process }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.process = redis(self.port, &self.folder);
    }
}

fn redis(port: u16, folder: &tempfile::TempDir) -> Child {
    let port = port.to_string();
    let arguments = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    let process = Command::new("redis-server")
        .args(arguments)
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is missing; deploy/ci/setup installs it");
    let begun = Instant::now();
    while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(begun.elapsed() < PATIENCE, "redis-server does not listen");
        std::thread::yield_now();
    }
    process
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

async fn keeps_its_promises(store: &dyn Store) {
    let (acme, globex) = (tenant("acme"), tenant("glo/../bex"));
    let payload = Bytes::from_static(b"{\"n\":  1.50}");
    let reference = check_in(store, &acme, payload.clone(), false).await.unwrap();
    assert_eq!(reference.bytes, 12);
    assert_eq!(fetch(store, &acme, &reference).await.unwrap(), payload);
    assert_eq!(check_in(store, &acme, payload.clone(), false).await.unwrap(), reference, "the same once more");
    assert_eq!(fetch(store, &acme, &reference).await.unwrap(), payload);

    // Whoever knows a hash has nothing of another tenant's.
    let gone = NotFetched::Gone { payload: reference.sha256 };
    assert_eq!(fetch(store, &globex, &reference).await.unwrap_err(), gone);
    let theirs = check_in(store, &globex, Bytes::from_static(b"2"), true).await.unwrap();
    assert!(theirs.base64 && fetch(store, &globex, &theirs).await.is_ok());

    let never = PayloadRef { sha256: PayloadHash([7; 32]), ..reference };
    assert!(matches!(fetch(store, &acme, &never).await, Err(NotFetched::Gone { .. })));
    for bytes in [0, 11, 13, 900] {
        let lying = PayloadRef { bytes, ..reference };
        assert!(matches!(fetch(store, &acme, &lying).await, Err(NotFetched::Altered { .. })), "{bytes}");
    }
    let huge = PayloadRef { bytes: u64::MAX, ..reference };
    assert!(matches!(fetch(store, &acme, &huge).await, Err(NotFetched::TooLarge { limit: 1_000, .. })));
    let large = Bytes::from(vec![b'1'; 1_001]);
    assert_eq!(check_in(store, &acme, large, false).await, Err(NotKept::TooLarge { bytes: 1_001, limit: 1_000 }));
    assert!(check_in(store, &acme, Bytes::from(vec![b'1'; 1_000]), false).await.is_ok());
}

#[tokio::test]
async fn a_folder_keeps_its_promises_and_is_swept() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path().join("made/here"), 1_000).unwrap();
    keeps_its_promises(&folder).await;

    let acme = tenant("acme");
    let reference = check_in(&folder, &acme, Bytes::from_static(b"3"), false).await.unwrap();
    let (now, all) = (SystemTime::now(), 4);
    assert_eq!(folder.sweep(DAY, now).unwrap(), 0);
    assert!(fetch(&folder, &acme, &reference).await.is_ok());
    assert_eq!(folder.sweep(DAY, now + DAY + DAY).unwrap(), all);
    assert!(matches!(fetch(&folder, &acme, &reference).await, Err(NotFetched::Gone { .. })));

    // Somebody alters a file.
    let reference = check_in(&folder, &acme, Bytes::from_static(b"3"), false).await.unwrap();
    let of_tenant = std::fs::read_dir(place.path().join("made/here")).unwrap().map(|entry| entry.unwrap().path());
    let file = of_tenant.map(|folder| folder.join(reference.sha256.to_string())).find(|file| file.exists()).unwrap();
    std::fs::write(file, "4").unwrap();
    assert!(matches!(fetch(&folder, &acme, &reference).await, Err(NotFetched::Altered { .. })));
    assert!(Folder::open("/dev/null/x", 1).is_err());
}

#[tokio::test]
async fn redis_keeps_its_promises_and_drops_what_is_over() {
    let server = Server::start();
    let redis = Redis::new(&server.url(), "t.", DAY, 1_000).unwrap();
    keeps_its_promises(&redis).await;

    let brief = Redis::new(&server.url(), "brief.", Duration::from_millis(50), 1_000).unwrap();
    let (acme, begun) = (tenant("acme"), Instant::now());
    let reference = check_in(&brief, &acme, Bytes::from_static(b"3"), false).await.unwrap();
    while fetch(&brief, &acme, &reference).await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it is still there");
    }
    assert!(matches!(fetch(&brief, &acme, &reference).await, Err(NotFetched::Gone { .. })));
}

#[tokio::test]
async fn a_redis_that_is_away_is_told_and_works_again_when_it_is_back() {
    let mut server = Server::start();
    let redis = Redis::new(&server.url(), "t.", DAY, 1_000).unwrap();
    let (acme, payload) = (tenant("acme"), Bytes::from_static(b"3"));
    let reference = check_in(&redis, &acme, payload.clone(), false).await.unwrap();
    server.stop();
    assert!(matches!(check_in(&redis, &acme, payload.clone(), false).await, Err(NotKept::Store(_))));
    let away = fetch(&redis, &acme, &reference).await.unwrap_err();
    assert!(matches!(&away, NotFetched::Store(error) if !error.to_string().contains("redis://")), "{away}");
    server.start_again();
    let begun = Instant::now();
    while check_in(&redis, &acme, payload.clone(), false).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "it does not work again");
    }
    assert_eq!(fetch(&redis, &acme, &reference).await.unwrap(), payload);
}

#[test]
fn an_address_that_is_none_is_refused_without_being_shown() {
    let error = Redis::new("http://:secret@h", "t.", DAY, 1).unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
    let redis = Redis::new("redis://:secret@127.0.0.1:1", "t.", DAY, 1).unwrap();
    assert!(!format!("{redis:?}").contains("secret"));
}
