//! Expressions, patterns and bundles made to exhaust: each is refused at once or runs within its bound.
//!
//! `cargo test -p tidegate-policy bombs`. Every attempt runs on a stack of 512 KiB and may hold so many bytes at once.

#![expect(unsafe_code, reason = "counting allocations needs an allocator; it only counts and passes on")]
#![expect(clippy::panic, reason = "a test says what it met")]
#![expect(clippy::disallowed_methods, reason = "a stopwatch and a small stack are what this test is")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_policy::when::{Facts, Fields, Kind, Param, Tags, Truth, Types, compile};
use tidegate_policy::{Subject, load};

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

fn bytes(layout: Layout) -> isize {
    isize::try_from(layout.size()).unwrap_or(isize::MAX)
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(bytes(layout));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-bytes(layout));
        // SAFETY: the caller keeps the contract of `dealloc`, and `place` came from `System`.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Time for one attempt: many times what [`tidegate_policy::when::MAX_COST`] allows, for a machine that does much else.
const TIME: Duration = Duration::from_millis(500);

/// Bytes held at once beside what was there before.
const BYTES: isize = 48 << 20;

/// Attempts that may take too long before one must not: without [`ran`] the clock is on the wall.
const AGAIN: usize = 4;

/// How long this thread has had a processor, where the system (Linux) tells it; a tick of the scheduler behind at most.
fn ran() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Runs on a small stack; panics where a bound is broken.
fn bounded<R: Send>(name: &str, attempt: impl Fn() -> R + Sync) -> R {
    for _ in 0..AGAIN {
        let (result, time) = once(name, &attempt);
        if time < TIME {
            return result;
        }
    }
    let (result, time) = once(name, &attempt);
    assert!(time < TIME, "{name}: {time:?}");
    result
}

fn once<R: Send>(name: &str, attempt: &(impl Fn() -> R + Sync)) -> (R, Duration) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(512 << 10);
        let run = move || {
            let before = HELD.get();
            PEAK.set(before);
            let (start, ran_before) = (Instant::now(), ran());
            let result = attempt();
            // Where the system counts nothing it says 0, always.
            let ran = ran().filter(|ran| !ran.is_zero());
            let time = ran.zip(ran_before).map_or_else(|| start.elapsed(), |(now, then)| now - then);
            (result, time, PEAK.get() - before)
        };
        let thread = thread.spawn_scoped(scope, run).unwrap_or_else(|error| panic!("{name}: no thread: {error}"));
        let (result, time, bytes) = thread.join().unwrap_or_else(|_| panic!("{name}: it panics"));
        assert!(bytes < BYTES, "{name}: {bytes} bytes");
        (result, time)
    })
}

fn types() -> Types {
    let mut item = Fields::new();
    item.declare("sku", Kind::TEXT);
    item.declare("qty", Kind::Int);
    item.declare("tags", Kind::list(Kind::TEXT));
    let mut fields = Fields::new();
    fields.declare("note", Kind::TEXT);
    fields.declare("short", Kind::Text { max: 200 });
    fields.declare("amount", Kind::Number);
    fields.declare("items", Kind::list(Kind::Record(Arc::new(item))));
    fields.declare("codes", Kind::list(Kind::Int));
    fields.declare("few", Kind::List { of: Kind::Int.into(), max: 60 });
    fields.declare("words", Kind::list(Kind::TEXT));
    let mut types = Types { fields, ..Types::default() };
    types.params.insert("many".into(), Param::Texts((0..50_000).map(|at| format!("name-{at}").into()).collect()));
    types
}

/// Texts that must not load.
fn refused() -> Vec<(&'static str, String)> {
    let range = "[0,1,2,3,4,5,6,7,8,9]";
    let product = |depth: usize| {
        let open: String = (0..depth).map(|at| format!("{range}.all(x{at}, ")).collect();
        format!("{open}true{}", ")".repeat(depth))
    };
    vec![
        ("a long text", format!("job.amount == {}", "1".repeat(5_000))),
        ("many brackets", format!("{}true{}", "(".repeat(2_000), ")".repeat(2_000))),
        ("many open brackets", "(".repeat(4_000)),
        ("many lists", format!("{}{}", "[".repeat(500), "]".repeat(500))),
        ("many nots", format!("{}true", "!".repeat(4_000))),
        ("many minuses", format!("{}1 > 0", "- ".repeat(1_000))),
        ("many sums", format!("1{} > 0", "+1".repeat(1_000))),
        ("many members", format!("job{}", ".a".repeat(2_000))),
        ("many calls", format!("job.note{}", ".lowerAscii()".repeat(300))),
        ("many indexes", format!("job.codes{}", "[0]".repeat(1_000))),
        ("many branches", format!("{}true", "true?true:".repeat(400))),
        ("many parts", format!("job.amount > 1{}", " || job.amount > 1".repeat(220))),
        ("an open quote", format!("'{}", "a".repeat(4_000))),
        ("escapes", format!("'{}' == ''", "\\u".repeat(2_000))),
        ("quotes", "'".repeat(4_001)),
        ("loops within loops", product(8)),
        ("a loop over a loop", "job.codes.all(a, job.codes.all(b, a > b))".to_owned()),
        ("three loops", "job.few.all(a, job.few.all(b, job.few.all(c, a > b && b > c)))".to_owned()),
        ("maps of maps", "job.codes.map(a, job.codes.map(b, a + b).size()).size() > 0".to_owned()),
        // 193 bytes of this kind took 1.8 s and 107 MB in the crate alone.
        (
            "lists that grow",
            format!(
                "{range}.map(a, {range}.map(b, {range}.map(c, {range}.filter(d, {range}.exists(e, e == d)).size()).size()).size()).size() == 10"
            ),
        ),
        ("texts that grow", "job.words.map(w, job.note + job.note + job.note + job.note + w).size() > 0".to_owned()),
        ("a large pattern", format!("job.short.matches('{}')", "a".repeat(600))),
        ("a counted pattern", "job.short.matches('((a{1,100}){1,100}){1,100}')".to_owned()),
        ("a unicode pattern", "job.short.matches('\\\\pL{1000}')".to_owned()),
        ("a nested pattern", format!("job.short.matches('{}{}')", "(".repeat(200), ")".repeat(200))),
        ("an exploding pattern on a long text", "job.note.matches('[ab]*a[ab]{200}c')".to_owned()),
        ("a scan of many", "job.words.exists(w, w.lowerAscii() in params.many)".to_owned()),
    ]
}

