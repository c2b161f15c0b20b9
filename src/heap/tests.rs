//! Real profiles (`tests/data/heap/PROVENANCE.md`), and such as are broken.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::{Amount, Diff, HeapError, Profile, diff, read};
use expect_test::expect;
use flate2::read::GzDecoder;
use proptest::prelude::*;
use std::io::Read as _;

const V8: [&[u8]; 2] =
    [include_bytes!("../../tests/data/heap/before.heapsnapshot.gz"), include_bytes!("../../tests/data/heap/after.heapsnapshot.gz")];
const PPROF: [&[u8]; 2] = [include_bytes!("../../tests/data/heap/before.pb.gz"), include_bytes!("../../tests/data/heap/after.pb.gz")];
const JEMALLOC: [&[u8]; 2] = [include_bytes!("../../tests/data/heap/before.heap"), include_bytes!("../../tests/data/heap/after.heap")];

fn compare([before, after]: [&[u8]; 2]) -> Diff {
    diff(&read(before).unwrap(), &read(after).unwrap(), None).unwrap()
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

fn why(error: &HeapError) -> String {
    error.to_string()
}

/// The rows that grew or shrank most.
fn ends(diff: &Diff, count: usize) -> String {
    let line = |row: &super::Row| format!("{:+} {:+} {}\n", row.growth.bytes, row.growth.count, row.name);
    let rows = diff.rows.iter().take(count).chain(&diff.rows[diff.rows.len() - 1..]);
    rows.map(line).collect()
}

#[test]
fn objects_of_a_snapshot_are_counted_by_constructor() {
    let diff = compare(V8);
    let of = |name: &str| diff.rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!((of("Listener").before.count, of("Listener").after.count), (200, 2_200));
    assert_eq!(of("Listener").growth, Amount { count: 2_000, bytes: 80_000 });
    assert_eq!(of("function onEvent").growth, Amount { count: 2_000, bytes: 128_000 });
    assert_eq!((of("Order").before.count, of("Order").after.count), (500, 100));
    assert_eq!(diff.rows[0].name, "function onEvent");
    assert_eq!(diff.rows.iter().map(|row| row.growth.bytes).sum::<i64>(), diff.growth.bytes);
}

#[test]
fn functions_of_a_pprof_have_their_own_and_their_callees_bytes() {
    let diff = compare(PPROF);
    assert_eq!(diff.value.as_deref(), Some("inuse_space"));
    let of = |name: &str| diff.rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name}"));
    let (open, handle) = (of("openSession (/srv/shop/shop.js)"), of("handle (/srv/shop/shop.js)"));
    assert_eq!(diff.rows[0].name, open.name);
    // What a session is made of was allocated below `handle`, where sessions are kept.
    assert!(handle.growth_with_callees.unwrap() >= handle.growth.bytes + open.growth.bytes, "{handle:?} {open:?}");
}

