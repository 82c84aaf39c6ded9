//! What the fuzzers run (`tests/fuzz`), on the compiler that everyone has: every committed file, and some thousand changes of
//! them that are the same each time. It finds what broke since the fuzzers last ran, not what is new.

use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod targets;

use targets::TARGETS;

/// Changed files for each target.
const CHANGES: usize = 2_000;

/// Marsaglia's xorshift: the same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end.max(1)
    }

    /// One to four changes such as fuzzers make.
    fn change(&mut self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        const ODD: &[u8] = b"\0\n\r\t \"%&',-./0:;=[\\]_{}\x7f\x80\xc3\xed\xff";
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = ODD[self.below(ODD.len())],
                2 => bytes.insert(at, ODD[self.below(ODD.len())]),
                3 => drop(bytes.drain(at..(at + self.below(8)).min(bytes.len()))),
                4 => bytes.extend_from_within(at..(at + self.below(40)).min(bytes.len())),
                _ => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len());
                    let part = &other[from..(from + self.below(40)).min(other.len())];
                    bytes.splice(at..at, part.iter().copied());
                }
            }
        }
    }
}

fn corpus_of(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn no_target_breaks_a_promise() {
    std::thread::scope(|scope| {
        for (name, run) in TARGETS {
            scope.spawn(move || {
                let corpus = corpus_of(name);
                assert!(!corpus.is_empty(), "{name} has no corpus");
                let mut numbers = Numbers(0x5eed_0f51_de10_c4e5);
                corpus.iter().for_each(|bytes| run(bytes));
                for _ in 0..CHANGES {
                    let mut bytes = corpus[numbers.below(corpus.len())].clone();
                    numbers.change(&mut bytes, &corpus);
                    let broken = std::panic::catch_unwind(|| run(&bytes)).is_err();
                    assert!(!broken, "{name}: {:?}", String::from_utf8_lossy(&bytes));
                }
            });
        }
    });
}

#[test]
fn every_target_has_a_program() {
    let manifest = include_str!("../fuzz/Cargo.toml");
    let programs = manifest.matches("[[bin]]").count();
    assert_eq!(programs, TARGETS.len());
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fuzz/fuzz_targets/{name}.rs"));
        assert!(std::fs::read_to_string(program).unwrap().contains(&format!("::{name}::run")), "{name}");
    }
}
