//! How bytes on disk fall into records: ends of lines, quotes, encodings, over-long records.

use super::*;
use crate::model::event::DefectCode;

#[test]
fn a_partial_line_waits_for_its_end() {
    let mut bench = Bench::new("a.log", Framing::Line);
    bench.write("a.log", "one\ntw");
    assert_eq!(bench.follow(), ["one"]);
    assert_eq!(
        bench.source.rest(),
        [Rest { file: bench.path("a.log").to_string_lossy().into(), offset: 4, bytes: 2 }]
    );
    assert_eq!(bench.source.lag().bytes, 2);
    assert!(bench.follow().is_empty());
    bench.restart();
    assert!(bench.follow().is_empty());
    bench.append("a.log", "o\nthree\n");
    assert_eq!(bench.follow(), ["two", "three"]);
    assert!(bench.source.rest().is_empty());
    assert_eq!(bench.source.lag(), Lag::default());
}

#[test]
fn carriage_returns_blank_lines_and_nul() {
    let mut bench = Bench::new("a.log", Framing::Line);
    bench.write("a.log", "one\r\n\r\n\nt\rwo\nth\0ree\n");
    assert_eq!(bench.follow(), ["one", "t\rwo", "th\0ree"]);
    let batch = bench.batches.last().unwrap();
    assert_eq!(batch.blank, 2);
    assert_eq!(batch.records.iter().map(|one| one.offset).collect::<Vec<_>>(), [0, 8, 13]);
    assert_eq!(batch.records[2].defects(), [DefectCode::NulBytes]);
    assert_eq!(batch.records[2].full_length(), 6);
    assert_eq!(batch.records[2].raw_mac(), None);
    assert_eq!(batch.bytes_read, 20);
}

#[test]
fn invalid_utf_8_is_kept_by_its_digest() {
    let mut bench = Bench::new("a.log", Framing::Line);
    bench.write("a.log", b"fine\nbr\xffken\r\n\xc3\xa4\n");
    assert_eq!(bench.follow(), ["fine", "br\u{fffd}ken", "ä"]);
    let records = &bench.batches.last().unwrap().records;
    assert_eq!(records[0].odd, None);
    assert_eq!(records[1].defects(), [DefectCode::InvalidUtf8]);
    assert_eq!(records[1].raw_mac(), Some(mac(b"br\xffken")));
    assert_eq!(records[1].full_length(), 6);
    assert_eq!(records[2].raw_mac(), None);
}

