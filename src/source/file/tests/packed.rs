//! Compressed files, and files that are delivered whole.

use super::*;
use crate::model::event::DefectCode;

fn gzip(text: &str) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| format!("record number {number} with something behind it\n")).collect()
}

fn texts(numbers: std::ops::Range<u32>) -> Vec<String> {
    lines(numbers).lines().map(str::to_owned).collect()
}

fn bench(pattern: &str, whole: bool) -> Bench {
    let scratch = std::env::temp_dir();
    Bench::with(pattern, Framing::Line, |options| {
        (options.scratch, options.whole) = (Some(scratch), whole);
    })
}

/// F16: rotated and compressed while the daemon runs.
#[test]
fn a_rotated_file_that_is_compressed_is_not_read_again() {
    let mut bench = bench("a.log*", false);
    bench.write("a.log", lines(0..100));
    assert_eq!(bench.follow().len(), 100);
    bench.rename("a.log", "a.log.1");
    bench.append("a.log.1", lines(100..110));
    bench.write("a.log", lines(200..210));
    assert_eq!(bench.follow().len(), 20);
    bench.write("a.log.1.gz", gzip(&lines(0..110)));
    // Beside its original it is left alone, for any time.
    for _ in 0..4 {
        bench.pass(Duration::from_secs(30));
        assert!(bench.follow().is_empty());
    }
    fs::remove_file(bench.path("a.log.1")).unwrap();
    for _ in 0..10 {
        bench.pass(Duration::from_secs(30));
        assert!(bench.follow().is_empty());
    }
    assert!(bench.whats().contains(&"continued_in_copy"), "{:?}", bench.whats());
    bench.restart();
    assert!(bench.follow().is_empty());
    assert_eq!(bench.records.len(), 120);
}

/// F16: the same while the daemon is down, in the middle of the file.
#[test]
fn reading_goes_on_inside_a_file_that_was_compressed_meanwhile() {
    for extension in ["gz", "zst"] {
        let mut bench = bench("a.log*", false);
        bench.write("a.log", lines(0..50));
        assert_eq!(bench.follow().len(), 50);
        let all = lines(0..80);
        let packed =
            if extension == "gz" { gzip(&all) } else { zstd::bulk::compress(all.as_bytes(), 3).unwrap() };
        bench.write(&format!("a.log.1.{extension}"), packed);
        bench.write("a.log.new", lines(80..90));
        bench.rename("a.log.new", "a.log");
        bench.restart();
        let mut read = Vec::new();
        for _ in 0..4 {
            read.extend(bench.follow());
            bench.pass(Duration::from_secs(3));
        }
        read.sort();
        let mut expected = texts(50..90);
        expected.sort();
        assert_eq!(read, expected, "{extension}");
        bench.restart();
        assert!(bench.follow().is_empty());
    }
}

#[test]
fn what_its_writer_adds_to_a_file_that_is_gone_is_read_and_its_packed_copy_is_not() {
    let mut bench = bench("a.log*", false);
    bench.write("a.log", lines(0..40));
    assert_eq!(bench.follow().len(), 40);
    let mut writer = fs::OpenOptions::new().append(true).open(bench.path("a.log")).unwrap();
    bench.write("a.log.1.gz", gzip(&lines(0..40)));
    fs::remove_file(bench.path("a.log")).unwrap();
    assert!(bench.follow().is_empty());
    writer.write_all(lines(40..42).as_bytes()).unwrap();
    drop(writer);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.follow(), texts(40..42));
    for _ in 0..10 {
        bench.pass(Duration::from_secs(30));
        assert!(bench.follow().is_empty());
    }
    bench.restart();
    assert!(bench.follow().is_empty());
}

