//! A cluster that for a moment names no broker at all: a client must find it again.
//!
//! The one place where something else stands in for a broker: a real one says this only by chance, when it is fenced just as it
//! is asked (`make faults SCENARIO=broker-stop` meets it now and then). This one answers two questions, which versions it speaks and who
//! is in the cluster.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate_kafka::{KafkaOptions, KafkaSpine};
use tidegate_spine::Spine;

/// Whether librdkafka loses its way is a race inside it, lost in some of these.
const ROUNDS: usize = 20;

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;

#[derive(Clone)]
struct Cluster {
    port: u16,
    names_nobody: Arc<AtomicBool>,
}

impl Cluster {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let cluster = Self { port: listener.local_addr().unwrap().port(), names_nobody: Arc::default() };
        let serving = cluster.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        cluster
    }

    /// Until the client closes, or asks what this does not answer.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let mut size = [0; 4];
            stream.read_exact(&mut size).ok()?;
            let mut request = vec![0; usize::try_from(i32::from_be_bytes(size)).ok()?];
            stream.read_exact(&mut request).ok()?;
            let number = |at: usize| Some(i16::from_be_bytes([*request.get(at)?, *request.get(at + 1)?]));
            let mut answer = request.get(4..8)?.to_vec();
            match number(0)? {
                API_VERSIONS => versions(&mut answer, number(2)?),
                METADATA => self.metadata(&mut answer),
                _ => return None,
            }
            stream.write_all(&u32::try_from(answer.len()).ok()?.to_be_bytes()).ok()?;
            stream.write_all(&answer).ok()?;
        }
    }

    /// Version 2 of the answer: brokers, cluster, controller, topics.
    fn metadata(&self, answer: &mut Vec<u8>) {
        let nobody = self.names_nobody.load(Ordering::SeqCst);
        answer.extend(i32::from(!nobody).to_be_bytes());
        if !nobody {
            answer.extend(1_i32.to_be_bytes());
            text(answer, "127.0.0.1");
            answer.extend(i32::from(self.port).to_be_bytes());
            answer.extend((-1_i16).to_be_bytes());
        }
        text(answer, "cluster");
        answer.extend((if nobody { -1_i32 } else { 1 }).to_be_bytes());
        answer.extend(1_i32.to_be_bytes());
        answer.extend(0_i16.to_be_bytes());
        text(answer, "orders");
        answer.push(0);
        answer.extend(0_i32.to_be_bytes());
    }
}

fn text(answer: &mut Vec<u8>, text: &str) {
    answer.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    answer.extend(text.as_bytes());
}

fn versions(answer: &mut Vec<u8>, asked: i16) {
    answer.extend((if asked == 0 { 0 } else { UNSUPPORTED_VERSION }).to_be_bytes());
    answer.extend(2_i32.to_be_bytes());
    for (key, most) in [(API_VERSIONS, 0_i16), (METADATA, 2)] {
        answer.extend(key.to_be_bytes());
        answer.extend(0_i16.to_be_bytes());
        answer.extend(most.to_be_bytes());
    }
}

#[test]
fn a_client_finds_a_cluster_again_that_named_no_broker() {
    let cluster = Cluster::start();
    let options = KafkaOptions {
        request_timeout: Duration::from_secs(5),
        ..KafkaOptions::new(vec![format!("127.0.0.1:{}", cluster.port)])
    };
    futures::executor::block_on(async {
        let spine = KafkaSpine::open(options).await.unwrap();
        for round in 0..ROUNDS {
            cluster.names_nobody.store(true, Ordering::SeqCst);
            let meanwhile = spine.list("orders").await;
            cluster.names_nobody.store(false, Ordering::SeqCst);
            let after = spine.list("orders").await;
            assert!(after.is_ok_and(|topics| topics.len() == 1), "lost in round {round}, after {meanwhile:?}");
        }
    });
}