/// Texts that load, with the payload that costs them most.
fn running() -> Vec<(&'static str, &'static str, String)> {
    let ab: String =
        (0..65_536_u32).map(|at| if at.wrapping_mul(2_654_435_761) >> 31 == 0 { 'a' } else { 'b' }).collect();
    let keys = |count: usize| (0..count).map(|at| format!("\"k{at}\":0")).collect::<Vec<_>>().join(",");
    let items = |count: usize| {
        let item = format!("{{{},\"qty\":1,\"sku\":\"x\"}}", keys(200));
        format!("{{\"items\":[{}]}}", vec![item; count].join(","))
    };
    vec![
        ("all keys of all elements", "job.items.all(i, i.qty == 1 && i.sku == 'x')", items(1_000)),
        ("too many elements", "job.items.all(i, i.qty == 1)", items(1_100)),
        (
            "a loop in a loop",
            "job.few.all(a, job.few.exists(b, b >= a))",
            format!("{{\"few\":[{}]}}", vec!["1"; 60].join(",")),
        ),
        (
            "a long text searched",
            "job.note.contains('aaaaaaaaaaaaaaaaaaaaaaaaaab')",
            format!("{{\"note\":\"{}\"}}", "a".repeat(65_536)),
        ),
        (
            "a long text folded",
            "job.note.lowerAscii().contains('aaaaaaaaaaaaaaaaaaaab')",
            format!("{{\"note\":\"{}\"}}", "A".repeat(65_536)),
        ),
        (
            "an exploding pattern on a short text",
            "job.short.matches('[ab]*a[ab]{40}c')",
            format!("{{\"short\":\"{}\"}}", &ab[..200]),
        ),
        (
            "a list built",
            "job.codes.filter(c, c > 0).size() == 1000",
            format!("{{\"codes\":[{}]}}", vec!["1"; 1_000].join(",")),
        ),
        ("names listed by the thousand", "job.note.lowerAscii() in params.many", "{\"note\":\"NAME\"}".to_owned()),
        (
            "an object of a million keys",
            "job.amount > 1 || has(job.note)",
            format!("{{\"amount\":2,{}}}", keys(300_000)),
        ),
    ]
}

#[test]
fn bombs_among_expressions_are_refused_within_a_bound() {
    let types = types();
    for (name, text) in refused() {
        let accepted = bounded(name, || compile(&text, &types).is_ok());
        assert!(!accepted, "{name} is accepted: {text}");
    }
}

#[test]
fn bombs_that_load_run_within_a_bound() {
    let types = types();
    for (name, text, payload) in running() {
        let condition = bounded(name, || compile(text, &types)).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let mut bytes = payload.into_bytes();
        let tape = simd_json::to_tape(&mut bytes).expect("JSON");
        let result = bounded(name, || {
            let subject = Subject::new("acme", "job.x", "x");
            let facts = Facts { subject: &subject, payload: Some(&tape.0), tags: Tags::default(), at_ms: 0 };
            condition.holds(&facts)
        });
        let error = matches!(name, "too many elements" | "an object of a million keys");
        assert_eq!(result == Truth::Error, error, "{name}: {result:?}");
    }
}

#[test]
fn bombs_among_bundles_are_refused_within_a_bound() {
    let mut laughs = String::from("a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n");
    for at in 1..12 {
        let before = vec![format!("*a{}", at - 1); 10].join(", ");
        laughs.push_str(&format!("a{at}: &a{at} [{before}]\n"));
    }
    let bundles = [
        ("aliases of aliases", format!("id: b\nrevision: 1\n{laughs}rules: *a11\n")),
        ("an alias of itself", "id: b\nrevision: 1\nrules: &r [*r]\n".to_owned()),
        ("deep lists", format!("id: b\nrevision: 1\nrules: {}{}\n", "[".repeat(20_000), "]".repeat(20_000))),
        ("deep maps", format!("id: b\nrevision: 1\nrules: {}{}\n", "{a: ".repeat(20_000), "}".repeat(20_000))),
        ("deep indents", (0..2_000).map(|at| format!("{}a:\n", " ".repeat(at))).collect::<String>()),
        ("merge keys", format!("{laughs}id: b\nrevision: 1\n<<: *a11\nrules: []\n")),
    ];
    for (name, text) in bundles {
        let accepted = bounded(name, || load([("b.yaml", text.as_str())], None).is_ok());
        assert!(!accepted, "{name} is accepted");
    }
}