#[test]
fn places_of_a_jemalloc_profile_keep_their_names() {
    expect![[r#"
        +16254007 +5068 shop+0x1195 < shop+0x1294 < libc.so.6+0x2724a < libc.so.6+0x27305 < shop+0x10a1
        +0 +0 libstdc++.so.6.0.30+0xa57ba < ld-linux-x86-64.so.2+0x4a1e < ld-linux-x86-64.so.2+0x4b04 < ld-linux-x86-64.so.2+0x1aba0
        -5018467 -240 shop+0x1206 < shop+0x1249 < libc.so.6+0x2724a < libc.so.6+0x27305 < shop+0x10a1
    "#]]
    .assert_eq(&ends(&compare(JEMALLOC), 2));
}

#[test]
fn a_sample_is_made_whole_as_jeprof_does() {
    // 1 / (1 − e^(−1000/2000)) = 2.5415 of each.
    let text = b"heap_v2/2000\n  t*: 10: 10000 [0: 0]\n@ 0x1 0x2\n  t*: 10: 10000 [0: 0]\n  t1: 10: 10000 [0: 0]\n\nMAPPED_LIBRARIES:\n";
    let profile = read(&text[..]).unwrap();
    assert_eq!(profile.total, Amount { count: 25, bytes: 25_415 });
    assert_eq!(profile.entries.keys().next().map(String::as_str), Some("0x1 < 0x2"));
}

#[test]
fn the_older_form_of_gperftools_is_read_too() {
    let text = b"heap profile:      3:     300 [     5:      500] @ heapprofile\n     2:  200 [ 2: 200] @ 0x10 0x20\n     1:  100 [ 3: 300] @ 0x30\n\nMAPPED_LIBRARIES:\n";
    let profile = read(&text[..]).unwrap();
    assert_eq!((profile.total, profile.entries.len()), (Amount { count: 3, bytes: 300 }, 2));
}

#[test]
fn zipped_and_plain_are_the_same() {
    for bytes in [V8[1], PPROF[1]] {
        assert_eq!(read(bytes).unwrap(), read(&unzipped(bytes)[..]).unwrap());
    }
}

#[test]
fn a_file_that_is_cut_off_says_so() {
    let (v8, pprof) = (unzipped(V8[0]), unzipped(PPROF[1]));
    for whole in [&v8[..], &pprof, JEMALLOC[0]] {
        for part in 1..24 {
            let cut = &whole[..whole.len() * part / 24 - 1];
            let error = match read(cut) {
                // A protobuf that ends between two fields is a shorter one; what it lacks shows in its tables.
                Err(error) => error,
                Ok(_) => panic!("{part}/24 of {} bytes was taken for whole", whole.len()),
            };
            let said = matches!(error, HeapError::Truncated { .. } | HeapError::Malformed { .. });
            assert!(said, "{part}/24: {error}");
        }
    }
    assert!(matches!(read(&PPROF[1][..500]), Err(HeapError::Truncated { .. })));
}

#[test]
fn the_types_of_a_pprof_may_stand_behind_its_samples() {
    let whole = unzipped(PPROF[1]);
    // The first stays: by it the format is known.
    let after = |at: usize| at + 2 + usize::from(whole[at + 1]);
    let (first, mut end) = (after(0), after(0));
    while whole[end] == 0x0a {
        end = after(end);
    }
    assert!(whole[0] == 0x0a && end > first, "they stand first, and are more than one");
    let later = [&whole[..first], &whole[end..], &whole[first..end]].concat();
    assert_eq!(format!("{:?}", read(&later[..]).unwrap().total), format!("{:?}", read(&whole[..]).unwrap().total));
    let one_more = [&whole[..], &[0x0a, 0]].concat();
    assert!(why(&read(&one_more[..]).unwrap_err()).ends_with("a sample has not as many values as there are types"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let read = |text: &str| why(&read(text.as_bytes()).unwrap_err());
    let meta = r#""snapshot":{"meta":{"node_fields":["type","name","self_size"],"node_types":[["object","code"]]},"node_count":1}"#;
    for (text, said) in [
        ("", "it is none of: V8 .heapsnapshot, pprof, jemalloc heap_v2"),
        ("hello", "it is none of: V8 .heapsnapshot, pprof, jemalloc heap_v2"),
        ("{\"nodes\":[1,2,3]}", "it is no V8 heap snapshot: byte 9: nodes before their description"),
        ("heap_v1/2\n", "it is no jemalloc heap profile: byte 0: the first line is not `heap_v2/RATE`"),
    ] {
        assert_eq!(read(text), said, "{text}");
    }
    for (nodes, strings, said) in [
        ("0,0,8", "\"A\"", ""),
        ("0,0,x", "\"A\"", "`x` where a number should stand"),
        ("0,0", "\"A\"", "the last node is not whole"),
        ("0,0,8,0,0,8", "\"A\"", "2 nodes where 1 were announced"),
        ("7,0,8", "\"A\"", "`]` where a node of a known kind should stand"),
        ("0,5,8", "\"A\"", "a node is called by string 5 of 1"),
        ("0,0,99999999999999999999", "\"A\"", "`]` where a number should stand"),
    ] {
        let text = format!("{{{meta},\"nodes\":[{nodes}],\"strings\":[{strings}]}}");
        match super::read(text.as_bytes()) {
            Ok(_) => assert_eq!(said, "", "{text}"),
            Err(error) => assert!(!said.is_empty() && why(&error).ends_with(said), "{text}: {error}"),
        }
    }
}

#[test]
fn names_are_as_they_were_meant() {
    let text = r#"{"snapshot":{"meta":{"node_fields":["type","name","self_size"],"node_types":[["object"]]}},"nodes":[0,0,1,0,1,2,0,2,4],
        "extra":{"a":[[1,2],{"b":"]}"}]},"strings":["a\"\\bé\n","\ud83d","" ]}"#;
    let profile = read(text.as_bytes()).unwrap();
    let mut names: Vec<&str> = profile.entries.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["(anonymous)", "\\ud83d", "a\"\\bé\n"]);
}

#[test]
fn unlike_profiles_are_not_compared() {
    let (v8, pprof) = (read(V8[0]).unwrap(), read(PPROF[0]).unwrap());
    assert_eq!(why(&diff(&v8, &pprof, None).unwrap_err()), "the first is a V8 heap snapshot, the second a pprof of inuse_space");
}

fn anything(bytes: &[u8]) -> Result<Profile, HeapError> {
    read(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_byte_harms_nobody(place in any::<prop::sample::Index>(), byte in any::<u8>(), which in 0..3_usize) {
        let mut bytes = match which {
            0 => unzipped(V8[0]),
            1 => unzipped(PPROF[1]),
            _ => JEMALLOC[0].to_vec(),
        };
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = anything(&bytes);
    }

    #[test]
    fn noise_harms_nobody(start in prop::sample::select(vec!["{", "heap_v2/1\n", "\n", "\u{1f}", "heap"]), noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = anything(&[start.as_bytes(), &noise].concat());
    }
}
