//! What signing and verifying cost: `cargo run --release -p tidegate-keys --example cost`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it measures and prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tidegate_keys::{Keyring, SecretKey, Trusted};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::control::Stamp;
use tidegate_protocol::ids::{KeyId, SenderId};
use tidegate_protocol::proof::{Checker, Emission, Said, Ticket};
use tidegate_protocol::signature::{Role, Sign, Trust};

/// Median of runs, in microseconds for one of `n`.
fn median(n: u32, mut run: impl FnMut()) -> f64 {
    let mut took: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e6 / f64::from(n)
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took.get(4).copied().unwrap_or_default()
}

fn main() {
    let key = SecretKey::from_seed(KeyId::new("k").unwrap(), &[7; 32]);
    let (id, public) = (key.key().clone(), key.public());
    let trusted = Trusted { id, public, person: None, roles: vec![Role::AnyStage], tenants: None, until_ms: None };
    let ring = Arc::new(Keyring::new([trusted]).unwrap());
    let statement = [5; 140];
    let signature = key.sign(&statement);
    println!(
        "sign, us: {:.1}",
        median(500, || (0..500).for_each(|_| {
            black_box(key.sign(black_box(&statement)));
        }))
    );
    let verify = || (0..500).for_each(|_| ring.verify("k", black_box(&statement), &signature).unwrap());
    println!("verify, us: {:.1}", median(500, verify));

    let to = TopicName::new("tidegate.approved.default").unwrap().partition(1);
    let text = format!(r#"{{"v":1,"payload":"{}"}}"#, "x".repeat(1_400)).into_bytes();
    let sender = SenderId::new("kernel.jobs.raw/0").unwrap();
    println!("records of {} bytes, in groups of n: us a message to prove (sign included) and to check", text.len());
    for n in [1_u32, 10, 100, 1_000] {
        let stamp = |sequence| Stamp { epoch: 5, sequence, group: 9, index: sequence * 256 };
        let mut records = Vec::new();
        let prove = median(n, || {
            let mut emission = Emission::default();
            for sequence in 0..u64::from(n) {
                emission.push(&to, sequence, sequence * 256, &Ticket::content(&text));
            }
            let sealed = emission.seal(&key, sender.as_str(), 5, 9).unwrap();
            records = (0..u64::from(n))
                .map(|sequence| {
                    let proof = sealed.proof(usize::try_from(sequence).unwrap());
                    Ticket::new(proof, sender.clone(), to.clone(), stamp(sequence)).splice(&text).unwrap()
                })
                .collect();
        });
        let check = median(n, || {
            let mut checker = Checker::new(ring.clone());
            for (sequence, record) in (0..).zip(&records) {
                let said = Said { sender: sender.as_str(), stamp: stamp(sequence), to: &to };
                checker.message(said, None, Some(record), None, 1).unwrap();
            }
        });
        println!("{n:>5}: {prove:>6.1} {check:>6.1}  ({} bytes with its ticket)", records.first().map_or(0, Vec::len));
    }
}