#[test]
fn byte_order_marks_decide() {
    let mut bench = Bench::new("*.log", Framing::Line);
    bench.write("a.log", b"\xef\xbb\xbfone\ntwo\n");
    let wide: Vec<u8> = "\u{feff}dreißig\r\nvier\nhal".encode_utf16().flat_map(u16::to_le_bytes).collect();
    bench.write("b.log", &wide);
    let mut records = bench.follow();
    records.sort();
    assert_eq!(records, ["dreißig", "one", "two", "vier"]);
    assert_eq!(bench.batches.iter().flat_map(|one| &one.records).map(|one| one.offset).min(), Some(2));
    bench.restart();
    bench.append("b.log", "b\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    bench.append("a.log", "\u{feff}three\n");
    let mut records = bench.follow();
    records.sort();
    assert_eq!(records, ["halb", "\u{feff}three"]);
    let raw: Vec<u8> = "halb".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let halb = bench.batches.iter().find(|one| one.text == "halb").unwrap();
    assert_eq!(halb.records[0].raw_mac(), Some(mac(&raw)));
    assert_eq!(halb.raw_key.number(), 7);
}

#[test]
fn a_byte_order_mark_may_arrive_in_pieces() {
    let mut bench = Bench::new("a.log", Framing::Line);
    bench.write("a.log", b"\xef\xbb");
    assert!(bench.follow().is_empty());
    bench.append("a.log", b"\xbfone\n");
    assert_eq!(bench.follow(), ["one"]);
}

#[test]
fn latin_1() {
    let mut bench = Bench::with("a.log", Framing::Line, |options| options.encoding = Encoding::Latin1);
    bench.write("a.log", b"M\xfcller\nplain\n");
    assert_eq!(bench.follow(), ["Müller", "plain"]);
    let records = &bench.batches.last().unwrap().records;
    assert_eq!(records[0].raw_mac(), Some(mac(b"M\xfcller")));
    assert!(records[0].defects().is_empty());
    assert_eq!(records[1].raw_mac(), None);
}

#[test]
fn csv_records_span_lines_and_reads() {
    let mut bench = Bench::with("*.csv", Framing::Csv, |options| options.read_size = 4096);
    let mut text = "\"ID\",\"TEXT\"\r\n".to_owned();
    let mut expected = Vec::new();
    for number in 0..600 {
        let record = format!("\"{number}\",\"first \"\"line\"\"\nsecond line, with commas\n\"");
        text.push_str(&record);
        text.push_str("\r\n");
        expected.push(record);
    }
    for (at, piece) in text.as_bytes().chunks(777).enumerate() {
        bench.append("a.csv", piece);
        bench.follow();
        if at % 7 == 0 {
            bench.restart();
        }
    }
    assert_eq!(bench.records, expected);
    for batch in bench.batches.iter().filter(|batch| !batch.records.is_empty()) {
        assert_eq!(batch.header.as_deref().unwrap(), ["ID", "TEXT"]);
    }
}

#[test]
fn a_csv_header_may_come_late_and_have_a_mark() {
    let mut bench = Bench::new("a.csv", Framing::Csv);
    bench.write("a.csv", "\u{feff}\n\n");
    assert!(bench.follow().is_empty());
    bench.append("a.csv", "a,\"b ");
    bench.follow();
    bench.restart();
    bench.append("a.csv", "c\"\n1,2\n");
    assert_eq!(bench.follow(), ["1,2"]);
    assert_eq!(bench.last_record().0.header.as_deref().unwrap(), ["a", "b c"]);
    bench.restart();
    bench.append("a.csv", "3,4\n");
    assert_eq!(bench.follow(), ["3,4"]);
    assert_eq!(bench.last_record().0.header.as_deref().unwrap(), ["a", "b c"]);
}

#[test]
fn a_quote_that_never_closes_costs_one_line() {
    let mut bench = Bench::with("a.csv", Framing::Csv, |options| {
        options.read_size = 4096;
        options.max_record = 20_000;
    });
    bench.write("a.csv", format!("h\n1,\"open\r\n{}", lines(0..2000)));
    let records = bench.follow();
    assert_eq!(records[0], "1,\"open");
    assert_eq!(records[1..], expect_lines(0..2000));
    let first = &bench.batches.iter().find(|batch| !batch.records.is_empty()).unwrap().records[0];
    assert_eq!(first.defects(), [DefectCode::Unterminated]);
    // The same where the file ends before the limit.
    let mut bench = Bench::new("a.csv", Framing::Csv);
    bench.write("a.csv", "h\n1,\"open\n2,x\n3,y\n");
    assert!(bench.drain(Mode::Once).is_empty());
    assert_eq!(bench.source.rest()[0].offset, 2);
    assert_eq!(bench.drain(Mode::Final), ["1,\"open", "2,x", "3,y"]);
}

#[test]
fn fixed_records() {
    let mut bench = Bench::with("audit", Framing::Fixed(200), |options| options.encoding = Encoding::Utf16Be);
    let record = |letter: char| format!("{letter}ü{}", " ".repeat(198));
    let bytes =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>() };
    bench.write("audit", bytes(&(record('a') + &record('b'))));
    bench.append("audit", &bytes(&record('c'))[..399]);
    assert_eq!(bench.follow(), [record('a'), record('b')]);
    bench.restart();
    bench.append("audit", &bytes(&record('c'))[399..]);
    assert_eq!(bench.follow(), [record('c')]);
    assert_eq!(bench.last_record().1.offset, 800);
    assert_eq!(bench.last_record().1.full_length(), 400);
    bench.append("audit", &bytes(&record('d'))[..21]);
    assert!(bench.drain(Mode::Once).is_empty());
    assert_eq!(bench.drain(Mode::Final), ["dü        \u{fffd}"]);
    assert!(bench.last_record().1.defects().contains(&DefectCode::Unterminated));
}

#[test]
fn a_record_that_is_too_long_is_kept_in_part() {
    let mut bench = Bench::with("a.log", Framing::Line, |options| {
        options.read_size = 8192;
        options.max_record = 100_000;
    });
    let long = "ä".repeat(150_000) + "x";
    let fits = "b".repeat(99_999);
    bench.write("a.log", format!("one\n{long}\r\ntwo\n{fits}\r\nthree\n"));
    let records = bench.follow();
    assert_eq!(records.len(), 5);
    assert_eq!(records[1], long[..64 * 1024]);
    assert_eq!([&records[0], &records[2], &records[4]], ["one", "two", "three"]);
    assert_eq!(records[3], fits);
    let batch = bench.batches.iter().find(|batch| batch.text.starts_with('ä')).unwrap();
    let record = &batch.records[0];
    assert_eq!(record.defects(), [DefectCode::RecordTooLong]);
    assert_eq!(record.full_length(), 300_001);
    assert_eq!(record.raw_mac(), Some(mac(long.as_bytes())));
    assert_eq!((record.offset, batch.bytes_read), (4, 300_003));
}

