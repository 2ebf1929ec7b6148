//! The header in the repository is what the crate says.

use std::fs;
use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_root_or_default(root);
    let mut text = Vec::new();
    let bindings = cbindgen::Builder::new()
        .with_crate(root)
        .with_config(config)
        .generate();
    bindings.unwrap().write(&mut text);
    let text = String::from_utf8(text).unwrap();
    let file = root.join("include/bayeslora.h");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == text,
        "run this test with BLESS=1 to write {}",
        file.display()
    );
}