/// F17: still being written.
#[test]
fn a_packed_file_that_is_still_written_waits_for_its_end() {
    let mut bench = bench("in/*.gz", false);
    fs::create_dir(bench.path("in")).unwrap();
    let packed = gzip(&lines(0..5000));
    bench.write("in/x.gz", &packed[..packed.len() / 2]);
    for _ in 0..3 {
        assert!(bench.follow().is_empty());
        bench.pass(Duration::from_secs(3));
    }
    assert!(!bench.whats().contains(&"unreadable"));
    bench.pass(Duration::from_secs(70));
    assert!(bench.follow().is_empty());
    assert!(bench.follow().is_empty());
    assert!(bench.whats().contains(&"unreadable"), "quiet for long: {:?}", bench.whats());
    bench.write("in/x.gz", &packed);
    for _ in 0..3 {
        bench.follow();
        bench.pass(Duration::from_secs(3));
    }
    assert_eq!(bench.records.len(), 5000);
    assert!(bench.whats().contains(&"readable"));
}

#[test]
fn a_bomb_is_not_unpacked() {
    let mut bench = bench("*.gz", false);
    bench.write("x.gz", gzip(&"0".repeat(3_000_000)));
    bench.write("y.gz", gzip(&lines(0..3)));
    bench.drain(Mode::Once);
    assert_eq!(bench.records, texts(0..3));
    assert!(bench.whats().contains(&"unreadable"));
}

#[test]
fn deliveries_are_read_once_by_their_content() {
    let mut bench = bench("drop/*", true);
    fs::create_dir(bench.path("drop")).unwrap();
    let text = lines(0..30) + "no end";
    bench.write("drop/one.csv", &text);
    assert!(bench.follow().is_empty(), "it may still be written");
    bench.append("drop/one.csv", " yet");
    bench.pass(Duration::from_secs(4));
    assert!(bench.follow().is_empty());
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.follow().len(), 31);
    assert_eq!(bench.last_record().1.defects(), [DefectCode::Unterminated]);
    // The same under another name, packed and not, before and after a restart, and after the first was removed.
    bench.write("drop/two.csv", text.clone() + " yet");
    bench.write("drop/three.csv.gz", gzip(&(text.clone() + " yet")));
    for _ in 0..2 {
        bench.follow();
        bench.pass(Duration::from_secs(6));
    }
    assert!(bench.follow().is_empty());
    assert_eq!(bench.whats().iter().filter(|what| **what == "duplicate").count(), 2);
    fs::remove_file(bench.path("drop/one.csv")).unwrap();
    bench.follow();
    bench.restart();
    bench.write("drop/late.csv", text.clone() + " yet");
    bench.write("drop/other.csv", text);
    for _ in 0..3 {
        bench.follow();
        bench.pass(Duration::from_secs(6));
    }
    assert_eq!(bench.records.len(), 62, "only the other content was read");
}

#[test]
fn random_rotations_compressions_and_deaths() {
    for seed in 0..60u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut bench = bench("a.log*", false);
        let (mut next, mut rotated) = (0, 0);
        let mut content: BTreeMap<String, String> = BTreeMap::new();
        for _ in 0..60 {
            match random(8) {
                0..=3 => {
                    let more = 1 + random(30) as u32;
                    bench.append("a.log", lines(next..next + more));
                    content.entry("a.log".into()).or_default().push_str(&lines(next..next + more));
                    next += more;
                }
                4 if content.contains_key("a.log") => {
                    rotated += 1;
                    let name = format!("a.log.{rotated}");
                    bench.rename("a.log", &name);
                    let text = content.remove("a.log").unwrap();
                    content.insert(name, text);
                }
                5 => {
                    let plain =
                        content.keys().find(|name| !name.ends_with(".gz") && *name != "a.log").cloned();
                    if let Some(name) = plain {
                        let text = content.remove(&name).unwrap();
                        bench.write(&format!("{name}.gz"), gzip(&text));
                        fs::remove_file(bench.path(&name)).unwrap();
                        content.insert(format!("{name}.gz"), text);
                    }
                }
                6 => bench.restart(),
                _ => {
                    bench.follow();
                }
            }
            bench.pass(Duration::from_secs(random(5)));
        }
        for _ in 0..8 {
            bench.follow();
            bench.pass(Duration::from_secs(40));
        }
        let mut read = bench.records.clone();
        read.sort();
        let mut expected = texts(0..next);
        expected.sort();
        let doubled = read.windows(2).find(|pair| pair[0] == pair[1]);
        assert!(read == expected, "seed {seed}: {} of {}, {doubled:?}", read.len(), expected.len());
    }
}