#[test]
fn a_long_record_under_way_keeps_the_position_at_its_start() {
    let mut bench = Bench::with("a.log", Framing::Line, |options| {
        options.read_size = 4096;
        options.max_record = 10_000;
    });
    bench.write("a.log", "one\n");
    let mut long = Vec::new();
    for piece in 0..10 {
        let piece = vec![b'0' + piece; 3333];
        bench.append("a.log", &piece);
        long.extend(piece);
        assert_eq!(bench.follow(), if long.len() == 3333 { vec!["one"] } else { vec![] });
        if long.len() == 5 * 3333 {
            bench.restart();
        }
    }
    bench.append("a.log", "\r");
    bench.follow();
    bench.append("a.log", "\ntwo\n");
    let records = bench.follow();
    assert_eq!(records.len(), 2);
    assert_eq!(records[1], "two");
    let (record, two) = {
        let all: Vec<_> = bench.batches.iter().flat_map(|batch| &batch.records).collect();
        (all[1].clone(), all[2].clone())
    };
    assert_eq!(record.raw_mac(), Some(mac(&long)));
    assert_eq!((record.offset, two.offset), (4, 4 + 33330 + 2));
    // A restart in front of `two` reads on behind the long record.
    bench.restart();
    bench.append("a.log", "three\n");
    assert_eq!(bench.follow(), ["three"]);
}

#[test]
fn a_limit_below_the_read_size_holds_too() {
    let mut bench = Bench::with("a.log", Framing::Line, |options| options.max_record = 10);
    bench.write("a.log", "short\nthis is too long\n");
    assert_eq!(bench.follow(), ["short", "this is too long"]);
    let record = bench.last_record().1;
    assert_eq!(record.defects(), [DefectCode::RecordTooLong]);
    assert_eq!(record.raw_mac(), Some(mac(b"this is too long")));
}

#[test]
fn holes_are_passed_over_and_said() {
    let mut bench = Bench::new("a.log", Framing::Line);
    bench.write("a.log", [&b"one\n"[..], &[0; 100]].concat());
    assert_eq!(bench.follow(), ["one"]);
    bench.whats();
    // A preallocated tail is filled in place.
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(bench.path("a.log")).unwrap();
    file.write_all_at(b"two\n", 4).unwrap();
    assert_eq!(bench.follow(), ["two"]);
    assert!(bench.whats().is_empty());
    // A writer that did not notice a truncation leaves a hole.
    file.set_len(50_000_000).unwrap();
    file.write_all_at(b"three\n", 50_000_000).unwrap();
    assert_eq!(bench.follow(), ["three"]);
    assert_eq!(bench.notices[0].range(), Some((8, Some(50_000_000))));
    bench.restart();
    bench.append("a.log", "four\n");
    assert_eq!(bench.follow(), ["four"]);
}

#[test]
fn compressed_files_are_named_and_not_read() {
    let mut bench = Bench::new("a.log*", Framing::Line);
    bench.write("a.log.2.gz", b"\x1f\x8b\x08\0\n\n\n");
    assert!(bench.follow().is_empty());
    assert_eq!(bench.whats(), ["new_file", "compressed"]);
    assert!(bench.follow().is_empty());
    assert!(bench.whats().is_empty());
    assert_eq!(bench.source.lag(), Lag::default());
}

#[test]
fn the_end_is_taken_only_in_final_mode() {
    let mut bench = Bench::new("a.log", Framing::Line);
    bench.write("a.log", "one\ntwo");
    assert_eq!(bench.drain(Mode::Once), ["one"]);
    assert_eq!(bench.source.rest()[0].bytes, 3);
    assert_eq!(bench.drain(Mode::Final), ["two"]);
    assert_eq!(bench.last_record().1.defects(), [DefectCode::Unterminated]);
    assert!(bench.source.rest().is_empty());
}

#[test]
fn a_line_of_200_mb_takes_little_memory() {
    let mut bench = Bench::new("a.log", Framing::Line);
    let mut file = fs::File::create(bench.path("a.log")).unwrap();
    let piece = vec![b'x'; 1 << 20];
    let mut running = raw_key().start(RAW_DOMAIN);
    for _ in 0..200 {
        file.write_all(&piece).unwrap();
        running.update(&piece);
    }
    file.write_all(b"\nnext\n").unwrap();
    loop {
        let polled = bench.source.poll_at(Mode::Follow, 1 << 20, bench.now);
        assert!(polled.batches.iter().map(|batch| batch.text.capacity()).sum::<usize>() < 2 << 20);
        let idle = polled.idle;
        bench.commit(polled);
        if idle {
            break;
        }
    }
    assert_eq!(bench.records.iter().map(String::len).collect::<Vec<_>>(), [64 * 1024, 4]);
    let long = bench.batches.iter().flat_map(|batch| &batch.records).next().unwrap();
    assert_eq!((long.full_length(), long.raw_mac()), (200 << 20, Some(running.finish())));
}
