//! The crate v8-heap-parser reads a snapshot and groups its nodes by class, as `homeostat heap diff` does: `heap-peers FILE`.

use std::fs::File;
use std::io::BufReader;

fn main() {
    let path = std::env::args().nth(1).expect("heap-peers FILE");
    let graph = v8_heap_parser::decode_reader(BufReader::new(File::open(path).expect("a file"))).expect("a snapshot");
    let groups = graph.get_class_groups(true);
    println!("{} classes, {} bytes", groups.len(), groups.iter().map(|group| group.self_size).sum::<u64>());
}
