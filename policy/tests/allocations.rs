//! The hot path allocates nothing but what it hands out.

#![expect(unsafe_code, reason = "counting allocations needs an allocator; it only counts and passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use tidegate_policy::{Scratch, Snapshot, Subject, load};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // Other threads of the test runner must not disturb, and a thread may allocate while it ends.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and `place` came from `System`.
        unsafe { System.dealloc(place, layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`, and `place` came from `System`.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const POLICY: &str = "
id: b
revision: 1
derivers:
  - { tag: large, topics: [job.pay.>], field: /amount, test: gt, value: 100 }
  - { tag: stranger, topics: [job.pay.>], field: /to/*, test: address_not_in, value: ['@x.example'] }
rules:
  - { id: pay, match: { tenants: [acme], topics: [job.pay.>], requires: [a, b], labels: { env: prod, zone: eu } }, decision: allow }
  - { id: large, match: { risk_tags: [large, stranger] }, decision: deny }
";

/// Allocations of a thousand evaluations, after a first one that lets the scratch grow.
fn allocations(snapshot: &Snapshot, subject: &Subject<'_>) -> u64 {
    let mut scratch = Scratch::new();
    snapshot.evaluate(subject, &mut scratch);
    let before = COUNT.get();
    for _ in 0..1000 {
        std::hint::black_box(snapshot.evaluate(subject, &mut scratch));
    }
    COUNT.get() - before
}

#[test]
fn a_verdict_costs_an_allocation_for_each_list_that_is_not_empty() {
    let snapshot = load([("b.yaml", POLICY)], None).unwrap_or_else(|refused| panic!("{refused}"));
    let mut subject = Subject::new("acme", "job.pay.wire", "pay");
    subject.requires = &["a", "b"];
    subject.labels = &[("env", "prod"), ("zone", "eu")];

    subject.topic = "job.read";
    assert_eq!(allocations(&snapshot, &subject), 0, "the default decides");
    subject.topic = "job.pay.wire";
    subject.payload = br#"{"to": ["a@x.example", "b@x.example"], "amount": 5, "note": "\u0041 \"quoted\""}"#;
    assert_eq!(allocations(&snapshot, &subject), 1000, "one list: the winning rule");
    subject.payload = br#"{"to": ["a@x.example", "b@y.example"], "amount": 500}"#;
    assert_eq!(allocations(&snapshot, &subject), 2000, "two lists: the winning rule, the tags");
    subject.payload = b"not json";
    assert_eq!(allocations(&snapshot, &subject), 2000, "two lists: the winning rule, the uncertain tags");
}

/// Compiled shapes, each with the result it has on the payload below.
const CONDITIONS: &[&str] = &[
    "job.amount > 1000 && job.currency in ['USD', 'EUR']",
    "has(job.to.iban) && job.to.iban.startsWith('DE')",
    "job.to.iban.lowerAscii() == 'de12'",
    "job.items.all(i, i.qty > 0 && i.sku.matches('^[A-Z]-[0-9]+$'))",
    "job.items.exists(i, i.price * i.qty > 10.0)",
    "job.due < now && now - job.due < duration('1h')",
    "job.labels.env == 'prod' && 'a' in job.requires",
    "size(job.items) == 2 && job.note.contains('quoted')",
    "job.amount > 1e6 || !(job.items.exists_one(i, i.qty == 9))",
];

#[test]
fn a_compiled_condition_allocates_nothing() {
    use tidegate_policy::when::{Facts, Fields, Kind, Tags, Truth, Types, compile};
    let mut to = Fields::new();
    to.declare("iban", Kind::TEXT);
    let mut item = Fields::new();
    item.declare("sku", Kind::Text { max: 20 });
    item.declare("qty", Kind::Int);
    item.declare("price", Kind::Number);
    let mut fields = Fields::new();
    fields.declare("amount", Kind::Number);
    fields.declare("currency", Kind::TEXT);
    fields.declare("note", Kind::TEXT);
    fields.declare("due", Kind::Time);
    fields.declare("to", Kind::Record(to.into()));
    fields.declare("items", Kind::list(Kind::Record(item.into())));
    let types = Types { fields, ..Types::default() };
    let mut payload = br#"{"amount": 1500.5, "currency": "EUR", "note": "\u0041 \"quoted\"", "due": "1970-01-01T00:00:01Z",
        "to": {"iban": "DE12"}, "items": [{"sku": "A-1", "qty": 2, "price": 10}, {"sku": "B-2", "qty": 5, "price": 0.5}]}"#
        .to_vec();
    let tape = simd_json::to_tape(&mut payload).expect("JSON");
    let mut subject = Subject::new("acme", "job.pay.wire", "pay");
    subject.requires = &["a", "b"];
    subject.labels = &[("env", "prod")];
    let facts = Facts { subject: &subject, payload: Some(&tape.0), tags: Tags::default(), at_ms: 2_000 };
    for text in CONDITIONS {
        let condition = compile(text, &types).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        // The first search of a pattern makes what later ones share.
        assert_eq!(condition.holds(&facts), Truth::True, "{text}");
        let before = COUNT.get();
        for _ in 0..100 {
            std::hint::black_box(condition.holds(&facts));
        }
        assert_eq!(COUNT.get() - before, 0, "{text}");
    }
}

#[test]
fn a_snapshot_is_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Snapshot>();
}
